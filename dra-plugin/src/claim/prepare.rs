//! Preparing a claim: read, planned, checked by the hook, on disk, and only then answered.
//!
//! # Guarantees
//! When the answer is good, the record is on disk and the hook attaches from it. A call that is given up midway, by its
//! deadline, by the kubelet or by an unprepare, leaves either nothing or a record that the next call completes.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use network_driver_common::error::sentence;
use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimRef, ClaimUid, Device, DeviceName, Quarantine, Record};
use network_driver_common::telemetry::{self, LinkTo};
use network_driver_kubernetes::EventKind;
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, info, info_span, warn};

use super::plan::plan;
use super::turn::Turn;
use super::{AllocatedClaim, PrepareError};
use crate::driver::Driver;
use crate::hook::Hook;
use crate::inventory::Lookup;
use crate::metrics::Verb;
use crate::reason::Reason;
use crate::store::BookError;

/// A claim that is ready for its pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Prepared {
    /// Its devices, in the order of the allocation; none when the claim is not ours.
    pub devices: Vec<PreparedDevice>,
}

/// One device of a prepared claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreparedDevice {
    /// Base name of the request.
    pub request: String,
    /// Pool of the device.
    pub pool: String,
    /// The device.
    pub device: DeviceName,
}

impl Prepared {
    fn of(record: &Record) -> Self {
        let devices = record.attachments.iter().map(|attachment| PreparedDevice {
            request: attachment.request.clone(),
            pool: attachment.pool.clone(),
            device: attachment.device.name.clone(),
        });
        Self {
            devices: devices.collect(),
        }
    }
}

impl Driver {
    /// Prepares a claim, at the latest by the deadline. Says what came of it in log, metrics and events.
    ///
    /// # Cancel safety
    /// May be dropped midway: see the guarantees of this file.
    pub(crate) async fn prepare(
        &self,
        claim: &ClaimRef,
        deadline: Duration,
    ) -> Result<Prepared, PrepareError> {
        let span = info_span!(
            "claim.prepare",
            dra.claim.namespace = claim.namespace,
            dra.claim.name = claim.name,
            dra.claim.uid = %claim.uid,
        );
        telemetry::set(&span, "dra.driver.name", self.name.to_string());
        // Prepared before, or tried: those who look at one trace want to find the other.
        let record = self.book.record(&claim.uid);
        let before = record.and_then(|record| record.traceparent.clone());
        let before = before.or_else(|| self.attempts.last(&claim.uid));
        telemetry::link(&span, LinkTo::Prepare, before.as_deref());
        async {
            let started = Instant::now();
            let result = self.prepare_within(claim, deadline).await;
            self.tell_prepared(claim, &result, started.elapsed());
            self.attempts.ended(&claim.uid, result.is_ok());
            result
        }
        .instrument(span)
        .await
    }

    async fn prepare_within(
        &self,
        claim: &ClaimRef,
        deadline: Duration,
    ) -> Result<Prepared, PrepareError> {
        let turn = self.turns.prepare(&claim.uid);
        let work = AssertUnwindSafe(self.prepare_in_turn(claim, &turn)).catch_unwind();
        tokio::select! {
            biased;
            () = turn.given_up() => Err(PrepareError::Cancelled),
            done = tokio::time::timeout(deadline, work) => match done {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(PrepareError::Panicked),
                Err(_) => Err(PrepareError::Deadline(deadline)),
            },
        }
    }

    async fn prepare_in_turn(
        &self,
        claim: &ClaimRef,
        turn: &Turn,
    ) -> Result<Prepared, PrepareError> {
        let _turn = turn.wait().await;
        fail::check(Point::PrepareReceived)?;
        let object = self.claims.read(claim).await.map_err(PrepareError::Read)?;
        fail::check(Point::PrepareRead)?;
        let claim = AllocatedClaim::parse(claim, &object, &self.name)?;
        if claim.results.is_empty() {
            return Ok(Prepared::default());
        }
        describe(&claim);
        let before = self.book.settled(&claim.claim.uid).await;
        match before.map_err(PrepareError::Store)? {
            Some(record) => self.prepare_again(&record, claim).await,
            None => self.prepare_anew(claim).await,
        }
    }

