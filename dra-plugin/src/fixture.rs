//! Records and devices for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use network_driver_common::model::{
    Attachment, AttributeValue, ClaimRef, Device, IfName, InterfaceConfig, LinkIdentity,
    Quarantine, Record, Settings, Snapshot, WantedFeatures,
};

pub(crate) fn device(name: &str) -> Device {
    let interface: IfName = name.parse().unwrap();
    Device {
        name: name.parse().unwrap(),
        identity: LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: "02:00:00:00:00:01".parse().unwrap(),
            home_name: interface.clone(),
        },
        interface,
        attributes: BTreeMap::from([("ifName".parse().unwrap(), AttributeValue::text(name))]),
        capacity: BTreeMap::new(),
    }
}

pub(crate) fn snapshot(name: &str) -> Snapshot {
    Snapshot {
        taken: None,
        name: name.parse().unwrap(),
        mtu: 1500,
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        up: true,
        alias: Vec::new(),
        altnames: Vec::new(),
        addresses: Vec::new(),
        routes: Vec::new(),
        neighbors: Vec::new(),
        settings: Settings::default(),
        flags: None,
        parameters: BTreeMap::new(),
        features: WantedFeatures::default(),
    }
}

/// A record of a claim named like its UID, for pod `p-<uid>`.
pub(crate) fn record(uid: &str, devices: &[&str]) -> Record {
    let attachment = |name: &&str| Attachment {
        request: "nic".into(),
        pool: "node-1".into(),
        device: Arc::new(device(name)),
        config: InterfaceConfig::default(),
        snapshot: Some(snapshot(name)),
    };
    Record {
        claim: ClaimRef {
            namespace: "default".into(),
            name: uid.into(),
            uid: uid.parse().unwrap(),
        },
        pods: [format!("p-{uid}").parse().unwrap()].into(),
        attachments: devices.iter().map(attachment).collect(),
        traceparent: None,
        prepared: SystemTime::UNIX_EPOCH,
        boot_id: "boot-1".into(),
        sandbox: None,
    }
}

/// A device in quarantine.
pub(crate) fn quarantine(name: &str) -> Quarantine {
    let device = device(name);
    Quarantine {
        device: device.name,
        identity: Some(device.identity),
        reason: "bent".into(),
        since: UNIX_EPOCH.checked_add(Duration::from_secs(1)),
        claim: None,
        lost: false,
    }
}
