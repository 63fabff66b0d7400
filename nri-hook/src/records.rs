//! The records that the hook holds: what dra-plugin last said of the node's prepared claims. The hook works from them
//! while dra-plugin is away.

pub(crate) mod client;
mod health;
mod reports;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use network_driver_common::model::{ClaimUid, DeviceName, PodUid, Protected, Record};

pub(crate) use health::HealthBoard;
pub(crate) use reports::{Happened, Reports};

use crate::links::Quarantined;

/// The held records.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// A std mutex: no await is held.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    claims: HashMap<ClaimUid, Held>,
    /// Committed records only: a pod that has none costs one look-up here.
    by_pod: HashMap<PodUid, BTreeSet<ClaimUid>>,
    /// Also of claims that were released and that dra-plugin may name again, should it have died in between.
    quarantined: HashMap<ClaimUid, Bent>,
    /// Devices that were in quarantine when dra-plugin gave its list.
    listed: Vec<Quarantined>,
    protected: Arc<Protected>,
}

/// What cannot be attached any more of a claim, as it was prepared then.
#[derive(Debug)]
struct Bent {
    prepared: SystemTime,
    reasons: BTreeMap<DeviceName, String>,
}

#[derive(Debug)]
struct Held {
    record: Arc<Record>,
    /// Whether the record is durable. Nothing is attached from one that is not.
    committed: bool,
    /// The sandbox that was last served from it: later ones are no part of its pod's start.
    served: Served,
}

/// Which sandboxes a record was served to before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// None: what is made now is its pod's start.
    First,
    /// At least one; with the trace context of the last, where that is known.
    Again(Option<String>),
}

/// A record as the dump shows it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) record: Arc<Record>,
    pub(crate) committed: bool,
}

impl Records {
    /// Keeps a record that was checked and is not yet durable. A durable one of that claim stays as it is.
    pub(crate) fn check(&self, record: Record) {
        let mut state = self.state();
        if !state
            .claims
            .get(&record.claim.uid)
            .is_some_and(|held| held.committed)
        {
            state.put(record.into(), false);
        }
    }

    /// Keeps a record that is durable.
    pub(crate) fn commit(&self, record: Record) {
        self.state().put(record.into(), true);
    }

    /// Keeps a record that dra-plugin has lost, and this node remembers.
    pub(crate) fn restore(&self, record: Record) {
        let mut state = self.state();
        let claim = record.claim.uid.clone();
        state.put(record.into(), true);
        let of_claim = state.devices_of(&claim, &state.listed);
        state.quarantine(&claim, &of_claim);
    }

    /// Forgets a record whose prepare was given up, unless it is durable.
    pub(crate) fn abandon(&self, claim: &ClaimUid) {
        let mut state = self.state();
        if state.claims.get(claim).is_some_and(|held| !held.committed) {
            state.claims.remove(claim);
        }
    }

    /// Forgets a record.
    pub(crate) fn forget(&self, claim: &ClaimUid) {
        self.state().remove(claim);
    }

    /// Takes dra-plugin's whole list. Records that it lacks are forgotten, but for durable ones that are to be kept, which
    /// are returned.
    pub(crate) fn replace(
        &self,
        records: Vec<Arc<Record>>,
        keep: impl Fn(&ClaimUid) -> bool,
    ) -> Vec<Arc<Record>> {
        let listed: HashSet<_> = records
            .iter()
            .map(|record| record.claim.uid.clone())
            .collect();
        let mut state = self.state();
        let (mut kept, mut forgotten) = (Vec::new(), Vec::new());
        for (claim, held) in &state.claims {
            if listed.contains(claim) {
                continue;
            }
            if held.committed && keep(claim) {
                kept.push(Arc::clone(&held.record));
            } else {
                forgotten.push(claim.clone());
            }
        }
        for claim in &forgotten {
            state.remove(claim);
        }
        for record in records {
            state.put(record, true);
        }
        let State {
            claims,
            quarantined,
            ..
        } = &mut *state;
        quarantined.retain(|claim, _| claims.contains_key(claim));
        kept
    }

