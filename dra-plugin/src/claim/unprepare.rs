//! Unpreparing a claim: all its devices are home, or quarantined, before the record goes. The claim itself may be gone
//! from the API server by then and is not asked for.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use network_driver_common::error::sentence;
use network_driver_common::fail::{self, Point};
use network_driver_common::model::ClaimRef;
use network_driver_common::telemetry::{self, LinkTo};
use network_driver_kubernetes::EventKind;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, info, info_span, warn};

use super::UnprepareError;
use crate::driver::Driver;
use crate::hook::OrderError;
use crate::metrics::Verb;
use crate::quarantine::{Devices, parse};
use crate::reason::Reason;

/// What unpreparing did.
enum Done {
    /// There was no record, and the hook has nothing of it.
    Nothing,
    /// The devices are home but for those that are quarantined.
    Released(Devices),
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
        );
        telemetry::set(&span, "dra.driver.name", self.name.to_string());
        let record = self.book.record(&claim.uid);
        let prepared = record.as_ref().and_then(|r| r.traceparent.as_deref());
        telemetry::link(&span, LinkTo::Prepare, prepared);
        self.attempts.ended(&claim.uid, true);
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
        fail::check(Point::UnprepareReceived)?;
        let record = self.book.settled(&claim.uid).await;
        let record = record.map_err(UnprepareError::Store)?;
        let release = match self.hook.release(&claim.uid).await {
            Err(OrderError::NotReady { .. }) if record.is_none() && self.knows_all() => {
                return Ok(Done::Nothing);
            }
            answer => answer?,
        };
        fail::check(Point::UnprepareReleased)?;
        let quarantined = self.news(parse(release.quarantined));
        // Also without a record: the hook may have given it back meanwhile.
        let removed = self.book.remove(&claim.uid, quarantined.clone()).await;
        removed.map_err(UnprepareError::Store)?;
        fail::check(Point::UnprepareRemoved)?;
        if self.hook.generation() != release.generation {
            // The session that has begun meanwhile was given the record: it has to forget it. Should this fail, the
            // next session gets a list without it.
            drop(self.hook.release(&claim.uid).await);
        }
        self.refresher.forget(&claim.uid);
        self.status.forget(&claim.uid);
        match record {
            Some(record) => self.health.forget(&record),
            None if quarantined.is_empty() => return Ok(Done::Nothing),
            None => {}
        }
        Ok(Done::Released(quarantined))
    }

    /// Whether a claim without a record has no device in a pod for sure. Where records were lost, only the hook can tell;
    /// otherwise a pod may end while the hook is away.
    pub(crate) fn knows_all(&self) -> bool {
        *self.hook.told().borrow()
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
                telemetry::fail(&Span::current(), reason.as_str());
                warn!(claim = %claim, claimUID = %claim.uid, reason = reason.as_str(), err = text, durationMs = ms, "claim not unprepared");
                self.events.claim(claim, EventKind::Warning, reason, text);
            }
        }
    }
}
