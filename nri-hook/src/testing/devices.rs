//! A kernel for tests of the hook's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use network_driver_common::model::{
    ClaimUid, HardwareAddress, IfName, Protected, Record, SandboxId, Settings, Snapshot,
    WantedFeatures,
};
use network_driver_netlink::{Netns, NetnsId, RequestError};

use super::interface;
use crate::devices::Devices;
use crate::links::{
    AttachError, AttachFailure, AttachedClaim, Detached, FindAttachedError, MarkedLink, Plight,
    Presence, Quarantined, Refusal,
};

/// Devices that are only a list. Their home is no real namespace.
#[derive(Debug, Default)]
pub(crate) struct FakeDevices {
    pub(crate) home: Option<NetnsId>,
    pub(crate) cdi: PathBuf,
    pub(crate) state: Mutex<FakeState>,
    pub(crate) opened: Condvar,
}

/// How checks and attaches end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    #[default]
    Works,
    Fails,
    PanicsOnce,
}

#[derive(Debug, Default)]
pub(crate) struct FakeState {
    pub(crate) log: Vec<String>,
    pub(crate) outcome: Outcome,
    /// Attaches wait until it is false.
    pub(crate) closed: bool,
    pub(crate) away: BTreeSet<ClaimUid>,
    pub(crate) marked: Vec<MarkedLink>,
    /// Links at home with a mark.
    pub(crate) left_behind: Vec<MarkedLink>,
    /// What is home from a detach, but not as it was.
    pub(crate) bent: BTreeSet<ClaimUid>,
    /// Records of claims that are away.
    pub(crate) kept: Vec<Record>,
    /// How the devices are in their pods; there, when unset.
    pub(crate) presence: Option<Presence>,
    /// Links in pods cannot be read.
    pub(crate) unreadable: bool,
}

impl FakeDevices {
    /// What was done since the last look.
    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn id_file(&self, uid: &str) -> PathBuf {
        let name = format!("network-example-com-claim-{uid}.json");
        self.cdi.join(name)
    }

    /// Changes how it behaves.
    pub(crate) fn set(&self, change: impl FnOnce(&mut FakeState)) {
        change(&mut self.state.lock().unwrap());
        self.opened.notify_all();
    }
}

impl Devices for FakeDevices {
    fn home_id(&self) -> NetnsId {
        self.home.unwrap_or(NetnsId {
            device: 0,
            inode: 0,
        })
    }

    fn check(&self, record: &Record, _: &Protected) -> Result<Vec<Snapshot>, Refusal> {
        if self.state.lock().unwrap().outcome == Outcome::Fails {
            return Err(Refusal::retry("DeviceNotFound", "no such link".into()));
        }
        Ok(record
            .attachments
            .iter()
            .map(|a| bare_snapshot(&a.device.interface))
            .collect())
    }

    fn attach(
        &self,
        records: &[Record],
        _: &Netns,
        _: &Protected,
        _: Instant,
    ) -> Result<Vec<AttachedClaim>, AttachError> {
        let mut state = self.state.lock().unwrap();
        let uids: Vec<_> = records
            .iter()
            .map(|record| record.claim.uid.to_string())
            .collect();
        for uid in &uids {
            let defined = self.id_file(uid).exists();
            assert!(!defined, "the id of {uid} is defined before it is attached");
        }
        state.log.push(format!("attach {}", uids.join("+")));
        while state.closed {
            state = self.opened.wait(state).unwrap();
        }
        if state.outcome == Outcome::PanicsOnce {
            state.outcome = Outcome::Works;
            panic!("on purpose");
        }
        if state.outcome == Outcome::Fails {
            return Err(AttachError::new(AttachFailure::HomeNamespace, Vec::new()));
        }
        Ok(records
            .iter()
            .map(|record| AttachedClaim {
                claim: record.claim.uid.clone(),
                interfaces: vec![interface("net1")],
            })
            .collect())
    }

    fn detach(&self, record: &Record, netns: Option<&Netns>) -> Detached {
        let uid = &record.claim.uid;
        let defined = self.id_file(uid.as_str()).exists();
        assert!(!defined, "the id of {uid} is defined while it is detached");
        let mut state = self.state.lock().unwrap();
        let from = if netns.is_some() { "pod" } else { "anywhere" };
        state.log.push(format!("detach {uid} from {from}"));
        let quarantined = |what: &str, plight| Quarantined {
            device: record.attachments[0].device.name.clone(),
            reason: format!("device eth2 is {what}"),
            plight,
        };
        let stuck = || quarantined("stuck", Plight::Away);
        let away = state.away.contains(uid).then(stuck);
        // Told once, as the kernel's own would be.
        let bent = state
            .bent
            .remove(uid)
            .then(|| quarantined("bent", Plight::Bent));
        let quarantined = away.into_iter().chain(bent);
        Detached {
            quarantined: quarantined.collect(),
        }
    }

    fn find_attached(&self, _: &Netns) -> Result<Vec<MarkedLink>, FindAttachedError> {
        let state = self.state.lock().unwrap();
        if state.unreadable {
            let source = RequestError::TimedOut { request: "dump" };
            return Err(FindAttachedError::Read(source));
        }
        Ok(state.marked.clone())
    }

    fn marked_at_home(&self) -> Result<Vec<MarkedLink>, FindAttachedError> {
        Ok(self.state.lock().unwrap().left_behind.clone())
    }

    fn kept(&self) -> Vec<Record> {
        self.state.lock().unwrap().kept.clone()
    }

    fn remember_whole(&self, claim: &ClaimUid, sandbox: &SandboxId) {
        let mut state = self.state.lock().unwrap();
        let kept = state.kept.iter_mut().find(|kept| kept.claim.uid == *claim);
        if let Some(kept) = kept {
            kept.sandbox = Some(sandbox.clone());
        }
    }

    fn presence(&self, record: &Record, _: &Netns) -> Result<Vec<Presence>, FindAttachedError> {
        let state = self.state.lock().unwrap();
        let presence = state.presence.unwrap_or(Presence::Here { carrier: true });
        Ok(vec![presence; record.attachments.len()])
    }
}

/// A link that is up and has nothing.
pub(crate) fn bare_snapshot(name: &IfName) -> Snapshot {
    Snapshot {
        taken: None,
        name: name.clone(),
        mtu: 1500,
        hardware_address: HardwareAddress::default(),
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
