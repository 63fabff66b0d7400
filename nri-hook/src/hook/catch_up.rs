//! What could not be done when it was due: devices that are not home yet, and prepared pods whose sandbox has none of
//! their devices. Looked at after each synchronisation, detach and commit, and again after a while.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use network_driver_common::bus::Backoff;
use network_driver_common::model::{ClaimUid, Record, SandboxId};
use network_driver_common::telemetry::{self, LinkTo};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

use super::attach::Attached;
use super::{Hook, claims_of, trace};
use crate::devices::Devices;
use crate::nri::Pod;
use crate::sandbox::{Holding, HoldingState};

/// Waits between two looks while something is left to do.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Least time between two looks for a device that is away.
const REST: Duration = Duration::from_millis(900);

/// Time that a late attach gets. Nobody waits for it.
const ATTACH_TIME: Duration = Duration::from_secs(10);

/// The last failure of each sandbox, so that the same one is reported once.
pub(super) type Failures = HashMap<SandboxId, String>;

impl<D: Devices> Hook<D> {
    /// Catches up until the token is cancelled. What is begun is ended.
    pub(crate) async fn catch_up(
        self: Arc<Self>,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut failures = Failures::new();
        let mut left = false;
        loop {
            let wait = async {
                if left {
                    tokio::time::sleep(backoff.next_wait()).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = self.changed.notified() => {}
                () = wait => {}
            }
            left = self.look(&mut failures).await;
            if !left {
                backoff.reset();
            }
        }
    }

    /// Does what can be done; whether anything is left.
    pub(super) async fn look(&self, failures: &mut Failures) -> bool {
        let mut left = false;
        for (claim, holding) in self.sandboxes.holdings() {
            if holding.state == HoldingState::Leaving {
                // A detach calls for a look at once, which would be none.
                let last = self.sandboxes.unfinished(&claim);
                let rests = last.is_some_and(|last| last.tried.elapsed() < REST);
                left |= rests || !self.leave_late(&claim).await;
            }
        }
        let pods = self.sandboxes.newest();
        failures.retain(|sandbox, _| pods.iter().any(|pod| pod.sandbox == *sandbox));
        for pod in pods {
            let records = self.records.of_pod(&pod.owner.uid);
            let here =
                |record: &Arc<Record>| self.sandboxes.is_attached(&record.claim.uid, &pod.sandbox);
            if !records.iter().all(here) {
                left |= !self.attach_late(&pod, failures).await;
            }
        }
        left
    }

    /// Brings home what is on its way; whether it is there.
    async fn leave_late(&self, claim: &ClaimUid) -> bool {
        let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
        let holding = self.sandboxes.holding(claim);
        if holding
            .as_ref()
            .is_some_and(|holding| holding.state == HoldingState::Leaving)
        {
            let contexts = holding.as_deref().map(Holding::linked);
            let span = trace::reconcile_span(contexts.as_slice());
            self.detach(claim).instrument(span).await;
        }
        let holding = self.sandboxes.holding(claim);
        holding.is_none_or(|holding| holding.state != HoldingState::Leaving)
    }

    /// Attaches what a sandbox should have had from its start; whether it has it now.
    async fn attach_late(&self, pod: &Pod, failures: &mut Failures) -> bool {
        let claims = claims_of(&self.records.of_pod(&pod.owner.uid));
        let _turn = self.turns.take(&claims).await;
        let mut records = self.records.of_pod(&pod.owner.uid);
        records.retain(|record| claims.contains(&record.claim.uid));
        if records.is_empty() || !self.sandboxes.is_known(&pod.sandbox) {
            return true;
        }
        if self.must_wait(pod, &records).await {
            return false;
        }
        let contexts: Vec<_> = records
            .iter()
            .map(|record| (LinkTo::Prepare, record.traceparent.as_deref()))
            .collect();
        let span = trace::reconcile_span(&contexts);
        let now = Instant::now();
        let deadline = now.checked_add(ATTACH_TIME).unwrap_or(now);
        let attached = self
            .attach(pod, &records, deadline)
            .instrument(span.clone())
            .await;
        if let Err(error) = &attached {
            telemetry::fail(&span, error.reason());
        }
        match attached {
            Ok(Attached::Here) => {
                failures.remove(&pod.sandbox);
                true
            }
            Ok(Attached::Busy) => false,
            // It ended without a word to us.
            Err(error) if error.is_over() => {
                self.sandboxes.remove(&pod.sandbox);
                true
            }
            Err(error) => {
                let sentence = error.sentence();
                if failures.get(&pod.sandbox) == Some(&sentence) {
                    debug!(sandbox = %pod.sandbox, err = sentence, "claims still not attached");
                } else {
                    span.in_scope(|| self.report_failure(pod, &records, &error));
                    failures.insert(pod.sandbox.clone(), sentence);
                }
                false
            }
        }
    }
}