    /// The durable records of a pod, by claim UID.
    pub(crate) fn of_pod(&self, pod: &PodUid) -> Vec<Arc<Record>> {
        let state = self.state();
        let claims = state.by_pod.get(pod).into_iter().flatten();
        claims
            .filter_map(|claim| Some(Arc::clone(&state.claims.get(claim)?.record)))
            .collect()
    }

    /// The durable record of a claim.
    pub(crate) fn committed(&self, claim: &ClaimUid) -> Option<Arc<Record>> {
        let state = self.state();
        let held = state.claims.get(claim).filter(|held| held.committed)?;
        Some(Arc::clone(&held.record))
    }

    /// All records, durable or not.
    pub(crate) fn all(&self) -> Vec<Shown> {
        let state = self.state();
        let shown = state.claims.values().map(|held| Shown {
            record: Arc::clone(&held.record),
            committed: held.committed,
        });
        shown.collect()
    }

    /// Which sandboxes the record was served to.
    pub(crate) fn served(&self, claim: &ClaimUid) -> Served {
        let state = self.state();
        let held = state.claims.get(claim);
        held.map_or(Served::Again(None), |held| held.served.clone())
    }

    /// Notes that a sandbox is served from the record, in a span of this context.
    pub(crate) fn serve(&self, claim: &ClaimUid, traceparent: Option<String>) {
        if let Some(held) = self.state().claims.get_mut(claim) {
            held.served = Served::Again(traceparent);
        }
    }

    /// Notes that devices of a claim are in quarantine: as it is prepared now, none of it is attached any more.
    pub(crate) fn quarantine(&self, claim: &ClaimUid, devices: &[Quarantined]) {
        self.state().quarantine(claim, devices);
    }

    /// Takes dra-plugin's whole list of devices in quarantine.
    pub(crate) fn quarantine_listed(&self, devices: Vec<Quarantined>) {
        self.quarantine_devices(&devices);
        self.state().listed = devices;
    }

    /// Notes that devices are in quarantine, whichever claims they are of.
    pub(crate) fn quarantine_devices(&self, devices: &[Quarantined]) {
        let mut state = self.state();
        let claims: Vec<_> = state.claims.keys().cloned().collect();
        for claim in claims {
            let of_claim = state.devices_of(&claim, devices);
            state.quarantine(&claim, &of_claim);
        }
    }

    /// Why the claim cannot be attached any more, as a sentence; `None` while it can.
    pub(crate) fn quarantined(&self, claim: &ClaimUid) -> Option<String> {
        let state = self.state();
        let prepared = state.claims.get(claim)?.record.prepared;
        let bent = state.quarantined.get(claim);
        let bent = bent.filter(|bent| bent.prepared == prepared)?;
        let reasons: Vec<_> = bent.reasons.values().map(String::as_str).collect();
        Some(reasons.join("; "))
    }

    /// The held record of the claim if it is just like that one, so that a list that comes again takes no second place.
    pub(crate) fn known(&self, record: Record) -> Arc<Record> {
        let state = self.state();
        let held = state.claims.get(&record.claim.uid);
        let same = held.filter(|held| *held.record == record);
        same.map_or_else(|| Arc::new(record), |held| Arc::clone(&held.record))
    }

    /// Whether a record of the claim is held, durable or not.
    pub(crate) fn knows(&self, claim: &ClaimUid) -> bool {
        self.state().claims.contains_key(claim)
    }

    /// What the node's own traffic depends on.
    pub(crate) fn protected(&self) -> Arc<Protected> {
        Arc::clone(&self.state().protected)
    }

