//! Snapshots that outlive the process.

use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

use network_driver_common::model::{ClaimRef, ClaimUid, Record};

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
