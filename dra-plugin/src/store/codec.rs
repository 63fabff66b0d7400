//! A record as bytes: the CRC-32 of the rest (little-endian), then the bus message of the record.

use network_driver_common::model::Record;
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus;
use prost::Message;

/// Bytes that are no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// Not even a checksum.
    #[error("{0} bytes are too few for a record")]
    Short(usize),
    /// Bits have changed.
    #[error("the checksum does not fit the bytes")]
    Checksum,
    /// No message.
    #[error("the message cannot be decoded")]
    Message(#[source] prost::DecodeError),
    /// A message that is no record.
    #[error("the record does not say what it must")]
    Record(#[source] InvalidMessage),
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let message = bus::Record::from(record).encode_to_vec();
    let mut bytes = crc32fast::hash(&message).to_le_bytes().to_vec();
    bytes.extend_from_slice(&message);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let short = DecodeError::Short(bytes.len());
    let Some((checksum, message)) = bytes.split_first_chunk() else {
        return Err(short);
    };
    if u32::from_le_bytes(*checksum) != crc32fast::hash(message) {
        return Err(DecodeError::Checksum);
    }
    let message = bus::Record::decode(message).map_err(DecodeError::Message)?;
    Record::try_from(&message).map_err(DecodeError::Record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::record;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = record("c-1", &["eth1", "eth2"]);
        assert_eq!(decode(&encode(&record)).unwrap(), record);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let bytes = encode(&record("c-1", &["eth1"]));
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[index] ^= 1 << bit;
                assert!(decode(&changed).is_err(), "byte {index} bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
