//! Comparing what is believed with what is. A device can leave a pod without a word from the runtime: unplugged, taken
//! by hand, fallen home with a namespace that died. Then no container of the claim may start any more, until it is back.
//!
//! Looked at when a link of the pod has changed, and every few minutes: events get lost.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network_driver_common::model::ClaimUid;
use network_driver_netlink::{Group, Monitor, Netns};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use super::{Hook, blocking};
use crate::chain;
use crate::devices::Devices;
use crate::links::Presence;
use crate::sandbox::{Holding, HoldingState};

/// Between two looks that nothing has caused.
const PERIOD: Duration = Duration::from_mins(5);

/// Least time between two looks at a claim: a pod may change its links as fast as it likes.
const REST: Duration = Duration::from_secs(1);

/// Hears of what happens to the links of a namespace, until it is dropped.
pub(crate) type Watch = Arc<AbortOnDropHandle<()>>;

/// Claims that may no longer be as they were left.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// A std mutex: no await is held.
    claims: Mutex<BTreeSet<ClaimUid>>,
    added: Notify,
}

impl Doubts {
    /// Has a claim looked at soon.
    pub(super) fn add(&self, claim: &ClaimUid) {
        self.claims().insert(claim.clone());
        self.added.notify_one();
    }

    fn take(&self) -> BTreeSet<ClaimUid> {
        std::mem::take(&mut *self.claims())
    }

    fn claims(&self) -> MutexGuard<'_, BTreeSet<ClaimUid>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When each claim was looked at, as long as it matters.
#[derive(Debug, Default)]
struct Looks(BTreeMap<ClaimUid, Instant>);

impl Looks {
    fn done(&mut self, claim: ClaimUid) {
        self.0.insert(claim, Instant::now());
    }

    /// Takes out those that may be looked at.
    fn due(&mut self, doubted: &mut BTreeSet<ClaimUid>) -> BTreeSet<ClaimUid> {
        self.0.retain(|_, looked| looked.elapsed() < REST);
        let rests = doubted.iter().filter(|claim| self.0.contains_key(*claim));
        let rests = rests.cloned().collect();
        let due = doubted.difference(&rests).cloned().collect();
        *doubted = rests;
        due
    }

    /// Ends when the first of the claims may be looked at; never without one.
    async fn rest(&self, doubted: &BTreeSet<ClaimUid>) {
        let looked = doubted.iter().filter_map(|claim| self.0.get(claim)).min();
        match looked {
            Some(looked) => tokio::time::sleep(REST.saturating_sub(looked.elapsed())).await,
            None => std::future::pending().await,
        }
    }
}

impl<D: Devices> Hook<D> {
    /// Reconciles until the token is cancelled. What is begun is ended.
    pub(crate) async fn reconcile(
        self: Arc<Self>,
        shutdown: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut doubted, mut looks) = (BTreeSet::new(), Looks::default());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = period.tick() => {
                    self.look_for_left_behind().await;
                    doubted.extend(self.sandboxes.held());
                }
                () = self.doubts.added.notified() => doubted.extend(self.doubts.take()),
                () = looks.rest(&doubted) => {}
            }
            for claim in looks.due(&mut doubted) {
                self.look_at(&claim).await;
                looks.done(claim);
            }
        }
    }

    /// Compares what is believed of a claim with what is.
    pub(super) async fn look_at(&self, claim: &ClaimUid) {
        let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
        let Some(holding) = self.sandboxes.holding(claim) else {
            return;
        };
        if holding.state == HoldingState::Leaving {
            return;
        }
        if self.is_over(&holding).await {
            debug!(claimUID = %claim, sandbox = %holding.sandbox, "its sandbox is over");
            self.sandboxes.leave(claim);
            self.changed.notify_one();
            return;
        }
        let Some(netns) = holding.netns.clone() else {
            return;
        };
        if holding.watch.is_none() {
            // Before the look, so that no change falls between the two.
            self.watch(claim, &netns);
        }
        let (devices, looked) = (Arc::clone(&self.devices), Arc::clone(&holding.record));
        match blocking(move || devices.presence(&looked, &netns)).await {
            Ok(Ok(presences)) => self.found(&holding, &presences).await,
            // Nothing is taken from a pod on a guess.
            Ok(Err(failed)) => {
                warn!(claimUID = %claim, err = chain(&failed), "links of a pod unknown");
            }
            Err(panicked) => error!(claimUID = %claim, err = %panicked, "reconcile panicked"),
        }
    }

    /// Acts on what was found: the claim's id is defined exactly while all its devices are there.
    async fn found(&self, holding: &Holding, presences: &[Presence]) {
        let record = &holding.record;
        let claim = &record.claim.uid;
        let devices = record.attachments.iter().map(|a| &a.device.name);
        let found: Vec<_> = devices.zip(presences).collect();
        let gone = found.iter().filter(|it| *it.1 == Presence::Gone);
        let gone: Vec<_> = gone.map(|(device, _)| device.as_str()).collect();
        let whole = gone.is_empty();
        let (cdi, devices) = (self.cdi.clone(), Arc::clone(&self.devices));
        let (kept, sandbox) = (Arc::clone(record), holding.sandbox.clone());
        let interfaces = holding.interfaces.clone();
        let was_whole = holding.state == HoldingState::Attached;
        let kept_up = blocking(move || {
            if whole {
                return cdi.define(&kept, &interfaces);
            }
            let claim = &kept.claim.uid;
            if was_whole {
                // First: without its id nothing else on this node tells it from a claim that was half attached.
                devices.remember_whole(claim, &sandbox);
            }
            cdi.remove(claim)
        });
        match kept_up.await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => {
                error!(claimUID = %claim, err = chain(&failed), "CDI id not as it should be");
            }
            Err(panicked) => error!(claimUID = %claim, err = %panicked, "reconcile panicked"),
        }
        let state = if whole {
            HoldingState::Attached
        } else {
            HoldingState::Incomplete
        };
        if holding.state != state {
            say(holding, &gone);
            self.sandboxes.set_state(claim, state);
        }
        // Told when the gate is as it has to be.
        for (device, presence) in found {
            self.health
                .note(claim, device, holding.pod.as_ref(), presence.fault());
        }
    }

    /// Hears of changes to the links of a claim's pod.
    fn watch(&self, claim: &ClaimUid, netns: &Netns) {
        let mut monitor = match Monitor::open_in(netns, &[Group::Link]) {
            Ok(monitor) => monitor,
            Err(failed) => {
                warn!(claimUID = %claim, err = chain(&failed), "changes in a pod are seen late");
                return;
            }
        };
        let (doubts, watched) = (Arc::clone(&self.doubts), claim.clone());
        let watching = tokio::spawn(async move {
            while let Ok(_events) = monitor.next().await {
                doubts.add(&watched);
            }
        });
        let watch = Arc::new(AbortOnDropHandle::new(watching));
        self.sandboxes.set_watch(claim, watch);
    }
}

fn say(holding: &Holding, gone: &[&str]) {
    let (claim, pod) = (
        &holding.record.claim,
        holding.pod.as_ref().map(ToString::to_string),
    );
    let pod = pod.unwrap_or_default();
    if gone.is_empty() {
        info!(claim = %claim, claimUID = %claim.uid, pod, "the claim's devices are back in the pod");
    } else {
        let device = gone.join(", ");
        error!(claim = %claim, claimUID = %claim.uid, pod, device, "device gone from its pod");
    }
}
