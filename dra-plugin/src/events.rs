//! Telling people what happened, as Kubernetes events. Nothing waits for an event, and none is ever missed by a
//! machine: what matters is in logs and metrics too.

use std::sync::Arc;

use network_driver_common::model::{ClaimRef, PodRef};
use network_driver_kubernetes::{Event, EventKind, EventRecorder, Regarding};

use crate::claim::ClaimReader;
use crate::reason::Reason;

/// Writes events about claims, pods and this node.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    recorder: EventRecorder,
    claims: Arc<ClaimReader>,
    node: Arc<str>,
}

impl Events {
    /// Events written by the recorder.
    pub(crate) fn new(recorder: EventRecorder, claims: Arc<ClaimReader>, node: &str) -> Self {
        Self {
            recorder,
            claims,
            node: node.into(),
        }
    }

    /// About a claim. Said only once the API version of claims is known, which it is before any claim was read.
    pub(crate) fn claim(&self, claim: &ClaimRef, kind: EventKind, reason: Reason, note: String) {
        if let Some(api) = self.claims.known_api() {
            self.record(Regarding::claim(claim, api), kind, reason, note);
        }
    }

    /// About a pod.
    pub(crate) fn pod(&self, pod: &PodRef, kind: EventKind, reason: Reason, note: String) {
        self.record(Regarding::pod(pod), kind, reason, note);
    }

    /// About this node.
    pub(crate) fn node(&self, kind: EventKind, reason: Reason, note: String) {
        self.record(Regarding::node(&self.node), kind, reason, note);
    }

    fn record(&self, regarding: Regarding, kind: EventKind, reason: Reason, note: String) {
        self.recorder.record(Event {
            kind,
            reason: reason.as_str(),
            action: action(reason),
            note,
            regarding,
        });
    }
}

/// What was being done when the reason came up.
fn action(reason: Reason) -> &'static str {
    match reason {
        Reason::ClaimPrepared
        | Reason::ClaimPrepareFailed
        | Reason::InvalidConfiguration
        | Reason::DeviceNotFound
        | Reason::DeviceInUse
        | Reason::DeviceProtected
        | Reason::NriNotConnected => "Prepare",
        Reason::ClaimUnprepared | Reason::ClaimUnprepareFailed => "Unprepare",
        Reason::InterfaceReturned | Reason::DeviceQuarantined => "Detach",
        Reason::InterfaceAttached
        | Reason::InterfaceAttachFailed
        | Reason::InterfaceNameConflict
        | Reason::InterfaceLost
        | Reason::ClaimNotAttached
        | Reason::HostNetworkNotSupported
        | Reason::AttachDeadlineExceeded => "Attach",
    }
}
