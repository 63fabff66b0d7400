//! The runtime's sandboxes, and which of them holds which claim: at most one at a time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use network_driver_common::model::{ClaimUid, PodRef, Record, SandboxId};
use network_driver_common::telemetry::LinkTo;
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::Netns;

use crate::hook::Watch;
use crate::links::Quarantined;
use crate::nri::Pod;

/// A claim's devices outside home.
#[derive(Debug, Clone)]
pub(crate) struct Holding {
    /// Which sandbox has them.
    pub(crate) sandbox: SandboxId,
    /// Whose sandbox; `None` when only its id is known.
    pub(crate) pod: Option<PodRef>,
    /// Its namespace, kept alive until everything is home: a virtual link dies with it. `None` when it is gone.
    pub(crate) netns: Option<Netns>,
    /// Where the runtime had mounted it.
    pub(crate) path: Option<PathBuf>,
    /// What the devices were attached from.
    pub(crate) record: Arc<Record>,
    /// The interfaces in the pod.
    pub(crate) interfaces: Vec<AttachedInterface>,
    /// Whether it is whole, or on its way home.
    pub(crate) state: HoldingState,
    /// Trace context of what attached it; `None` without tracing, and when an earlier life of this process did.
    pub(crate) traceparent: Option<String>,
    /// Hears of changes to the links of the pod.
    pub(crate) watch: Option<Watch>,
}

impl Holding {
    /// What its end is linked to: what attached it, or else its Prepare.
    pub(crate) fn linked(&self) -> (LinkTo, Option<&str>) {
        match &self.traceparent {
            Some(attach) => (LinkTo::Attach, Some(attach)),
            None => (LinkTo::Prepare, self.record.traceparent.as_deref()),
        }
    }
}

/// The trace that what happens in a new sandbox belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Its context; `None` without tracing.
    pub(crate) traceparent: Option<String>,
    /// When the sandbox was made.
    pub(crate) since: Instant,
}

impl Origin {
    /// Of a sandbox that is made now.
    pub(crate) fn new(traceparent: Option<String>) -> Self {
        Self {
            traceparent,
            since: Instant::now(),
        }
    }
}

/// How far a holding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldingState {
    /// All devices are in the pod, configured and verified.
    Attached,
    /// A device is gone from the pod: no further container may start.
    Incomplete,
    /// To be brought home, until that has succeeded.
    Leaving,
}

/// The sandboxes of the node.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    /// A std mutex: no await is held.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    arrived: u64,
    /// Made and not stopped, as far as the runtime told us.
    known: HashMap<SandboxId, Known>,
    holdings: HashMap<ClaimUid, Arc<Holding>>,
    /// Holdings that a detach could not end.
    unfinished: HashMap<ClaimUid, Unfinished>,
}

/// A detach after which a device was still away.
#[derive(Debug, Clone)]
pub(crate) struct Unfinished {
    /// When it was tried last.
    pub(crate) tried: Instant,
    /// Devices of the claim that are home, but not as they were, or lost: no later try will say so again.
    pub(crate) lasting: Vec<Quarantined>,
}

#[derive(Debug)]
struct Known {
    pod: Pod,
    /// Later sandboxes of a pod have greater numbers.
    arrived: u64,
    /// `None` when it was made before this process began, or its pod has no claims.
    origin: Option<Origin>,
}

impl Sandboxes {
    /// Adds a sandbox that was made. Earlier ones of the same pod are no longer that pod's.
    pub(crate) fn add(&self, pod: &Pod) {
        self.state().add(pod.clone());
    }

    /// Forgets a sandbox that was stopped, or refused.
    pub(crate) fn remove(&self, sandbox: &SandboxId) {
        self.state().known.remove(sandbox);
    }

