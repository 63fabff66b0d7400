//! Snapshots that outlive the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use network_driver_common::model::{
    Attachment, ClaimRef, ClaimUid, Device, DeviceName, InterfaceConfig, LinkIdentity, Record,
    Settings, Snapshot, WantedFeatures,
};

use super::node::{address, if_name, route};
use crate::links::state::{State, StateError};

fn record(uid: &str) -> Record {
    Record {
        claim: ClaimRef {
            namespace: "default".to_owned(),
            name: "nic".to_owned(),
            uid: uid.parse().unwrap(),
        },
        pods: BTreeSet::default(),
        attachments: Vec::new(),
        traceparent: None,
        prepared: SystemTime::UNIX_EPOCH,
        boot_id: String::new(),
        sandbox: None,
    }
}

#[test]
fn a_record_is_read_as_it_was_written_until_it_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path().join("below/it")).unwrap();
    let uid: ClaimUid = "uid-1".parse().unwrap();
    assert!(state.read(&uid).unwrap().is_none());
    state.write(&record("uid-1")).unwrap();
    let newer = Record {
        boot_id: "b".to_owned(),
        ..record("uid-1")
    };
    state.write(&newer).unwrap();
    let again = State::open(dir.path().join("below/it")).unwrap();
    assert_eq!(again.read(&uid).unwrap(), Some(newer));
    state.remove(&uid).unwrap();
    state.remove(&uid).unwrap();
    assert!(state.read(&uid).unwrap().is_none());
    assert_eq!(
        fs::read_dir(dir.path().join("below/it")).unwrap().count(),
        0
    );
}

/// A record as release 0.1.0 wrote it.
const OLD_RECORD: &str = include_str!("old_record.hex");

/// What it says.
fn old_record() -> Record {
    let interface = if_name(b"eth1");
    let identity = LinkIdentity::Other {
        kind: "veth".to_owned(),
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        home_name: interface.clone(),
    };
    let snapshot = Snapshot {
        taken: None,
        name: interface.clone(),
        mtu: 1450,
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        up: true,
        alias: b"rack 4".to_vec(),
        altnames: vec![b"enp1s0".to_vec()],
        addresses: vec![address("10.1.0.1/24"), address("fd01::1/64")],
        routes: vec![
            route("10.77.0.0/16", "10.1.0.9", 254),
            route("fd77::/48", "", 1000),
        ],
        neighbors: Vec::new(),
        settings: Settings::default(),
        flags: None,
        parameters: BTreeMap::new(),
        features: WantedFeatures::default(),
    };
    let attachment = Attachment {
        request: "nic".to_owned(),
        pool: "node".to_owned(),
        device: Arc::new(Device {
            name: DeviceName::of(&identity),
            identity,
            interface,
            attributes: BTreeMap::new(),
            capacity: BTreeMap::new(),
        }),
        config: InterfaceConfig::default(),
        snapshot: Some(snapshot),
    };
    Record {
        attachments: vec![attachment],
        ..record("uid-1")
    }
}

#[test]
fn a_record_of_an_older_release_is_read_with_nothing_said_of_what_it_did_not_know() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path().to_owned()).unwrap();
    let digits = OLD_RECORD.trim().as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.map(byte).collect();
    fs::write(dir.path().join("uid-1.record"), bytes).unwrap();
    let read = state.read(&"uid-1".parse().unwrap()).unwrap();
    assert_eq!(read, Some(old_record()));
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(dir.path().to_owned()).unwrap();
    let uid: ClaimUid = "uid-1".parse().unwrap();
    let path = dir.path().join("uid-1.record");
    fs::write(&path, b"\xff\xff\xff").unwrap();
    let error = state.read(&uid).unwrap_err();
    assert!(matches!(&error, StateError::Malformed { path: found, .. } if *found == path));
    fs::write(&path, b"").unwrap();
    let error = state.read(&uid).unwrap_err();
    assert!(matches!(error, StateError::Invalid { .. }), "{error}");
}
