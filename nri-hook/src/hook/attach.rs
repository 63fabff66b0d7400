//! Getting a pod's claims into its sandbox: all of them, or none and an error.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimUid, Record};
use network_driver_common::telemetry;
use network_driver_netlink::{Netns, OpenNetnsError};
use tokio::task::JoinError;
use tracing::{Instrument, Span, error, info, info_span};

use super::{Hook, blocking};
use crate::cdi::FileError;
use crate::chain;
use crate::devices::Devices;
use crate::links::{AttachError, AttachedClaim, Quarantined};
use crate::nri::Pod;
use crate::records::Happened;
use crate::sandbox::{Holding, HoldingState};

/// What came of an attach that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attached {
    /// Every claim is in the sandbox.
    Here,
    /// A claim is in the sandbox of another pod, and nothing was done.
    Busy,
}

/// Why a pod's claims are not in its sandbox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachPodError {
    /// The pod uses the node's network.
    #[error("the pod uses the node's network (hostNetwork), where no device can be given to it")]
    HostNetwork,
    /// Its namespace cannot be opened.
    #[error("the pod's network namespace cannot be used")]
    Netns(#[source] OpenNetnsError),
    /// The sandbox was stopped before.
    #[error("the sandbox was stopped meanwhile")]
    Stopped,
    /// Other work on the claim took all the time there was.
    #[error("other work on the claim is not done yet")]
    Waited,
    /// An earlier sandbox of the pod still has a device.
    #[error("the device is not back from the pod's earlier sandbox {0}")]
    NotBack(network_driver_common::model::SandboxId),
    /// The devices could not be attached.
    #[error("{}", .0.message())]
    Devices(AttachError),
    /// A device of the claim did not come home as it was from an earlier sandbox.
    #[error("the claim has a device in quarantine: {0}")]
    Quarantined(String),
    /// The claim's CDI id could not be defined.
    #[error("the claim's CDI id cannot be defined")]
    Define {
        /// Why.
        #[source]
        source: FileError,
        /// Devices that the undo could not bring home as they were.
        quarantined: Vec<Quarantined>,
    },
    /// A defect of ours.
    #[error("attach panicked")]
    Panicked(#[source] JoinError),
}

impl AttachPodError {
    /// Reason of the closed list.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::HostNetwork => "HostNetworkNotSupported",
            Self::Waited => "AttachDeadlineExceeded",
            Self::Devices(error) => error.reason(),
            Self::Quarantined(_) => "DeviceQuarantined",
            Self::Netns(_)
            | Self::Stopped
            | Self::NotBack(_)
            | Self::Define { .. }
            | Self::Panicked(_) => "InterfaceAttachFailed",
        }
    }

    /// Whether the sandbox has ended before it could be served: nothing has gone wrong for its pod, which has another one
    /// by then or has ended itself.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Netns(OpenNetnsError::Open { source, .. }) => {
                source.kind() == ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// Devices of a record that the undo could not bring home as they were. One that is only away is named at the second
    /// look: the first may have come too early.
    pub(super) fn quarantined_of(&self, record: &Record) -> Vec<Quarantined> {
        let (quarantined, second) = match self {
            Self::Devices(error) => (&error.quarantined, error.is_second_look()),
            Self::Define { quarantined, .. } => (quarantined, false),
            _ => return Vec::new(),
        };
        let of_record = |quarantined: &&Quarantined| {
            let mut attachments = record.attachments.iter();
            attachments.any(|attachment| attachment.device.name == quarantined.device)
        };
        quarantined
            .iter()
            .filter(of_record)
            .filter(|quarantined| second || !quarantined.is_away())
            .cloned()
            .collect()
    }

    /// A sentence for people, with all causes.
    pub(crate) fn sentence(&self) -> String {
        chain(self)
    }
}

/// What has to be done about one claim before it can be attached to a sandbox.
enum Step {
    Attach,
    /// It is there already: events come twice.
    Nothing,
    /// Out of a sandbox that is over.
    Detach,
    /// Another pod has it.
    Wait,
}

