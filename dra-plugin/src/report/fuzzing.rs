//! Fuzz target: what the hook reports. See `network-driver-fuzzing`.

use network_driver_fuzzing::Target;
use network_driver_proto::bus;
use prost::Message as _;

use super::{Event, Parsed};

#[test]
fn report() {
    Target::new(env!("CARGO_MANIFEST_DIR"), "report").run(|bytes| {
        let Ok(Ok(report)) = bus::Report::decode(bytes).map(Parsed::try_from) else {
            return;
        };
        match report.event {
            Event::Attached(_) | Event::Detached(_) => {}
            Event::Failed(failed) => assert!(failed.message.chars().count() <= 900),
        }
    });
}