    async fn prepare_anew(&self, claim: AllocatedClaim) -> Result<Prepared, PrepareError> {
        let attachments = info_span!("claim.validate")
            .in_scope(|| plan(&claim, &self.name, &self.node, |name| self.device(name)))?;
        for attachment in &attachments {
            let device = &attachment.device.name;
            if let Some(holder) = self.book.holder(device) {
                let device = device.clone();
                return Err(PrepareError::DeviceInUse { device, holder });
            }
        }
        let record = Record {
            claim: claim.claim,
            pods: claim.pods,
            attachments,
            traceparent: telemetry::traceparent(),
            prepared: SystemTime::now(),
            boot_id: self.boot_id.clone(),
            sandbox: None,
        };
        self.check_and_keep(record).await
    }

    /// The same answer again. The claim may have new pods, the hook may have lost the record, and since a reboot the
    /// links have to be looked at anew.
    async fn prepare_again(
        &self,
        record: &Arc<Record>,
        claim: AllocatedClaim,
    ) -> Result<Prepared, PrepareError> {
        if let Some(prepared) = device_no_longer_allocated(record, &claim) {
            return Err(PrepareError::AllocationChanged { prepared });
        }
        for attachment in &record.attachments {
            self.refuse_quarantined(&attachment.device.name)?;
        }
        let looked_at = record.attachments.iter().all(|a| a.snapshot.is_some());
        if record.boot_id != self.boot_id || !looked_at {
            return self
                .check_and_keep(Record {
                    pods: claim.pods,
                    traceparent: telemetry::traceparent(),
                    prepared: SystemTime::now(),
                    boot_id: self.boot_id.clone(),
                    // As the hook last said: a sandbox of this boot may have been served already, and of one that is
                    // over the hook says so.
                    ..Record::clone(record)
                })
                .await;
        }
        self.hook.ready()?;
        let pods = claim.pods;
        let refreshed = self.book.update(&record.claim.uid, move |r| r.pods = pods);
        let refreshed = refreshed.await.map_err(PrepareError::Store)?;
        let record = refreshed.unwrap_or_else(|| Arc::clone(record));
        self.commit(&record).await?;
        Ok(Prepared::of(&record))
    }

    /// Tells the hook that the record is durable. It may have told us meanwhile that a device of it is in quarantine.
    async fn commit(&self, record: &Record) -> Result<(), PrepareError> {
        self.hook.commit(record).await?;
        let mut devices = record.attachments.iter().map(|a| &a.device.name);
        devices.try_for_each(|device| self.refuse_quarantined(device))
    }

    async fn check_and_keep(&self, mut record: Record) -> Result<Prepared, PrepareError> {
        self.hook.ready()?;
        let check = Check::new(&self.hook, &record.claim.uid);
        let span = info_span!("claim.inspect_link");
        let snapshots = self.hook.check(&record).instrument(span).await?;
        for (attachment, snapshot) in record.attachments.iter_mut().zip(snapshots) {
            attachment.snapshot = Some(snapshot);
        }
        let kept = self.book.put(record.clone()).await;
        kept.map_err(|error| self.store_error(error))?;
        check.keep();
        fail::check(Point::PrepareKept)?;
        self.commit(&record).await?;
        fail::check(Point::PrepareCommitted)?;
        Ok(Prepared::of(&record))
    }

    /// What the store refuses, as the user knows it.
    fn store_error(&self, error: BookError) -> PrepareError {
        match error {
            BookError::DeviceInUse { device, holder } => {
                PrepareError::DeviceInUse { device, holder }
            }
            BookError::Quarantined(quarantine) => self.quarantined(&quarantine),
            error => PrepareError::Store(error),
        }
    }

    fn quarantined(&self, quarantine: &Quarantine) -> PrepareError {
        let device = quarantine.device.clone();
        let (node, reason) = (self.node.clone(), quarantine.reason.clone());
        if quarantine.lost {
            PrepareError::Lost {
                device,
                node,
                reason,
            }
        } else {
            PrepareError::Quarantined {
                device,
                node,
                reason,
            }
        }
    }