impl<D: Devices> Hook<D> {
    /// Attaches claims to a sandbox. The caller has their turn.
    ///
    /// # Errors
    /// When not all are attached; then none that was not before is.
    pub(super) async fn attach(
        &self,
        pod: &Pod,
        records: &[Arc<Record>],
        deadline: Instant,
    ) -> Result<Attached, AttachPodError> {
        if !self.sandboxes.is_known(&pod.sandbox) {
            return Err(AttachPodError::Stopped);
        }
        let path = pod.netns.clone().ok_or(AttachPodError::HostNetwork)?;
        let mut missing = Vec::new();
        let mut over = Vec::new();
        for record in records {
            let claim = &record.claim.uid;
            match self.step(pod, claim).await {
                Step::Nothing => continue,
                Step::Wait => return Ok(Attached::Busy),
                Step::Detach => over.push(claim),
                Step::Attach => {}
            }
            missing.push(Record::clone(record));
        }
        self.refuse_quarantined(&missing)?;
        for claim in over {
            self.detach(claim).await;
            if let Some(holding) = self.sandboxes.holding(claim) {
                return Err(AttachPodError::NotBack(holding.sandbox.clone()));
            }
        }
        // The detach may have ended in quarantine.
        self.refuse_quarantined(&missing)?;
        if !missing.is_empty() {
            let attached = self.attach_missing(pod, path, missing, deadline).await;
            if let Err(failed) = &attached {
                for record in records {
                    let quarantined = failed.quarantined_of(record);
                    self.records.quarantine(&record.claim.uid, &quarantined);
                }
            }
            attached?;
        }
        Ok(Attached::Here)
    }

    fn refuse_quarantined(&self, records: &[Record]) -> Result<(), AttachPodError> {
        let claims = records.iter().map(|record| &record.claim.uid);
        let mut reasons = claims.filter_map(|claim| self.records.quarantined(claim));
        match reasons.next() {
            Some(reason) => Err(AttachPodError::Quarantined(reason)),
            None => Ok(()),
        }
    }

    /// Whether another sandbox has one of the claims, so that nothing can be done for this one. Also one of the same
    /// pod: which is newer shows only when they are made, for the runtime's list has no order.
    pub(super) async fn must_wait(&self, pod: &Pod, records: &[Arc<Record>]) -> bool {
        for record in records {
            let Some(holding) = self.sandboxes.holding(&record.claim.uid) else {
                continue;
            };
            let stays = holding.state != HoldingState::Leaving && holding.sandbox != pod.sandbox;
            if stays && !self.is_over(&holding).await {
                return true;
            }
        }
        false
    }

    async fn step(&self, pod: &Pod, claim: &ClaimUid) -> Step {
        let Some(holding) = self.sandboxes.holding(claim) else {
            return Step::Attach;
        };
        let leaving = holding.state == HoldingState::Leaving;
        if holding.sandbox == pod.sandbox && !leaving {
            return Step::Nothing;
        }
        // A pod has one sandbox: its earlier one is over, whether we were told or not.
        let same_pod = holding
            .pod
            .as_ref()
            .is_some_and(|other| other.uid == pod.owner.uid);
        if leaving || same_pod || self.is_over(&holding).await {
            Step::Detach
        } else {
            Step::Wait
        }
    }

    /// Whether the sandbox of a holding has ended: its namespace is no longer where the runtime had mounted it.
    pub(super) async fn is_over(&self, holding: &Holding) -> bool {
        let (Some(netns), Some(path)) = (&holding.netns, holding.path.clone()) else {
            return true;
        };
        let id = netns.id();
        let over = blocking(move || match Netns::open(&path) {
            Ok(netns) => netns.id() != id,
            // What cannot be looked at is not over: nothing is taken from a pod on a guess.
            Err(failed) => failed.is_gone(),
        });
        over.await.unwrap_or(false)
    }