    /// Takes what the node's own traffic depends on.
    pub(crate) fn protect(&self, protected: Protected) {
        self.state().protected = Arc::new(protected);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, record: Arc<Record>, committed: bool) {
        let claim = record.claim.uid.clone();
        let earlier = self.remove(&claim);
        if committed {
            for pod in &record.pods {
                self.by_pod
                    .entry(pod.clone())
                    .or_default()
                    .insert(claim.clone());
            }
        }
        // The same preparation, made durable or with other pods, is still the one that was served.
        let earlier = earlier.filter(|held| held.record.prepared == record.prepared);
        let served = match earlier {
            Some(held) if held.served != Served::First => held.served,
            _ if record.sandbox.is_some() => Served::Again(None),
            _ => Served::First,
        };
        self.claims.insert(
            claim,
            Held {
                record,
                committed,
                served,
            },
        );
    }

    fn quarantine(&mut self, claim: &ClaimUid, devices: &[Quarantined]) {
        let Some(held) = self.claims.get(claim).filter(|_| !devices.is_empty()) else {
            return;
        };
        let prepared = held.record.prepared;
        let fresh = || Bent {
            prepared,
            reasons: BTreeMap::new(),
        };
        let bent = self.quarantined.entry(claim.clone()).or_insert_with(fresh);
        if bent.prepared != prepared {
            *bent = fresh();
        }
        let reasons = devices.iter().map(|d| (d.device.clone(), d.reason.clone()));
        bent.reasons.extend(reasons);
    }

    /// Those of the devices that the claim's record names.
    fn devices_of(&self, claim: &ClaimUid, devices: &[Quarantined]) -> Vec<Quarantined> {
        let record = self.claims.get(claim).map(|held| &held.record);
        let attachments = record.into_iter().flat_map(|record| &record.attachments);
        let names: BTreeSet<_> = attachments.map(|a| &a.device.name).collect();
        let its = devices.iter().filter(|d| names.contains(&d.device));
        its.cloned().collect()
    }

