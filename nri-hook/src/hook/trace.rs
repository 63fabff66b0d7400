//! Spans of the runtime's events, so that a pod's start is one trace: from the kubelet's Prepare, whose context the
//! record carries, to the sandbox that gets the devices and the containers that are made in it. What is no part of a
//! start, a later sandbox or the end of one, is a trace of its own that is linked to it.

use std::sync::Arc;
use std::time::SystemTime;

use network_driver_common::model::{ClaimUid, PodRef, Record, SandboxId};
use network_driver_common::telemetry::{self, Call, LinkTo, SAME_TRACE, Side};
use tonic::Code;
use tracing::Span;

use crate::nri::{Container, Pod, Request, SERVICE};
use crate::records::Served;
use crate::sandbox::{Holding, Origin};

/// A span of an event.
fn event(method: &str, request: &Request) -> Span {
    let method = format!("{SERVICE}/{method}");
    let call = Call {
        system: "ttrpc",
        method: &method,
        message: None,
        address: Some(&request.socket),
    };
    let span = call.span(Side::Server);
    telemetry::set(&span, "nri.runtime.name", request.runtime.to_string());
    span
}

fn of_pod(span: &Span, sandbox: &SandboxId, pod: &PodRef) {
    telemetry::set(span, "nri.sandbox.id", sandbox.to_string());
    telemetry::set(span, "k8s.pod.name", pod.name.clone());
    telemetry::set(span, "k8s.pod.uid", pod.uid.to_string());
    telemetry::set(span, "k8s.namespace.name", pod.namespace.clone());
}

/// The span of a RunPodSandbox of a pod with claims, and what the containers of that sandbox belong to. `served` says of
/// each record which sandboxes had it before.
pub(super) fn run_span(
    pod: &Pod,
    request: &Request,
    records: &[Arc<Record>],
    served: &[Served],
    boot_id: &str,
) -> (Span, Origin) {
    let span = event("RunPodSandbox", request);
    of_pod(&span, &pod.sandbox, &pod.owner);
    let budget = request.deadline.timeout().as_millis();
    telemetry::set_number(&span, "nri.budget_ms", budget);
    telemetry::set_number(&span, "dra.claims.count", records.len());
    let now = SystemTime::now();
    let starting = |(record, served): (&Arc<Record>, &Served)| {
        *served == Served::First && belongs(record, now, boot_id) && record.traceparent.is_some()
    };
    let start = records.iter().zip(served).position(starting);
    let parent = start.and_then(|index| records.get(index)?.traceparent.clone());
    telemetry::set_parent(&span, parent.as_deref().or(request.traceparent.as_deref()));
    if parent.is_some() {
        telemetry::link(&span, LinkTo::Caller, request.traceparent.as_deref());
    }
    for (index, (record, served)) in records.iter().zip(served).enumerate() {
        if Some(index) != start {
            telemetry::link(&span, LinkTo::Prepare, record.traceparent.as_deref());
        }
        if let Served::Again(earlier) = served {
            telemetry::link(&span, LinkTo::Attach, earlier.as_deref());
        }
    }
    let origin = Origin::new(parent.or_else(|| telemetry::traceparent_of(&span)));
    (span, origin)
}

/// The span of a StopPodSandbox or RemovePodSandbox of a sandbox that holds devices.
pub(super) fn stop_span(pod: &Pod, request: &Request, held: &[Arc<Holding>]) -> Span {
    let span = event(request.event.method(), request);
    of_pod(&span, &pod.sandbox, &pod.owner);
    telemetry::set_number(&span, "dra.claims.count", held.len());
    telemetry::set_parent(&span, request.traceparent.as_deref());
    // The claims of a pod were attached together: one link shows them all.
    let mut linked = Vec::new();
    for holding in held {
        let (to, context) = holding.linked();
        if !linked.contains(&context) {
            telemetry::link(&span, to, context);
            linked.push(context);
        }
    }
    span
}

/// The span of a CreateContainer of a container with claims. `origin` is what its sandbox belongs to; `claims` are the
/// records, for a sandbox that was made before this process began.
pub(super) fn create_span(
    container: &Container,
    request: &Request,
    origin: Option<&Origin>,
    records: &[Arc<Record>],
) -> Span {
    let span = event("CreateContainer", request);
    if let (Some(sandbox), Some(pod)) = (&container.sandbox, &container.pod) {
        of_pod(&span, sandbox, pod);
    }
    telemetry::set(&span, "container.id", container.id.clone());
    telemetry::set(&span, "k8s.container.name", container.name.clone());
    match origin {
        Some(origin) => {
            let (context, age) = (origin.traceparent.as_deref(), origin.since.elapsed());
            telemetry::follow(&span, LinkTo::Attach, context, age);
        }
        None => {
            for record in records {
                telemetry::link(&span, LinkTo::Prepare, record.traceparent.as_deref());
            }
        }
    }
    span
}

/// The span of the runtime's list of sandboxes.
pub(super) fn synchronize_span(sandboxes: usize) -> Span {
    let method = format!("{SERVICE}/Synchronize");
    let call = Call {
        system: "ttrpc",
        method: &method,
        message: None,
        address: None,
    };
    let span = call.span(Side::Server);
    telemetry::set_number(&span, "nri.sandboxes.count", sandboxes);
    span
}

/// The span of work that nobody asked for now: it was due earlier.
pub(super) fn reconcile_span(contexts: &[(LinkTo, Option<&str>)]) -> Span {
    let span = tracing::info_span!(parent: None, "reconcile");
    for (to, context) in contexts {
        telemetry::link(&span, *to, *context);
    }
    span
}

/// The span of the decision whether a container may be created.
pub(super) fn gate_span(claims: &[ClaimUid], missing: Option<&ClaimUid>) -> Span {
    let span = tracing::info_span!("container.gate");
    telemetry::set(&span, "allowed", missing.is_none());
    telemetry::set_number(&span, "dra.claims.count", claims.len());
    if let Some(claim) = missing {
        telemetry::set(&span, "dra.claim.uid", claim.to_string());
        telemetry::fail(&span, "ClaimNotAttached");
    }
    span
}

/// Notes in the span how an event ended; `failure` is the reason of an error.
pub(super) fn outcome(span: &Span, request: &Request, failure: Option<&'static str>) {
    let late = std::time::Instant::now() > request.deadline.answer_at();
    let code = match failure {
        _ if late => Code::DeadlineExceeded,
        Some(_) => Code::Unknown,
        None => Code::Ok,
    };
    telemetry::answered(span, code);
    // Says more than the code.
    if let Some(reason) = failure {
        telemetry::fail(span, reason);
    }
}

/// Whether a sandbox that is made now is part of the start that the record was prepared for.
fn belongs(record: &Record, now: SystemTime, boot_id: &str) -> bool {
    let age = now.duration_since(record.prepared).unwrap_or_default();
    record.boot_id == boot_id && age <= SAME_TRACE
}

#[cfg(test)]
mod tests;
