//! What the hook counts. Every series exists from the start, at zero; labels come from closed lists.

use std::time::Duration;

use network_driver_common::metrics::prometheus_client::encoding::EncodeLabelSet;
use network_driver_common::metrics::prometheus_client::metrics::counter::Counter;
use network_driver_common::metrics::prometheus_client::metrics::family::Family;
use network_driver_common::metrics::prometheus_client::metrics::gauge::Gauge;
use network_driver_common::metrics::prometheus_client::metrics::histogram::Histogram;
use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::{LinkIdentity, Record};

use crate::nri::{Event, Observer, Outcome};

/// Upper bounds of an event's, attach's or detach's duration, seconds.
const BOUNDS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
];

/// Why an attach can fail: the reasons of `crate::links` and of the hook itself.
const ATTACH_REASONS: [&str; 9] = [
    "AttachDeadlineExceeded",
    "DeviceInUse",
    "DeviceNotFound",
    "DeviceNotMovable",
    "DeviceProtected",
    "HostNetworkNotSupported",
    "InterfaceAttachFailed",
    "InterfaceNameConflict",
    "InvalidConfiguration",
];

/// Why a detach can fail.
const DETACH_REASONS: [&str; 2] = ["DeviceQuarantined", "InterfaceDetachFailed"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventResultLabels {
    event: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LayerLabel {
    layer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The daemon's metrics. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    connected: Gauge,
    requests: Family<EventResultLabels, Counter>,
    durations: Durations<EventLabel>,
    timeout: Gauge<f64, std::sync::atomic::AtomicU64>,
    reconnects: Counter,
    late: Counter,
    attaches: Durations<KindLabel>,
    detaches: Durations<KindLabel>,
    attach_errors: Family<ReasonLabel, Counter>,
    detach_errors: Family<ReasonLabel, Counter>,
    attached_interfaces: Gauge,
    denials: Family<LayerLabel, Counter>,
    bus_connected: Family<PeerLabel, Gauge>,
}

fn durations<L: Clone + std::hash::Hash + Eq>() -> Durations<L> {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

impl Metrics {
    /// Metrics that the registry shows.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            connected: Gauge::default(),
            requests: Family::default(),
            durations: durations(),
            timeout: Gauge::default(),
            reconnects: Counter::default(),
            late: Counter::default(),
            attaches: durations(),
            detaches: durations(),
            attach_errors: Family::default(),
            detach_errors: Family::default(),
            attached_interfaces: Gauge::default(),
            denials: Family::default(),
            bus_connected: Family::default(),
        };
        metrics.begin_at_zero();
        metrics.register_runtime(registry);
        metrics.register_devices(registry);
        metrics
    }

    fn begin_at_zero(&self) {
        for event in Event::ALL {
            let event = event.as_str();
            for result in ["success", "error"] {
                drop(
                    self.requests
                        .get_or_create(&EventResultLabels { event, result }),
                );
            }
            drop(self.durations.get_or_create(&EventLabel { event }));
        }
        for kind in ["pci", "other"] {
            drop(self.attaches.get_or_create(&KindLabel { kind }));
            drop(self.detaches.get_or_create(&KindLabel { kind }));
        }
        for reason in ATTACH_REASONS {
            drop(self.attach_errors.get_or_create(&reason_label(reason)));
        }
        for reason in DETACH_REASONS {
            drop(self.detach_errors.get_or_create(&reason_label(reason)));
        }
        drop(self.denials.get_or_create(&LayerLabel { layer: "nri" }));
        drop(
            self.bus_connected
                .get_or_create(&PeerLabel { peer: "dra-plugin" }),
        );
    }

    fn register_runtime(&self, registry: &mut Registry) {
        registry.register(
            "nri_connected",
            "Whether the hook is registered and synchronised with the container runtime",
            self.connected.clone(),
        );
        registry.register(
            "nri_requests",
            "Events of the container runtime, by how they were answered",
            self.requests.clone(),
        );
        registry.register(
            "nri_request_duration_seconds",
            "Time until an event was answered",
            self.durations.clone(),
        );
        registry.register(
            "nri_request_timeout_seconds",
            "How long the container runtime waits for an answer",
            self.timeout.clone(),
        );
        registry.register(
            "nri_reconnects",
            "New connections to the container runtime after the first",
            self.reconnects.clone(),
        );
        registry.register(
            "nri_deadline_exceeded",
            "Events that were answered before their work was done",
            self.late.clone(),
        );
        registry.register(
            "bus_connected",
            "Whether a session with the peer is open",
            self.bus_connected.clone(),
        );
    }

    fn register_devices(&self, registry: &mut Registry) {
        registry.register(
            "attach_duration_seconds",
            "Time to put a pod's devices into it",
            self.attaches.clone(),
        );
        registry.register(
            "detach_duration_seconds",
            "Time to bring a claim's devices home",
            self.detaches.clone(),
        );
        registry.register(
            "attach_errors",
            "Attaches that failed, by reason",
            self.attach_errors.clone(),
        );
        registry.register(
            "detach_errors",
            "Detaches that failed and devices that did not come home as they were, by reason",
            self.detach_errors.clone(),
        );
        registry.register(
            "attached_interfaces",
            "Interfaces that are in pods",
            self.attached_interfaces.clone(),
        );
        registry.register(
            "gate_denials",
            "Containers that were refused because their claim was not attached",
            self.denials.clone(),
        );
    }

    /// Whether the hook is registered and synchronised.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(connected.into());
    }

    /// Whether a session with dra-plugin is open.
    pub(crate) fn bus_connected(&self, connected: bool) {
        let peer = PeerLabel { peer: "dra-plugin" };
        self.bus_connected
            .get_or_create(&peer)
            .set(connected.into());
    }

    /// A claim was attached.
    pub(crate) fn attached(&self, record: &Record, took: Duration) {
        self.attaches
            .get_or_create(&kind_label(record))
            .observe(took.as_secs_f64());
    }

    /// A claim was detached.
    pub(crate) fn detached(&self, record: &Record, took: Duration) {
        self.detaches
            .get_or_create(&kind_label(record))
            .observe(took.as_secs_f64());
    }

    /// An attach failed for a reason of the closed list.
    pub(crate) fn attach_failed(&self, reason: &'static str) {
        self.attach_errors
            .get_or_create(&reason_label(reason))
            .inc();
    }

    /// A detach failed, or a device did not come home as it was.
    pub(crate) fn detach_failed(&self, reason: &'static str) {
        self.detach_errors
            .get_or_create(&reason_label(reason))
            .inc();
    }

    /// This many interfaces are in pods.
    pub(crate) fn attached_interfaces(&self, count: usize) {
        self.attached_interfaces
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A container was refused.
    pub(crate) fn gate_denied(&self) {
        self.denials
            .get_or_create(&LayerLabel { layer: "nri" })
            .inc();
    }
}

impl Observer for Metrics {
    fn answered(&self, event: Event, outcome: Outcome, after: Duration) {
        let event = event.as_str();
        let result = match outcome {
            Outcome::Success => "success",
            Outcome::Error | Outcome::Late => "error",
        };
        if outcome == Outcome::Late {
            self.late.inc();
        }
        self.requests
            .get_or_create(&EventResultLabels { event, result })
            .inc();
        self.durations
            .get_or_create(&EventLabel { event })
            .observe(after.as_secs_f64());
    }

    fn request_timeout(&self, timeout: Duration) {
        self.timeout.set(timeout.as_secs_f64());
    }

    fn reconnecting(&self) {
        self.reconnects.inc();
    }
}

fn kind_label(record: &Record) -> KindLabel {
    let pci = |identity: &LinkIdentity| matches!(identity, LinkIdentity::Pci { .. });
    let all = record.attachments.iter().all(|a| pci(&a.device.identity));
    KindLabel {
        kind: if all { "pci" } else { "other" },
    }
}

/// A reason as metric labels write it: `device_not_found`.
fn reason_label(reason: &str) -> ReasonLabel {
    let mut label = String::with_capacity(reason.len());
    for c in reason.chars() {
        if c.is_ascii_uppercase() && !label.is_empty() {
            label.push('_');
        }
        label.push(c.to_ascii_lowercase());
    }
    ReasonLabel { reason: label }
}

#[cfg(test)]
mod tests {
    use network_driver_common::bus::Component;
    use network_driver_common::metrics::prometheus_client::encoding::text::encode;
    use network_driver_common::metrics::registry;

    use super::*;

    #[test]
    fn every_series_exists_from_the_start() {
        let mut registry = registry(Component::NriHook);
        let metrics = Metrics::new(&mut registry);
        metrics.answered(
            Event::RunPodSandbox,
            Outcome::Late,
            Duration::from_millis(3),
        );
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for series in [
            "network_driver_nri_connected 0",
            "network_driver_nri_requests_total{event=\"stop_pod_sandbox\",result=\"error\"} 0",
            "network_driver_nri_requests_total{event=\"run_pod_sandbox\",result=\"error\"} 1",
            "network_driver_nri_request_duration_seconds_count{event=\"run_pod_sandbox\"} 1",
            "network_driver_nri_request_timeout_seconds 0",
            "network_driver_nri_reconnects_total 0",
            "network_driver_nri_deadline_exceeded_total 1",
            "network_driver_attach_duration_seconds_count{kind=\"pci\"} 0",
            "network_driver_detach_errors_total{reason=\"device_quarantined\"} 0",
            "network_driver_attach_errors_total{reason=\"host_network_not_supported\"} 0",
            "network_driver_attached_interfaces 0",
            "network_driver_gate_denials_total{layer=\"nri\"} 0",
            "network_driver_bus_connected{peer=\"dra-plugin\"} 0",
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
    }
}