    fn remove(&mut self, claim: &ClaimUid) -> Option<Held> {
        let held = self.claims.remove(claim)?;
        for pod in &held.record.pods {
            if let Some(claims) = self.by_pod.get_mut(pod) {
                claims.remove(claim);
                if claims.is_empty() {
                    self.by_pod.remove(pod);
                }
            }
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::links::Plight;
    use crate::testing::{claim, pod_uid, record};

    fn claims_of(records: &Records, pod: &str) -> Vec<String> {
        let records = records.of_pod(&pod_uid(pod));
        records
            .iter()
            .map(|record| record.claim.uid.to_string())
            .collect()
    }

    #[test]
    fn nothing_is_attached_from_a_record_that_is_not_durable() {
        let records = Records::default();
        records.check(record("c", &["p"]));
        assert!(claims_of(&records, "p").is_empty());
        assert!(records.committed(&claim("c")).is_none());
        records.commit(record("c", &["p"]));
        assert_eq!(claims_of(&records, "p"), ["c"]);
    }

    #[test]
    fn a_check_or_an_abandon_leaves_a_durable_record_alone() {
        let records = Records::default();
        records.commit(record("c", &["p"]));
        records.check(record("c", &["q"]));
        records.abandon(&claim("c"));
        assert_eq!(claims_of(&records, "p"), ["c"]);
        records.check(record("d", &["p"]));
        records.abandon(&claim("d"));
        assert_eq!(records.all().len(), 1);
    }

    #[test]
    fn a_commit_with_other_pods_moves_the_claim_to_them() {
        let records = Records::default();
        records.commit(record("c", &["p", "q"]));
        records.commit(record("c", &["q", "r"]));
        assert!(claims_of(&records, "p").is_empty());
        assert_eq!(claims_of(&records, "q"), ["c"]);
        assert_eq!(claims_of(&records, "r"), ["c"]);
        records.forget(&claim("c"));
        assert!(records.state().by_pod.is_empty());
    }

    #[test]
    fn a_list_forgets_what_it_lacks_but_never_an_attached_claim() {
        let records = Records::default();
        for uid in ["a", "b", "c"] {
            records.commit(record(uid, &["p"]));
        }
        records.check(record("d", &["p"]));
        records.replace(vec![record("c", &["p"]).into()], |listed| {
            *listed == claim("a")
        });
        assert_eq!(claims_of(&records, "p"), ["a", "c"]);
        assert_eq!(
            records.all().len(),
            2,
            "a check does not outlive its session"
        );
    }

    #[test]
    fn a_list_that_comes_again_takes_no_second_place() {
        let records = Records::default();
        records.commit(record("c", &["p"]));
        let held = records.committed(&claim("c")).unwrap();
        assert!(Arc::ptr_eq(&records.known(record("c", &["p"])), &held));
        let other = records.known(record("c", &["q"]));
        assert!(other.pods.contains(&pod_uid("q")));
    }

    #[test]
    fn a_quarantine_lasts_as_long_as_the_preparation() {
        let records = Records::default();
        let quarantine = |records: &Records| {
            let device = Quarantined {
                device: "eth2".parse().unwrap(),
                reason: "device eth2 is bent".into(),
                plight: Plight::Bent,
            };
            records.quarantine(&claim("c"), &[device]);
        };
        quarantine(&records);
        records.commit(record("c", &["p"]));
        assert_eq!(records.quarantined(&claim("c")), None);
        quarantine(&records);
        records.commit(record("c", &["p", "q"]));
        let why = records.quarantined(&claim("c"));
        assert_eq!(why.as_deref(), Some("device eth2 is bent"));
        let mut again = record("c", &["p"]);
        again.prepared += std::time::Duration::from_secs(1);
        records.commit(again);
        assert_eq!(records.quarantined(&claim("c")), None);
    }

    #[test]
    fn a_record_that_comes_again_after_its_release_is_still_in_quarantine() {
        let records = Records::default();
        let bent = |device: &str| Quarantined {
            device: device.parse().unwrap(),
            reason: format!("device {device} is bent"),
            plight: Plight::Bent,
        };
        records.commit(record("c", &["p"]));
        records.quarantine(&claim("c"), &[bent("eth2")]);
        records.forget(&claim("c"));
        assert_eq!(records.quarantined(&claim("c")), None);
        records.replace(vec![record("c", &["p"]).into()], |_| false);
        let why = records.quarantined(&claim("c"));
        assert_eq!(why.as_deref(), Some("device eth2 is bent"));
        records.forget(&claim("c"));
        records.replace(Vec::new(), |_| false);
        records.commit(record("c", &["p"]));
        assert_eq!(
            records.quarantined(&claim("c")),
            None,
            "dra-plugin had removed it"
        );
    }

    #[test]
    fn devices_that_dra_plugin_names_are_in_quarantine_for_the_claims_that_have_them() {
        let records = Records::default();
        records.commit(record("c", &["p"]));
        let device = records.all()[0].record.attachments[0].device.name.clone();
        let bent = |device| Quarantined {
            device,
            reason: "bent".into(),
            plight: Plight::Bent,
        };
        records.quarantine_devices(&[bent("other".parse().unwrap())]);
        assert_eq!(records.quarantined(&claim("c")), None);
        records.quarantine_devices(&[bent(device)]);
        assert_eq!(records.quarantined(&claim("c")).as_deref(), Some("bent"));
    }

    #[test]
    fn only_the_first_sandbox_of_a_preparation_is_part_of_the_pods_start() {
        let records = Records::default();
        records.commit(record("c", &["p"]));
        assert_eq!(records.served(&claim("c")), Served::First);
        records.serve(&claim("c"), Some("00-1".into()));
        records.commit(record("c", &["p", "q"]));
        assert_eq!(
            records.served(&claim("c")),
            Served::Again(Some("00-1".into()))
        );
        let mut again = record("c", &["p"]);
        again.prepared += std::time::Duration::from_secs(1);
        records.commit(again.clone());
        assert_eq!(records.served(&claim("c")), Served::First);
        again.sandbox = Some("s".parse().unwrap());
        records.commit(again);
        assert_eq!(
            records.served(&claim("c")),
            Served::Again(None),
            "it was attached before this process began"
        );
    }
}