    async fn attach_missing(
        &self,
        pod: &Pod,
        path: PathBuf,
        records: Vec<Record>,
        deadline: Instant,
    ) -> Result<(), AttachPodError> {
        let begun = Instant::now();
        let span = attach_span(pod, &records, deadline.saturating_duration_since(begun));
        let traceparent = telemetry::traceparent();
        let (devices, cdi) = (Arc::clone(&self.devices), self.cdi.clone());
        let (protected, opened) = (self.records.protected(), path.clone());
        let kept: Vec<_> = records.iter().cloned().map(Arc::new).collect();
        let work = blocking(move || {
            let netns = Netns::open(&opened).map_err(AttachPodError::Netns)?;
            let inode = i64::try_from(netns.id().inode).unwrap_or_default();
            telemetry::set(&Span::current(), "netns.inode", inode);
            if netns.id() == devices.home_id() {
                return Err(AttachPodError::HostNetwork);
            }
            let attached = devices
                .attach(&records, &netns, &protected, deadline)
                .map_err(AttachPodError::Devices)?;
            if let Err(source) = define(&cdi, &records, &attached) {
                let quarantined = undo(&*devices, &cdi, &records, &netns);
                return Err(AttachPodError::Define {
                    source,
                    quarantined,
                });
            }
            fail::pass(Point::AttachDefined);
            Ok((netns, attached))
        });
        let done = work.instrument(span.clone()).await;
        let done = done.map_err(AttachPodError::Panicked).flatten();
        if let Err(failed) = &done {
            telemetry::fail(&span, failed.reason());
        }
        drop(span);
        let (netns, attached) = done?;
        let took = begun.elapsed();
        for (record, AttachedClaim { claim, interfaces }) in kept.into_iter().zip(attached) {
            info!(
                claim = %record.claim, claimUID = %claim, pod = %pod.owner, podUID = %pod.owner.uid,
                sandbox = %pod.sandbox, durationMs = took.as_millis(), "claim attached"
            );
            self.metrics.attached(&record, took);
            let holding = Holding {
                sandbox: pod.sandbox.clone(),
                pod: Some(pod.owner.clone()),
                netns: Some(netns.clone()),
                path: Some(path.clone()),
                record,
                interfaces: interfaces.clone(),
                state: HoldingState::Attached,
                traceparent: traceparent.clone(),
                watch: None,
            };
            self.sandboxes.hold(&claim, holding);
            self.doubts.add(&claim);
            let what = Happened::Attached { interfaces, took };
            self.reports
                .add(&claim, Some(&pod.owner), &pod.sandbox, what);
        }
        self.count_interfaces();
        Ok(())
    }

    /// Shows how many interfaces are in pods.
    pub(super) fn count_interfaces(&self) {
        let holdings = self.sandboxes.holdings();
        let counts = holdings.iter().map(|(_, holding)| holding.interfaces.len());
        self.metrics.attached_interfaces(counts.sum());
    }
}

fn attach_span(pod: &Pod, records: &[Record], budget: Duration) -> Span {
    let span = info_span!("sandbox.attach");
    telemetry::set(&span, "nri.sandbox.id", pod.sandbox.to_string());
    telemetry::set_number(&span, "nri.budget_ms", budget.as_millis());
    telemetry::set(&span, "k8s.pod.uid", pod.owner.uid.to_string());
    telemetry::set_number(&span, "dra.claims.count", records.len());
    let devices: usize = records.iter().map(|r| r.attachments.len()).sum();
    telemetry::set_number(&span, "dra.devices.count", devices);
    span
}

/// Defines the ids of what is attached, as far as that goes well.
fn define(
    cdi: &crate::cdi::Directory,
    records: &[Record],
    attached: &[AttachedClaim],
) -> Result<(), FileError> {
    let span = info_span!("cdi.write").entered();
    let mut both = records.iter().zip(attached);
    let defined = both.try_for_each(|(record, claim)| cdi.define(record, &claim.interfaces));
    if defined.is_err() {
        telemetry::fail(&span, "InterfaceAttachFailed");
    }
    defined
}

/// Takes back an attach whose ids could not all be defined. Returns the devices that are not home as they were.
fn undo<D: Devices>(
    devices: &D,
    cdi: &crate::cdi::Directory,
    records: &[Record],
    netns: &Netns,
) -> Vec<Quarantined> {
    let mut all = Vec::new();
    let _span = info_span!("sandbox.undo").entered();
    for record in records {
        if let Err(failed) = cdi.remove(&record.claim.uid) {
            error!(claimUID = %record.claim.uid, err = chain(&failed), "CDI id stays defined");
        }
        for quarantined in devices.detach(record, Some(netns)).quarantined {
            error!(device = %quarantined.device, reason = quarantined.reason, "device not home as it was");
            all.push(quarantined);
        }
    }
    all
}
