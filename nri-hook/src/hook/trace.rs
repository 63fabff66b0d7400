//! Spans of the runtime's events, so that a pod's start is one trace: from the kubelet's Prepare, whose context the
//! record carries, to the sandbox that gets the devices.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use network_driver_common::model::Record;
use network_driver_common::telemetry;
use tracing::{Span, field, info_span};

use crate::nri::{Pod, Request};

/// How long after its Prepare a sandbox still belongs to the same start.
const SAME_START: Duration = Duration::from_mins(5);

/// The span of a RunPodSandbox of a pod with claims. `first` says of each record whether this is its first sandbox.
pub(super) fn run_span(
    pod: &Pod,
    request: &Request,
    records: &[Arc<Record>],
    first: &[bool],
    boot_id: &str,
) -> Span {
    let span = info_span!(
        "nri.run_pod_sandbox",
        otel.name = "nri.pkg.api.v1alpha1.Plugin/RunPodSandbox",
        otel.kind = "server",
        otel.status_code = field::Empty,
        error.type = field::Empty,
        rpc.system.name = "ttrpc",
        rpc.method = "nri.pkg.api.v1alpha1.Plugin/RunPodSandbox",
        nri.sandbox.id = %pod.sandbox,
        nri.budget_ms = millis(request.deadline.timeout()),
        k8s.pod.name = pod.owner.name,
        k8s.pod.uid = %pod.owner.uid,
        k8s.namespace.name = pod.owner.namespace,
        dra.claims.count = records.len()
    );
    let now = SystemTime::now();
    let starting = |(record, first): (&Arc<Record>, &bool)| {
        *first && belongs(record, now, boot_id) && record.traceparent.is_some()
    };
    let start = records.iter().zip(first).position(starting);
    let parent = start.and_then(|index| records.get(index));
    let parent = parent.and_then(|record| record.traceparent.as_deref());
    telemetry::set_parent(&span, parent.or(request.traceparent.as_deref()));
    if parent.is_some() {
        telemetry::link(&span, request.traceparent.as_deref());
    }
    for (index, record) in records.iter().enumerate() {
        if Some(index) != start {
            telemetry::link(&span, record.traceparent.as_deref());
        }
    }
    span
}

/// The span of a StopPodSandbox or RemovePodSandbox of a sandbox that holds devices.
pub(super) fn stop_span(pod: &Pod, request: &Request) -> Span {
    let span = info_span!(
        "nri.stop_pod_sandbox",
        otel.name = "nri.pkg.api.v1alpha1.Plugin/StopPodSandbox",
        otel.kind = "server",
        rpc.system.name = "ttrpc",
        rpc.method = "nri.pkg.api.v1alpha1.Plugin/StopPodSandbox",
        nri.sandbox.id = %pod.sandbox,
        k8s.pod.name = pod.owner.name,
        k8s.pod.uid = %pod.owner.uid,
        k8s.namespace.name = pod.owner.namespace
    );
    telemetry::set_parent(&span, request.traceparent.as_deref());
    span
}

/// Notes in the span how it ended; `failure` is the reason of an error.
pub(super) fn outcome(span: &Span, failure: Option<&'static str>) {
    if let Some(reason) = failure {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", reason);
    }
}

/// Whether a sandbox that is made now is part of the start that the record was prepared for.
fn belongs(record: &Record, now: SystemTime, boot_id: &str) -> bool {
    let age = now.duration_since(record.prepared).unwrap_or_default();
    record.boot_id == boot_id && age <= SAME_START
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record;

    #[test]
    fn a_sandbox_belongs_to_a_start_of_this_boot_within_five_minutes() {
        let record = record("c", &["p"]);
        let after = |seconds| record.prepared + Duration::from_secs(seconds);
        assert!(belongs(&record, after(300), "boot"));
        assert!(!belongs(&record, after(301), "boot"));
        assert!(!belongs(&record, after(1), "other"));
    }
}