    fn refuse_quarantined(&self, device: &DeviceName) -> Result<(), PrepareError> {
        match self.book.quarantine_of(device) {
            Some(quarantine) => Err(self.quarantined(&quarantine)),
            None => Ok(()),
        }
    }

    fn device(&self, name: &DeviceName) -> Result<Arc<Device>, PrepareError> {
        // Discovery does not offer it either, but does not know the cure.
        self.refuse_quarantined(name)?;
        let node = || self.node.clone();
        match self.inventory.device(name) {
            Lookup::Found(device) => Ok(device),
            Lookup::Missing => Err(PrepareError::DeviceNotFound {
                device: name.clone(),
                node: node(),
            }),
            Lookup::NotReceived => Err(PrepareError::NoInventory { node: node() }),
        }
    }

    fn tell_prepared(
        &self,
        claim: &ClaimRef,
        result: &Result<Prepared, PrepareError>,
        took: Duration,
    ) {
        let (span, reason) = (
            Span::current(),
            result.as_ref().err().map(PrepareError::reason),
        );
        self.metrics.answered(Verb::Prepare, reason, took);
        let ms = took.as_millis();
        match result {
            Ok(prepared) if prepared.devices.is_empty() => {
                debug!(claim = %claim, claimUID = %claim.uid, "claim has no device of this driver");
            }
            Ok(prepared) => {
                let names = names(prepared);
                info!(claim = %claim, claimUID = %claim.uid, device = names, durationMs = ms, "claim prepared");
                let note = format!("prepared {names} on node {}", self.node);
                self.events
                    .claim(claim, EventKind::Normal, Reason::ClaimPrepared, note);
            }
            Err(PrepareError::Cancelled) => {
                info!(claim = %claim, claimUID = %claim.uid, "prepare given up: the claim is being unprepared");
            }
            Err(error) => {
                let reason = error.reason();
                let text = sentence(error);
                telemetry::fail(&span, reason.as_str());
                warn!(claim = %claim, claimUID = %claim.uid, reason = reason.as_str(), err = text, durationMs = ms, "claim not prepared");
                self.events.claim(claim, EventKind::Warning, reason, text);
            }
        }
    }
}

/// Notes in the span what is prepared for whom, where that is one thing.
fn describe(claim: &AllocatedClaim) {
    let span = Span::current();
    telemetry::set_number(&span, "dra.devices.count", claim.results.len());
    if let [result] = claim.results.as_slice() {
        telemetry::set(&span, "dra.request.name", result.base_request().to_owned());
        telemetry::set(&span, "dra.pool.name", result.pool.clone());
        telemetry::set(&span, "dra.device.name", result.device.to_string());
    }
    let mut pods = claim.pods.iter();
    if let (Some(pod), None) = (pods.next(), pods.next()) {
        telemetry::set(&span, "k8s.pod.uid", pod.to_string());
    }
}

fn names(prepared: &Prepared) -> String {
    let names: Vec<_> = prepared.devices.iter().map(|d| d.device.as_str()).collect();
    names.join(", ")
}

/// A device of the record that the claim's allocation does not name, or the other way round.
fn device_no_longer_allocated(record: &Record, claim: &AllocatedClaim) -> Option<DeviceName> {
    let prepared: BTreeSet<_> = record.attachments.iter().map(|a| &a.device.name).collect();
    let allocated: BTreeSet<_> = claim.results.iter().map(|r| &r.device).collect();
    let mut differing = prepared.symmetric_difference(&allocated);
    let first = differing.next()?;
    Some((*first).clone())
}

/// A check that is taken back unless its record is kept.
struct Check<'a> {
    hook: &'a Hook,
    uid: Option<ClaimUid>,
}

impl<'a> Check<'a> {
    fn new(hook: &'a Hook, uid: &ClaimUid) -> Self {
        Self {
            hook,
            uid: Some(uid.clone()),
        }
    }

    fn keep(mut self) {
        self.uid = None;
    }
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        if let Some(uid) = &self.uid {
            self.hook.abandon(uid);
        }
    }
}