    /// Takes the runtime's list of live sandboxes in place of what is known.
    pub(crate) fn replace(&self, live: Vec<Pod>) {
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.known);
        for pod in live {
            let known = before.remove(&pod.sandbox);
            let sandbox = pod.sandbox.clone();
            state.add(pod);
            if let Some(added) = state.known.get_mut(&sandbox) {
                added.origin = known.and_then(|known| known.origin);
            }
        }
    }

    /// Notes the trace that a known sandbox belongs to.
    pub(crate) fn set_origin(&self, sandbox: &SandboxId, origin: Origin) {
        if let Some(known) = self.state().known.get_mut(sandbox) {
            known.origin = Some(origin);
        }
    }

    /// The trace that a sandbox belongs to.
    pub(crate) fn origin(&self, sandbox: &SandboxId) -> Option<Origin> {
        self.state().known.get(sandbox)?.origin.clone()
    }

    /// Whether the sandbox was made and not stopped.
    pub(crate) fn is_known(&self, sandbox: &SandboxId) -> bool {
        self.state().known.contains_key(sandbox)
    }

    /// The newest known sandbox of each pod that has a namespace of its own. Runtimes list those that were killed without one.
    pub(crate) fn newest(&self) -> Vec<Pod> {
        let state = self.state();
        let mut newest = HashMap::new();
        let known = state.known.values();
        for known in known.filter(|known| known.pod.netns.is_some()) {
            let kept = newest.entry(&known.pod.owner.uid).or_insert(known);
            if kept.arrived < known.arrived {
                *kept = known;
            }
        }
        newest
            .into_values()
            .map(|known| known.pod.clone())
            .collect()
    }

    /// Number of known sandboxes.
    pub(crate) fn count(&self) -> usize {
        self.state().known.len()
    }

    /// Notes where a claim's devices are.
    pub(crate) fn hold(&self, claim: &ClaimUid, holding: Holding) {
        self.state()
            .holdings
            .insert(claim.clone(), Arc::new(holding));
    }

    /// Notes that a device of the claim was still away after a detach.
    pub(crate) fn set_unfinished(&self, claim: &ClaimUid, lasting: Vec<Quarantined>) {
        let unfinished = Unfinished {
            tried: Instant::now(),
            lasting,
        };
        self.state().unfinished.insert(claim.clone(), unfinished);
    }

    /// The last detach of the claim, if a device was still away after it.
    pub(crate) fn unfinished(&self, claim: &ClaimUid) -> Option<Unfinished> {
        self.state().unfinished.get(claim).cloned()
    }

    /// Notes that a claim's devices are on their way home.
    pub(crate) fn leave(&self, claim: &ClaimUid) {
        self.set_state(claim, HoldingState::Leaving);
    }

    /// Keeps the ear on a claim's pod for as long as the claim is held.
    pub(crate) fn set_watch(&self, claim: &ClaimUid, watch: Watch) {
        if let Some(holding) = self.state().holdings.get_mut(claim) {
            Arc::make_mut(holding).watch = Some(watch);
        }
    }

    /// Notes how a claim's devices are.
    pub(crate) fn set_state(&self, claim: &ClaimUid, now: HoldingState) {
        if let Some(holding) = self.state().holdings.get_mut(claim) {
            Arc::make_mut(holding).state = now;
        }
    }

    /// Notes that a claim's devices are home. The last holder of the namespace lets go of it.
    pub(crate) fn release(&self, claim: &ClaimUid) {
        let mut state = self.state();
        state.holdings.remove(claim);
        state.unfinished.remove(claim);
    }

    /// Where a claim's devices are.
    pub(crate) fn holding(&self, claim: &ClaimUid) -> Option<Arc<Holding>> {
        self.state().holdings.get(claim).map(Arc::clone)
    }

    /// All claims whose devices are out.
    pub(crate) fn holdings(&self) -> Vec<(ClaimUid, Arc<Holding>)> {
        let state = self.state();
        let holdings = state.holdings.iter();
        holdings
            .map(|(claim, holding)| (claim.clone(), Arc::clone(holding)))
            .collect()
    }

    /// Claims that a sandbox holds.
    pub(crate) fn held_by(&self, sandbox: &SandboxId) -> BTreeSet<ClaimUid> {
        let state = self.state();
        let held = state
            .holdings
            .iter()
            .filter(|(_, holding)| holding.sandbox == *sandbox);
        held.map(|(claim, _)| claim.clone()).collect()
    }

    /// Claims whose devices are out.
    pub(crate) fn held(&self) -> HashSet<ClaimUid> {
        self.state().holdings.keys().cloned().collect()
    }

    /// Whether all devices of the claim are in this sandbox.
    pub(crate) fn is_attached(&self, claim: &ClaimUid, sandbox: &SandboxId) -> bool {
        let state = self.state();
        state.holdings.get(claim).is_some_and(|holding| {
            holding.sandbox == *sandbox && holding.state == HoldingState::Attached
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, pod: Pod) {
        self.arrived = self.arrived.saturating_add(1);
        let known = Known {
            arrived: self.arrived,
            origin: None,
            pod,
        };
        self.known.insert(known.pod.sandbox.clone(), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{claim, pod, record};

    fn holding(sandbox: &str) -> Holding {
        Holding {
            sandbox: sandbox.parse().unwrap(),
            pod: None,
            netns: None,
            path: None,
            record: Arc::new(record("c", &[])),
            interfaces: Vec::new(),
            state: HoldingState::Attached,
            traceparent: None,
            watch: None,
        }
    }

    #[test]
    fn a_claim_is_attached_in_one_sandbox_and_not_while_it_leaves() {
        let sandboxes = Sandboxes::default();
        let (one, two) = ("s1".parse().unwrap(), "s2".parse().unwrap());
        sandboxes.hold(&claim("c"), holding("s1"));
        assert!(sandboxes.is_attached(&claim("c"), &one));
        assert!(!sandboxes.is_attached(&claim("c"), &two));
        sandboxes.leave(&claim("c"));
        assert!(!sandboxes.is_attached(&claim("c"), &one));
        assert_eq!(sandboxes.held_by(&one).len(), 1, "it is still out");
        sandboxes.release(&claim("c"));
        assert!(sandboxes.holding(&claim("c")).is_none());
    }

    #[test]
    fn a_pods_sandbox_is_its_newest_one() {
        let sandboxes = Sandboxes::default();
        let netns = Some("/run/netns/x");
        sandboxes.add(&pod("s1", "p", netns));
        sandboxes.add(&pod("s2", "p", netns));
        sandboxes.add(&pod("s3", "q", netns));
        sandboxes.add(&pod("s4", "q", None));
        let mut newest: Vec<_> = sandboxes
            .newest()
            .iter()
            .map(|p| p.sandbox.to_string())
            .collect();
        newest.sort();
        assert_eq!(newest, ["s2", "s3"]);
        sandboxes.replace(vec![pod("s1", "p", None)]);
        assert!(!sandboxes.is_known(&"s2".parse().unwrap()));
        assert_eq!(sandboxes.count(), 1);
    }
}
