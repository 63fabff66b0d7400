//! What tests of several modules have in common.

use std::sync::Arc;

use network_driver_common::model::{Device, DeviceName, LinkIdentity};

/// A veth of that name, offered with nothing else known of it.
pub(crate) fn device(name: &str) -> Arc<Device> {
    let identity = LinkIdentity::Other {
        kind: "veth".into(),
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        home_name: name.parse().unwrap(),
    };
    Arc::new(Device {
        name: DeviceName::of(&identity),
        identity,
        interface: name.parse().unwrap(),
        attributes: [].into(),
        capacity: [].into(),
    })
}
