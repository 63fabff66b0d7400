//! Fuzz target: an entry of the database. See `network-driver-fuzzing`.

use network_driver_fuzzing::Target;

use super::codec;

/// As it is in the file, and with a checksum that fits, which random damage almost never has.
#[test]
fn store_entry() {
    Target::new(env!("CARGO_MANIFEST_DIR"), "store_entry").run(|bytes| {
        let mut sealed = crc32fast::hash(bytes).to_le_bytes().to_vec();
        sealed.extend_from_slice(bytes);
        for entry in [bytes, &sealed] {
            if let Ok(record) = codec::decode(entry) {
                assert_eq!(codec::decode(&codec::encode(&record)).unwrap(), record);
            }
            let device: network_driver_common::model::DeviceName = "eth1".parse().unwrap();
            if let Ok(quarantine) = codec::decode_quarantine(&device, entry) {
                let written = codec::encode_quarantine(&quarantine);
                let read = codec::decode_quarantine(&device, &written);
                assert_eq!(read.unwrap(), quarantine);
            }
        }
    });
}
