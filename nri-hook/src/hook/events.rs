//! What each event of the runtime sets off.

use std::sync::Arc;

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimUid, Record, SandboxId};
use network_driver_common::telemetry;
use tracing::{Instrument, debug, info, warn};

use super::attach::{AttachPodError, Attached};
use super::{Hook, claims_of, trace};
use crate::devices::Devices;
use crate::gate;
use crate::nri::{Container, Pod, PodEvents, Request};
use crate::records::Happened;
use crate::sandbox::{Holding, HoldingState};

impl<D: Devices> PodEvents for Hook<D> {
    async fn synchronize(&self, pods: Vec<Pod>) {
        self.adopt(pods).await;
    }

    async fn run_pod_sandbox(&self, pod: Pod, request: Request) -> Result<(), String> {
        self.sandboxes.add(&pod);
        let records = self.records.of_pod(&pod.owner.uid);
        if records.is_empty() {
            return Ok(());
        }
        fail::pass(Point::AttachReceived);
        let served: Vec<_> = records
            .iter()
            .map(|r| self.records.served(&r.claim.uid))
            .collect();
        let (span, origin) = trace::run_span(&pod, &request, &records, &served, &self.boot_id);
        let context = telemetry::traceparent_of(&span);
        for record in &records {
            self.records.serve(&record.claim.uid, context.clone());
        }
        self.sandboxes.set_origin(&pod.sandbox, origin);
        let attached = self.run(&pod, &request).instrument(span.clone()).await;
        let failure = attached.as_ref().err().map(AttachPodError::reason);
        trace::outcome(&span, &request, failure);
        match attached {
            Ok(Attached::Here) => Ok(()),
            Ok(Attached::Busy) => {
                // Its containers wait at the gate until the other pod has ended.
                info!(pod = %pod.owner, sandbox = %pod.sandbox, "claim is in another pod: this one waits");
                Ok(())
            }
            Err(error) => {
                // The runtime makes another sandbox; nothing must be attached to this one any more.
                self.sandboxes.remove(&pod.sandbox);
                let claims: Vec<_> = records.iter().map(|r| r.claim.to_string()).collect();
                Err(format!("claim {}: {}", claims.join(", "), error.sentence()))
            }
        }
    }

    async fn stop_pod_sandbox(&self, pod: Pod, request: Request) {
        self.sandboxes.remove(&pod.sandbox);
        // An attach that is under way holds the turn of the pod's claims.
        let mut claims = claims_of(&self.records.of_pod(&pod.owner.uid));
        claims.extend(self.sandboxes.held_by(&pod.sandbox));
        if claims.is_empty() {
            return;
        }
        let _turn = self.turns.take(&claims).await;
        let held = self.sandboxes.held_by(&pod.sandbox);
        let holdings: Vec<_> = held
            .iter()
            .filter_map(|claim| self.sandboxes.holding(claim))
            .collect();
        if held.is_empty() {
            debug!(sandbox = %pod.sandbox, "stopped sandbox holds no device");
            // It may have stood for its pod, which has another one.
            self.changed.notify_one();
            return;
        }
        fail::pass(Point::DetachReceived);
        let span = trace::stop_span(&pod, &request, &holdings);
        async {
            for claim in &held {
                self.detach(claim).await;
            }
        }
        .instrument(span.clone())
        .await;
        trace::outcome(&span, &request, None);
    }

    async fn create_container(&self, container: Container, request: Request) -> Result<(), String> {
        let claims: Vec<_> = gate::claims(&container.env).collect();
        if claims.is_empty() {
            return Ok(());
        }
        self.confirmation.seen();
        let sandbox = container.sandbox.as_ref();
        let origin = sandbox.and_then(|sandbox| self.sandboxes.origin(sandbox));
        let records = claims.iter().filter_map(|c| self.records.committed(c));
        let records: Vec<_> = records.collect();
        let span = trace::create_span(&container, &request, origin.as_ref(), &records);
        let allowed = span.in_scope(|| self.pass_gate(sandbox, &claims));
        let failure = allowed.is_err().then_some("ClaimNotAttached");
        trace::outcome(&span, &request, failure);
        allowed
    }
}

impl<D: Devices> Hook<D> {
    /// Lets a container with these claims be created, or says why not.
    fn pass_gate(&self, sandbox: Option<&SandboxId>, claims: &[ClaimUid]) -> Result<(), String> {
        let attached =
            |claim| sandbox.is_some_and(|sandbox| self.sandboxes.is_attached(claim, sandbox));
        let missing = claims.iter().find(|claim| !attached(claim));
        let _span = trace::gate_span(claims, missing).entered();
        let Some(missing) = missing else {
            return Ok(());
        };
        self.metrics.gate_denied();
        self.changed.notify_one();
        let name = self
            .records
            .committed(missing)
            .map(|record| record.claim.to_string());
        let name = name.unwrap_or_else(|| missing.to_string());
        warn!(claim = name, claimUID = %missing, "container refused: its claim is not attached");
        let why = match self.sandboxes.holding(missing).as_deref() {
            None => "its devices are at home".to_owned(),
            Some(Holding {
                state: HoldingState::Leaving,
                ..
            }) => "its devices are on their way home".to_owned(),
            Some(Holding {
                state: HoldingState::Incomplete,
                ..
            }) => "a device is gone from the pod".to_owned(),
            Some(Holding { pod: Some(pod), .. }) => format!("its devices are in pod {pod}"),
            Some(Holding { sandbox, .. }) => format!("its devices are in sandbox {sandbox}"),
        };
        Err(format!(
            "claim {name} is not attached to this pod: {why}; it is tried again"
        ))
    }

    /// Attaches what the pod of a new sandbox has claims for, in the time that the runtime gives.
    async fn run(&self, pod: &Pod, request: &Request) -> Result<Attached, AttachPodError> {
        let stop_at = request.deadline.stop_at();
        let turn = async {
            let claims = claims_of(&self.records.of_pod(&pod.owner.uid));
            let turn = self.turns.take(&claims).await;
            (claims, turn)
        };
        let waited = tokio::time::timeout_at(stop_at.into(), turn).await;
        let (claims, _turn) = waited.map_err(|_| AttachPodError::Waited)?;
        let mut records = self.records.of_pod(&pod.owner.uid);
        // One that came while we waited is not ours to work on; it is caught up with.
        records.retain(|record| claims.contains(&record.claim.uid));
        let attached = self.attach(pod, &records, stop_at).await;
        match &attached {
            Err(error) if error.is_over() => {
                debug!(sandbox = %pod.sandbox, err = error.sentence(), "sandbox has ended before it was served");
            }
            Err(error) => self.report_failure(pod, &records, error),
            Ok(_) => {}
        }
        attached
    }

    /// Tells dra-plugin why claims are not attached.
    pub(super) fn report_failure(
        &self,
        pod: &Pod,
        records: &[Arc<Record>],
        error: &AttachPodError,
    ) {
        let sentence = error.sentence();
        warn!(
            pod = %pod.owner, podUID = %pod.owner.uid, sandbox = %pod.sandbox,
            reason = error.reason(), err = sentence, "claims not attached"
        );
        self.metrics.attach_failed(error.reason());
        for record in records {
            let what = Happened::Failed {
                reason: error.reason(),
                message: sentence.clone(),
                quarantined: error.quarantined_of(record),
            };
            self.reports
                .add(&record.claim.uid, Some(&pod.owner), &pod.sandbox, what);
        }
    }
}
