//! Telling people what happened, as Kubernetes events. Nothing waits for an event, and none is ever missed by a
//! machine: what matters is in logs and metrics too.

use std::sync::Arc;

use network_driver_common::model::{ClaimRef, DeviceName, PodRef};
use network_driver_common::telemetry;
use network_driver_kubernetes::{Event, EventKind, EventRecorder, MAX_NOTE_BYTES, Regarding};

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
            let action = match reason {
                // The claim asks for a device that is in quarantine already.
                Reason::DeviceQuarantined => "Prepare",
                reason => action(reason),
            };
            self.record(
                Regarding::claim(claim, api),
                None,
                kind,
                (reason, action),
                note,
            );
        }
    }

    /// About a pod.
    pub(crate) fn pod(&self, pod: &PodRef, kind: EventKind, reason: Reason, note: String) {
        let reason = (reason, action(reason));
        self.record(Regarding::pod(pod), None, kind, reason, note);
    }

    /// About this node.
    pub(crate) fn node(&self, kind: EventKind, reason: Reason, note: String) {
        let reason = (reason, action(reason));
        self.record(Regarding::node(&self.node), None, kind, reason, note);
    }

    /// About a device of this node: what is said of one does not count as a repetition of what was said of another.
    pub(crate) fn device(
        &self,
        device: &DeviceName,
        kind: EventKind,
        reason: Reason,
        note: String,
    ) {
        let reason = (reason, action(reason));
        let related = Some(Regarding::device(device));
        self.record(Regarding::node(&self.node), related, kind, reason, note);
    }

    fn record(
        &self,
        regarding: Regarding,
        related: Option<Regarding>,
        kind: EventKind,
        (reason, action): (Reason, &'static str),
        note: String,
    ) {
        self.recorder.record(Event {
            kind,
            reason: reason.as_str(),
            action,
            note: with_trace(note, telemetry::trace_id().as_deref()),
            regarding,
            related,
        });
    }
}

/// The note with the trace to look at, which is never what is cut off.
fn with_trace(mut note: String, trace: Option<&str>) -> String {
    let Some(trace) = trace else { return note };
    let place = format!(", trace {trace}");
    note.truncate(note.floor_char_boundary(MAX_NOTE_BYTES.saturating_sub(place.len())));
    note + &place
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
        Reason::DeviceReleased => "Release",
        Reason::StateRebuilt => "Reconcile",
        Reason::InterfaceAttached
        | Reason::InterfaceAttachFailed
        | Reason::InterfaceNameConflict
        | Reason::InterfaceLost
        | Reason::ClaimNotAttached
        | Reason::HostNetworkNotSupported
        | Reason::AttachDeadlineExceeded => "Attach",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_its_trace_however_long_it_is() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let place = format!(", trace {trace}");
        assert_eq!(with_trace("attached".into(), None), "attached");
        for note in ["attached net1".to_owned(), "ü".repeat(600)] {
            let named = with_trace(note.clone(), Some(trace));
            assert!(named.len() <= MAX_NOTE_BYTES);
            assert!(note.starts_with(named.strip_suffix(&place).unwrap()));
        }
    }
}
