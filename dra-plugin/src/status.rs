//! `ResourceClaim.status.devices`: what people and other controllers see of a claim's devices. Written in the
//! background by server-side apply, so that only our own entries are touched, and tried again until it lands. Nothing
//! of a pod's start waits for it.

mod entry;

use std::time::Duration;

pub(crate) use entry::{DeviceState, DeviceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use network_driver_common::error::sentence;
use network_driver_common::model::{ClaimRef, ClaimUid, Record, SandboxId};
use network_driver_common::telemetry::{self, LinkTo};
use network_driver_kubernetes::{ResourceApi, retry_after};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{Instrument, Span, debug, error, info_span, warn};

use crate::claim::{ClaimReader, ReadClaimError};
use crate::driver::Driver;
use crate::health::HealthBook;
use crate::metrics::Metrics;
use crate::queue::{ClaimQueue, Due};

/// How long a write waits for what the hook tells a moment after an attach: the health of the devices. With it the start of
/// a pod is one write.
const SETTLES: Duration = Duration::from_millis(250);

/// Longest wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is to be shown of a claim.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StatusUpdate {
    /// The claim.
    pub claim: ClaimRef,
    /// Its devices.
    pub devices: Vec<DeviceStatus>,
    /// Where it happened.
    pub sandbox: SandboxId,
    /// W3C trace context of the report that tells it; `None` without tracing.
    pub traceparent: Option<String>,
    /// When that came; `None` for news of a device that are no part of that trace.
    pub since: Option<Instant>,
}

impl StatusUpdate {
    /// Puts the span of its writing into the trace of the report, or links it to the claim's Prepare.
    fn place(&self, span: &Span) {
        let context = self.traceparent.as_deref();
        match self.since {
            Some(since) => telemetry::follow(span, LinkTo::Attach, context, since.elapsed()),
            None => telemetry::link(span, LinkTo::Prepare, context),
        }
    }

    /// Nothing of the entries is to change but what is said of the devices' health.
    fn as_it_stands(record: &Record, sandbox: &SandboxId) -> Self {
        let devices = record.attachments.iter();
        let devices = devices.map(|attachment| DeviceStatus::of(attachment, DeviceState::Standing));
        Self {
            claim: record.claim.clone(),
            devices: devices.collect(),
            sandbox: sandbox.clone(),
            traceparent: record.traceparent.clone(),
            since: None,
        }
    }
}

/// Updates that wait to be written, the newest of each claim. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct StatusQueue {
    queue: ClaimQueue<StatusUpdate>,
    metrics: Metrics,
}

impl StatusQueue {
    /// No updates yet.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            queue: ClaimQueue::default(),
            metrics,
        }
    }

    /// Has an update written.
    pub(crate) fn show(&self, update: StatusUpdate) {
        let uid = update.claim.uid.clone();
        if !self.queue.push(uid, update, SETTLES) {
            warn!("claim status not written: too many claims are waiting");
        }
        self.metrics.status_waiting(self.queue.len());
    }

    /// Has the health of an attached claim's devices written: with what waits to be written of the claim, or into what
    /// stands.
    pub(crate) fn health_changed(&self, record: &Record, health: &HealthBook) {
        let Some(sandbox) = &record.sandbox else {
            return;
        };
        let room = self.queue.revise(&record.claim.uid, |waiting| {
            let stands = || StatusUpdate::as_it_stands(record, sandbox);
            let mut update = waiting.cloned().unwrap_or_else(stands);
            for device in &mut update.devices {
                device.health = health.of(&device.device);
            }
            update
        });
        if !room {
            warn!("claim status not written: too many claims are waiting");
        }
        self.metrics.status_waiting(self.queue.len());
    }

    /// The claim is unprepared: its status no longer matters.
    pub(crate) fn forget(&self, uid: &ClaimUid) {
        self.queue.forget(uid);
        self.metrics.status_waiting(self.queue.len());
    }
}

/// Why an update was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("read the claim")]
    Read(#[source] ReadClaimError),
    #[error("write status.devices of the claim")]
    Write(#[source] Box<kube::Error>),
    #[error("the API server did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
}

impl WriteError {
    /// As a word.
    fn kind(&self) -> &'static str {
        match self {
            Self::Read(_) => "ClaimNotRead",
            Self::Write(_) => "StatusNotWritten",
            Self::TimedOut => "TimedOut",
        }
    }
}

/// What became of an update.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    /// The claim is gone, another one, deallocated, or the server has no place for it.
    Dropped,
}

