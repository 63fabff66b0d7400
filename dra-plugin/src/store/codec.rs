//! A record, or a device in quarantine, as bytes: the CRC-32 of the rest (little-endian), then its bus message.

use network_driver_common::model::{DeviceName, Quarantine, Record};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus;
use prost::Message;

/// Bytes that are not what was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    /// Not even a checksum.
    #[error("{0} bytes are too few")]
    Short(usize),
    /// Bits have changed.
    #[error("the checksum does not fit the bytes")]
    Checksum,
    /// No message.
    #[error("the message cannot be decoded")]
    Message(#[source] prost::DecodeError),
    /// A message that is none of ours.
    #[error("it does not say what it must")]
    Invalid(#[source] InvalidMessage),
    /// An entry of another device.
    #[error("it is of device {0}")]
    Other(DeviceName),
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    seal(&bus::Record::from(record))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let message = open::<bus::Record>(bytes)?;
    Record::try_from(&message).map_err(DecodeError::Invalid)
}

pub(super) fn encode_quarantine(quarantine: &Quarantine) -> Vec<u8> {
    seal(&bus::Quarantine::from(quarantine))
}

/// What was kept of this device.
pub(super) fn decode_quarantine(
    device: &DeviceName,
    bytes: &[u8],
) -> Result<Quarantine, DecodeError> {
    let message = open::<bus::Quarantine>(bytes)?;
    let quarantine = Quarantine::try_from(&message).map_err(DecodeError::Invalid)?;
    if quarantine.device == *device {
        Ok(quarantine)
    } else {
        Err(DecodeError::Other(quarantine.device))
    }
}

/// A device must not leave quarantine because its entry is damaged: then the name is what is left.
pub(super) fn unreadable(device: DeviceName) -> Quarantine {
    Quarantine {
        reason: format!("device {device} is in quarantine; why cannot be read any more"),
        device,
        identity: None,
        since: None,
        claim: None,
        lost: false,
    }
}

fn seal(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let mut bytes = crc32fast::hash(&message).to_le_bytes().to_vec();
    bytes.extend_from_slice(&message);
    bytes
}

fn open<M: Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
    let short = DecodeError::Short(bytes.len());
    let Some((checksum, message)) = bytes.split_first_chunk() else {
        return Err(short);
    };
    if u32::from_le_bytes(*checksum) != crc32fast::hash(message) {
        return Err(DecodeError::Checksum);
    }
    M::decode(message).map_err(DecodeError::Message)
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
