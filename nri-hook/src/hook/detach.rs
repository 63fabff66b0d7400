//! Bringing a claim's devices home. Never fails as a whole: what is not home stays noted and is tried again.

use std::sync::Arc;
use std::time::Instant;

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimUid, Record};
use network_driver_common::telemetry;
use network_driver_netlink::Netns;
use tracing::{Instrument, error, info, info_span};

use super::{Hook, blocking};
use crate::chain;
use crate::devices::Devices;
use crate::links::{Detached, Quarantined};
use crate::records::Happened;

impl<D: Devices> Hook<D> {
    /// Brings home the devices of a claim that some sandbox holds. The caller has the claim's turn. Returns the
    /// devices that are not home as they were; the holding is gone when none of them is still away.
    pub(super) async fn detach(&self, claim: &ClaimUid) -> Vec<Quarantined> {
        let Some(holding) = self.sandboxes.holding(claim) else {
            return Vec::new();
        };
        self.sandboxes.leave(claim);
        let record = &holding.record;
        let begun = Instant::now();
        let detached = self.bring_home(record, holding.netns.clone()).await;
        let Some(Detached { quarantined }) = detached else {
            self.metrics.detach_failed("InterfaceDetachFailed");
            return Vec::new();
        };
        let took = begun.elapsed();
        info!(
            claim = %record.claim, claimUID = %claim, sandbox = %holding.sandbox,
            quarantined = quarantined.len(), durationMs = took.as_millis(), "claim detached"
        );
        self.metrics.detached(record, took);
        let told = self.note_outcome(claim, &quarantined);
        self.count_interfaces();
        fail::pass(Point::DetachDone);
        if let Some(told) = told {
            self.records.quarantine(claim, &told);
            let what = Happened::Detached { quarantined: told };
            self.reports
                .add(claim, holding.pod.as_ref(), &holding.sandbox, what);
        }
        self.changed.notify_one();
        quarantined
    }

    /// Ends the holding, unless a device is still away. Returns what is to be reported: of a device that is away only
    /// once a second look has not changed it, since the first may have come too early; `None` when that is all.
    fn note_outcome(
        &self,
        claim: &ClaimUid,
        quarantined: &[Quarantined],
    ) -> Option<Vec<Quarantined>> {
        let earlier = self.sandboxes.unfinished(claim);
        let second = earlier.is_some();
        let (away, lasting): (Vec<_>, Vec<_>) =
            quarantined.iter().cloned().partition(Quarantined::is_away);
        let mut told = earlier.map(|earlier| earlier.lasting).unwrap_or_default();
        told.extend(lasting);
        if away.is_empty() {
            self.sandboxes.release(claim);
            self.health.forget(claim);
            return Some(told);
        }
        self.sandboxes.set_unfinished(claim, told.clone());
        if second {
            told.extend(away);
        }
        (!told.is_empty()).then_some(told)
    }

    /// Takes the claim's id away, then its links home. `None` when that came to no end.
    pub(super) async fn bring_home(
        &self,
        record: &Arc<Record>,
        netns: Option<Netns>,
    ) -> Option<Detached> {
        let claim = &record.claim.uid;
        let span = info_span!("sandbox.detach", dra.claim.uid = %claim);
        telemetry::set(&span, "dra.claim.name", record.claim.name.clone());
        telemetry::set(&span, "dra.claim.namespace", record.claim.namespace.clone());
        let (devices, cdi, kept) = (
            Arc::clone(&self.devices),
            self.cdi.clone(),
            Arc::clone(record),
        );
        let work = blocking(move || {
            if let Err(failed) = cdi.remove(&kept.claim.uid) {
                // The gate still refuses containers; the links go home all the same.
                error!(claimUID = %kept.claim.uid, err = chain(&failed), "CDI id stays defined");
            }
            fail::pass(Point::DetachUndefined);
            devices.detach(&kept, netns.as_ref())
        });
        match work.instrument(span.clone()).await {
            Ok(detached) => {
                if !detached.quarantined.is_empty() {
                    telemetry::fail(&span, "DeviceQuarantined");
                }
                for Quarantined { device, reason, .. } in &detached.quarantined {
                    error!(claimUID = %claim, %device, reason, "device not home as it was");
                    self.metrics.detach_failed("DeviceQuarantined");
                }
                Some(detached)
            }
            Err(panicked) => {
                telemetry::fail(&span, "InterfaceDetachFailed");
                error!(claimUID = %claim, err = %panicked, "detach panicked");
                None
            }
        }
    }
}
