//! Unpreparing a claim: all its devices are home, or quarantined, before the record goes. The claim itself may be gone
//! from the API server by then and is not asked for.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use network_driver_common::error::sentence;
use network_driver_common::model::{ClaimRef, DeviceName};
use network_driver_kubernetes::EventKind;
use network_driver_proto::bus::QuarantinedDevice;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, error, field, info, info_span, warn};

use super::UnprepareError;
use crate::driver::Driver;
use crate::metrics::Verb;
use crate::reason::Reason;

/// What unpreparing did.
enum Done {
    /// There was no record.
    Nothing,
    /// The devices are home but for those that are quarantined.
    Released(Vec<(DeviceName, String)>),
}

impl Driver {
    /// Unprepares a claim, at the latest by the deadline. Says what came of it in log, metrics and events.
    ///
    /// # Cancel safety
    /// May be dropped midway: the record stays until its devices are home, and the next call goes on.
    pub(crate) async fn unprepare(
        &self,
        claim: &ClaimRef,
        deadline: Duration,
    ) -> Result<(), UnprepareError> {
        let span = info_span!(
            "claim.unprepare",
            dra.claim.namespace = claim.namespace,
            dra.claim.name = claim.name,
            dra.claim.uid = %claim.uid,
            error.r#type = field::Empty,
            otel.status_code = field::Empty,
        );
        async {
            let started = Instant::now();
            let work = AssertUnwindSafe(self.unprepare_in_turn(claim)).catch_unwind();
            let result = match tokio::time::timeout(deadline, work).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(UnprepareError::Panicked),
                Err(_) => Err(UnprepareError::Deadline(deadline)),
            };
            self.tell_unprepared(claim, &result, started.elapsed());
            result.map(drop)
        }
        .instrument(span)
        .await
    }

    async fn unprepare_in_turn(&self, claim: &ClaimRef) -> Result<Done, UnprepareError> {
        let turn = self.turns.unprepare(&claim.uid);
        let _turn = turn.wait().await;
        let record = self.book.settled(&claim.uid).await;
        let Some(record) = record.map_err(UnprepareError::Store)? else {
            return Ok(Done::Nothing);
        };
        network_driver_common::telemetry::link(&Span::current(), record.traceparent.as_deref());
        let release = self.hook.release(&claim.uid).await?;
        let quarantined = quarantined(release.quarantined);
        let removed = self.book.remove(&claim.uid, quarantined.clone()).await;
        removed.map_err(UnprepareError::Store)?;
        if self.hook.generation() != release.generation {
            // The session that has begun meanwhile was given the record: it has to forget it. Should this fail, the
            // next session gets a list without it.
            drop(self.hook.release(&claim.uid).await);
        }
        self.refresher.forget(&claim.uid);
        self.status.forget(&claim.uid);
        Ok(Done::Released(quarantined))
    }

    fn tell_unprepared(
        &self,
        claim: &ClaimRef,
        result: &Result<Done, UnprepareError>,
        took: Duration,
    ) {
        let reason = result.as_ref().err().map(UnprepareError::reason);
        self.metrics.answered(Verb::Unprepare, reason, took);
        let ms = took.as_millis();
        match result {
            Ok(Done::Nothing) => {
                debug!(claim = %claim, claimUID = %claim.uid, "claim was not prepared");
            }
            Ok(Done::Released(quarantined)) => {
                info!(claim = %claim, claimUID = %claim.uid, durationMs = ms, "claim unprepared");
                let note = format!("unprepared on node {}", self.node);
                self.events
                    .claim(claim, EventKind::Normal, Reason::ClaimUnprepared, note);
                self.tell_quarantined(quarantined);
            }
            Err(failed) => {
                let (reason, text) = (failed.reason(), sentence(failed));
                let span = Span::current();
                span.record("error.type", reason.as_str());
                span.record("otel.status_code", "ERROR");
                warn!(claim = %claim, claimUID = %claim.uid, reason = reason.as_str(), err = text, durationMs = ms, "claim not unprepared");
                self.events.claim(claim, EventKind::Warning, reason, text);
            }
        }
    }

    /// Says that devices could not be brought home as they were.
    pub(crate) fn tell_quarantined(&self, devices: &[(DeviceName, String)]) {
        for (device, reason) in devices {
            error!(device = %device, reason, "device quarantined: it could not be brought home as it was");
            let note = format!("device {device} could not be brought home as it was: {reason}");
            let (kind, word) = (EventKind::Warning, Reason::DeviceQuarantined);
            self.events.node(kind, word, note);
        }
    }
}

/// The devices that the hook named. A name that cannot be one is logged: the rest must not be lost for it.
pub(crate) fn quarantined(devices: Vec<QuarantinedDevice>) -> Vec<(DeviceName, String)> {
    let parsed = devices.into_iter().filter_map(|quarantined| {
        let reason: String = quarantined.reason.chars().take(500).collect();
        match quarantined.device.parse() {
            Ok(device) => Some((device, reason)),
            Err(failed) => {
                let failed: network_driver_common::model::InvalidDeviceName = failed;
                error!(err = %failed, reason, "the hook quarantined a device of an impossible name");
                None
            }
        }
    });
    parsed.collect()
}
