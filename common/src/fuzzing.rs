//! Fuzz targets: the bus's messages, which are also what is on disk, and the names of things. See
//! `network-driver-fuzzing`.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use network_driver_fuzzing::Target;
use network_driver_proto::bus;
use prost::Message;

use crate::model::{
    AttributeName, ClaimUid, DeviceFault, DeviceHealth, DeviceName, DriverName, HardwareAddress,
    IfName, LinkIdentity, Mark, PciAddress, PodUid, Protected, Quarantine, Record, SandboxId,
    Snapshot,
};
use crate::telemetry;
use crate::wire::attached_interface;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// What is read from a message and written to one is read again as the same.
fn round_trip<M, T>(bytes: &[u8])
where
    M: Message + Default + for<'a> From<&'a T>,
    T: for<'a> TryFrom<&'a M> + PartialEq + Debug,
    for<'a> <T as TryFrom<&'a M>>::Error: Debug,
{
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    if let Ok(value) = T::try_from(&message) {
        let written = M::from(&value).encode_to_vec();
        let again = M::decode(written.as_slice()).unwrap();
        assert_eq!(T::try_from(&again).unwrap(), value);
    }
}

#[test]
fn wire_record() {
    target("wire_record").run(round_trip::<bus::Record, Record>);
}

#[test]
fn wire_snapshot() {
    target("wire_snapshot").run(round_trip::<bus::Snapshot, Snapshot>);
}

#[test]
fn wire_health() {
    target("wire_health").run(|bytes| {
        round_trip::<bus::Quarantine, Quarantine>(bytes);
        round_trip::<bus::DeviceHealth, DeviceHealth>(bytes);
        round_trip::<bus::Protected, Protected>(bytes);
        if let Ok(message) = bus::DeviceFault::decode(bytes) {
            let fault = DeviceFault::from(&message);
            let again = DeviceFault::from(&bus::DeviceFault::from(&fault));
            assert_eq!(again, fault);
        }
    });
}

#[test]
fn wire_interface() {
    target("wire_interface").run(|bytes| {
        let message = bus::AttachedInterface::decode(bytes);
        if let Ok(Ok(interface)) = message.map(|message| attached_interface(&message)) {
            let again = attached_interface(&bus::AttachedInterface::from(&interface));
            assert_eq!(again.unwrap(), interface);
        }
    });
}

/// What is read from text and printed is read again as the same.
fn reprint<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Display + Debug,
{
    match text.parse::<T>() {
        Ok(value) => assert_eq!(value.to_string().parse::<T>().unwrap(), value),
        Err(error) => assert!(error.to_string().len() < 1500, "{error}"),
    }
}

#[test]
fn names() {
    target("names").run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        reprint::<PciAddress>(&text);
        reprint::<HardwareAddress>(&text);
        reprint::<DeviceName>(&text);
        reprint::<AttributeName>(&text);
        reprint::<ClaimUid>(&text);
        reprint::<PodUid>(&text);
        reprint::<SandboxId>(&text);
        reprint::<DriverName>(&text);
    });
}

/// The name of a link, which may be of almost any bytes, is a device's name and comes back from it.
#[test]
fn interface_name() {
    target("interface_name").run(|bytes| match IfName::try_from(bytes) {
        Ok(name) => {
            assert_eq!(name.as_bytes(), bytes);
            assert!(name.to_string().chars().all(|c| !c.is_control()));
            let device = DeviceName::of(&LinkIdentity::Other {
                kind: String::new(),
                hardware_address: HardwareAddress::default(),
                home_name: name.clone(),
            });
            assert_eq!(device.as_str().parse::<DeviceName>().unwrap(), device);
            assert_eq!(device.link_name(), Some(name));
        }
        Err(error) => assert!(error.to_string().chars().all(|c| !c.is_control())),
    });
}

#[test]
fn mark() {
    target("mark").run(|alias| {
        let driver = "network.example.com".parse().unwrap();
        if let Some(mark) = Mark::from_alias(&driver, alias) {
            assert_eq!(mark.to_alias(&driver), alias);
        }
    });
}

#[test]
fn traceparent() {
    target("traceparent").run(|bytes| {
        let span = tracing::Span::none();
        telemetry::set_parent(&span, Some(&String::from_utf8_lossy(bytes)));
    });
}