/// Writes what the queue holds. Never ends.
pub(crate) async fn write(driver: &Driver) -> std::convert::Infallible {
    let StatusQueue { queue, metrics } = &driver.status;
    let mut forbidden = false;
    loop {
        let due = queue.next().await;
        let span = info_span!(parent: None, "claim.status", dra.claim.uid = %due.uid);
        due.work.place(&span);
        let write = write_one(&driver.claims, driver.name.as_str(), &due.work);
        let written = write.instrument(span.clone()).await;
        if let Err(failed) = &written {
            telemetry::fail(&span, failed.kind());
        }
        // It ends with the write, not when the next update comes.
        drop(span);
        match written {
            Ok(Outcome::Written) => {
                forbidden = false;
                metrics.status_update(true);
                queue.done(&due);
            }
            Ok(Outcome::Dropped) => {
                debug!(claimUID = %due.uid, "claim status dropped: the claim is no longer what it was");
                queue.done(&due);
            }
            Err(failed) => {
                metrics.status_update(false);
                forbidden = failed_write(driver, &due, &failed, forbidden);
            }
        }
        metrics.status_waiting(queue.len());
    }
}

/// Decides what becomes of an update that was not written. Returns whether the server forbids it.
fn failed_write(
    driver: &Driver,
    due: &Due<StatusUpdate>,
    failed: &WriteError,
    forbidden: bool,
) -> bool {
    let queue = &driver.status.queue;
    let WriteError::Write(source) = failed else {
        debug!(claimUID = %due.uid, err = sentence(failed), "claim status not written; will retry");
        queue.retry(due, None);
        return forbidden;
    };
    let code = match &**source {
        kube::Error::Api(status) => status.code,
        _ => 0,
    };
    match code {
        400 | 422 => {
            error!(claimUID = %due.uid, err = sentence(failed), "claim status refused");
            queue.done(due);
            forbidden
        }
        403 => {
            if !forbidden {
                let missing = missing_rule(&source.to_string(), driver.name.as_str());
                warn!(
                    missing,
                    err = sentence(failed),
                    "claim status forbidden; pods start all the same"
                );
            }
            queue.retry(due, None);
            true
        }
        _ => {
            debug!(claimUID = %due.uid, err = sentence(failed), "claim status not written; will retry");
            queue.retry(due, retry_after(source));
            forbidden
        }
    }
}

/// The RBAC rule that the server's refusal asks for.
fn missing_rule(refusal: &str, driver: &str) -> String {
    if refusal.contains("resourceclaims/driver") || refusal.contains("associated-node") {
        format!(
            "resource.k8s.io resourceclaims/driver, resourceNames [{driver}], verbs \
             [associated-node:patch, associated-node:update]"
        )
    } else {
        "resource.k8s.io resourceclaims/status, verbs [patch]".to_owned()
    }
}

async fn write_one(
    claims: &ClaimReader,
    driver: &str,
    update: &StatusUpdate,
) -> Result<Outcome, WriteError> {
    let object = match claims.read(&update.claim).await {
        Ok(object) => object,
        Err(ReadClaimError::NotFound { .. }) => return Ok(Outcome::Dropped),
        Err(error) => return Err(WriteError::Read(error)),
    };
    let api = claims
        .served_api()
        .await
        .map_err(|error| WriteError::Read(ReadClaimError::Version(error)))?;
    let now = Time(Timestamp::now());
    let Some(patch) = patch(&object, driver, update, api, &now) else {
        return Ok(Outcome::Dropped);
    };
    let target = claims.claims(&update.claim.namespace).await;
    let target = target.map_err(|error| WriteError::Read(ReadClaimError::Version(error)))?;
    let params = PatchParams::apply(driver).force();
    let patch = Patch::Apply(&patch);
    let write = target.patch_status(&update.claim.name, &params, &patch);
    match tokio::time::timeout(TIMEOUT, write).await {
        Ok(Ok(_)) => Ok(Outcome::Written),
        // Deleted since it was read.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Outcome::Dropped),
        Ok(Err(error)) => Err(WriteError::Write(Box::new(error))),
        Err(_) => Err(WriteError::TimedOut),
    }
}

/// What is applied; `None` when the object is not the claim any more, is not allocated, or has no place for it.
fn patch(
    object: &Value,
    driver: &str,
    update: &StatusUpdate,
    api: ResourceApi,
    now: &Time,
) -> Option<Value> {
    let metadata = object.get("metadata")?;
    let status = object.get("status")?;
    let uid = metadata.get("uid")?.as_str()?;
    let allocated = status.get("allocation").filter(|found| !found.is_null());
    // v1alpha3 has no status.devices.
    if uid != update.claim.uid.as_str() || allocated.is_none() || api == ResourceApi::V1alpha3 {
        return None;
    }
    let generation = metadata.get("generation").and_then(Value::as_i64);
    let before = status.get("devices").and_then(Value::as_array);
    let before = before.map(Vec::as_slice).unwrap_or_default();
    let context = entry::Context {
        driver,
        update,
        generation,
        before,
        now,
    };
    let devices: Vec<_> = update
        .devices
        .iter()
        .map(|device| context.entry(device))
        .collect();
    Some(json!({
        "apiVersion": api.api_version(),
        "kind": "ResourceClaim",
        // With the UID a claim that was made anew in the meantime answers with a conflict.
        "metadata": {"name": update.claim.name, "namespace": update.claim.namespace, "uid": uid},
        "status": {"devices": devices},
    }))
}

#[cfg(test)]
mod tests;
