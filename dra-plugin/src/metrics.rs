//! What dra-plugin counts. Every series exists from the start, at zero; labels come from closed lists.

use std::time::Duration;

use network_driver_common::metrics::prometheus_client::encoding::EncodeLabelSet;
use network_driver_common::metrics::prometheus_client::metrics::counter::Counter;
use network_driver_common::metrics::prometheus_client::metrics::family::Family;
use network_driver_common::metrics::prometheus_client::metrics::gauge::Gauge;
use network_driver_common::metrics::prometheus_client::metrics::histogram::Histogram;
use network_driver_common::metrics::prometheus_client::registry::Registry;

use crate::reason::Reason;
use crate::store::State;

/// Upper bounds of a call's duration, seconds.
const CALL: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Upper bounds of a flush, seconds.
const FLUSH: [f64; 10] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpLabel {
    op: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LayerLabel {
    layer: &'static str,
}

const PREPARE_LAYER: LayerLabel = LayerLabel { layer: "prepare" };

type Durations = Family<ResultLabel, Histogram, fn() -> Histogram>;

/// A verb of the kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `NodePrepareResources`.
    Prepare,
    /// `NodeUnprepareResources`.
    Unprepare,
}

#[derive(Debug, Clone)]
struct Calls {
    requests: Family<ResultLabel, Counter>,
    durations: Durations,
    errors: Family<ReasonLabel, Counter>,
}

/// The daemon's metrics. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    prepare: Calls,
    unprepare: Calls,
    prepared_claims: Gauge,
    attached_interfaces: Gauge,
    quarantined_devices: Gauge,
    unhealthy_devices: Gauge,
    kubelet_registered: Gauge,
    status_updates: Family<ResultLabel, Counter>,
    status_queue: Gauge,
    records: Gauge,
    size: Gauge,
    flushes: Histogram,
    database_errors: Family<OpLabel, Counter>,
    rebuilds: Counter,
    bus_connected: Family<PeerLabel, Gauge>,
    gate_denials: Family<LayerLabel, Counter>,
}

impl Metrics {
    /// Metrics that the registry shows.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            prepare: Calls::new(registry, "prepare", &Reason::PREPARE),
            unprepare: Calls::new(registry, "unprepare", &Reason::UNPREPARE),
            prepared_claims: Gauge::default(),
            attached_interfaces: Gauge::default(),
            quarantined_devices: Gauge::default(),
            unhealthy_devices: Gauge::default(),
            kubelet_registered: Gauge::default(),
            status_updates: results(),
            status_queue: Gauge::default(),
            records: Gauge::default(),
            size: Gauge::default(),
            flushes: Histogram::new(FLUSH),
            database_errors: Family::default(),
            rebuilds: Counter::default(),
            bus_connected: Family::default(),
            gate_denials: Family::default(),
        };
        drop(metrics.gate_denials.get_or_create(&PREPARE_LAYER));
        for op in ["open", "decode", "commit"] {
            drop(metrics.database_errors.get_or_create(&OpLabel { op }));
        }
        for peer in ["discovery", "nri-hook"] {
            drop(metrics.bus_connected.get_or_create(&PeerLabel { peer }));
        }
        metrics.register(registry);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        for (name, help, gauge) in [
            (
                "prepared_claims",
                "Claims with a record",
                &self.prepared_claims,
            ),
            (
                "attached_interfaces",
                "Interfaces that are in a pod as far as the hook has reported",
                &self.attached_interfaces,
            ),
            (
                "quarantined_devices",
                "Devices that could not be brought home as they were",
                &self.quarantined_devices,
            ),
            (
                "unhealthy_devices",
                "Devices that do not work in their pod",
                &self.unhealthy_devices,
            ),
            (
                "kubelet_registered",
                "Whether the kubelet has registered the driver",
                &self.kubelet_registered,
            ),
            (
                "status_queue_length",
                "Claims whose status waits to be written",
                &self.status_queue,
            ),
            (
                "database_records",
                "Records in the state database",
                &self.records,
            ),
            (
                "database_size_bytes",
                "Size of the state database",
                &self.size,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "status_updates",
            "Writes of status.devices",
            self.status_updates.clone(),
        );
        registry.register(
            "database_flush_duration_seconds",
            "Time until a change is on disk",
            self.flushes.clone(),
        );
        registry.register(
            "database_errors",
            "Failures of the state database",
            self.database_errors.clone(),
        );
        registry.register(
            "database_rebuilds",
            "State databases that could not be read and were begun anew",
            self.rebuilds.clone(),
        );
        registry.register(
            "bus_connected",
            "Whether a session with the peer is open",
            self.bus_connected.clone(),
        );
        registry.register(
            "gate_denials",
            "Starts that were refused because interfaces would have been missing",
            self.gate_denials.clone(),
        );
    }

    /// A claim of a kubelet's call was answered.
    pub(crate) fn answered(&self, verb: Verb, failed: Option<Reason>, took: Duration) {
        let calls = match verb {
            Verb::Prepare => &self.prepare,
            Verb::Unprepare => &self.unprepare,
        };
        if (verb, failed) == (Verb::Prepare, Some(Reason::NriNotConnected)) {
            self.gate_denials.get_or_create(&PREPARE_LAYER).inc();
        }
        let result = result_label(failed.is_none());
        calls.requests.get_or_create(&result).inc();
        calls
            .durations
            .get_or_create(&result)
            .observe(took.as_secs_f64());
        if let Some(reason) = failed {
            let reason = reason.label();
            calls.errors.get_or_create(&ReasonLabel { reason }).inc();
        }
    }

    /// The kubelet took the driver in, or let it go.
    pub(crate) fn registered(&self, registered: bool) {
        self.kubelet_registered.set(registered.into());
    }

    /// A write of `status.devices` was tried.
    pub(crate) fn status_update(&self, written: bool) {
        self.status_updates
            .get_or_create(&result_label(written))
            .inc();
    }

    /// So many claims wait for their status to be written.
    pub(crate) fn status_waiting(&self, claims: usize) {
        self.status_queue.set(gauge_value(claims));
    }

    /// So many devices do not work in their pod.
    pub(crate) fn unhealthy(&self, devices: usize) {
        self.unhealthy_devices.set(gauge_value(devices));
    }

    /// A session with a peer began or ended.
    pub(crate) fn connected(&self, peer: &'static str, connected: bool) {
        let gauge = self.bus_connected.get_or_create(&PeerLabel { peer });
        gauge.set(connected.into());
    }

    /// A change is on disk.
    pub(crate) fn flushed(&self, took: Duration) {
        self.flushes.observe(took.as_secs_f64());
    }

    /// The database failed: `open`, `decode` or `commit`.
    pub(crate) fn database_error(&self, op: &'static str) {
        self.database_errors.get_or_create(&OpLabel { op }).inc();
    }

    /// The database was begun anew.
    pub(crate) fn rebuilt(&self) {
        self.rebuilds.inc();
    }

    pub(crate) fn state(&self, state: &State, size_bytes: u64) {
        let attached = state
            .records
            .values()
            .filter(|record| record.sandbox.is_some());
        let attached = attached.map(|record| record.attachments.len()).sum();
        self.prepared_claims.set(gauge_value(state.records.len()));
        self.records.set(gauge_value(state.records.len()));
        self.attached_interfaces.set(gauge_value(attached));
        self.quarantined_devices
            .set(gauge_value(state.quarantined.len()));
        self.size.set(i64::try_from(size_bytes).unwrap_or(i64::MAX));
    }
}

impl Calls {
    fn new(registry: &mut Registry, verb: &str, reasons: &[Reason]) -> Self {
        let calls = Self {
            requests: results(),
            durations: Family::new_with_constructor(|| Histogram::new(CALL)),
            errors: Family::default(),
        };
        for success in [true, false] {
            drop(calls.durations.get_or_create(&result_label(success)));
        }
        for reason in reasons {
            let reason = reason.label();
            drop(calls.errors.get_or_create(&ReasonLabel { reason }));
        }
        registry.register(
            format!("node_{verb}_requests"),
            "Claims that the kubelet asked for",
            calls.requests.clone(),
        );
        registry.register(
            format!("node_{verb}_duration_seconds"),
            "Time to answer for a claim",
            calls.durations.clone(),
        );
        registry.register(
            format!("node_{verb}_errors"),
            "Claims that failed, by reason",
            calls.errors.clone(),
        );
        calls
    }
}

fn results() -> Family<ResultLabel, Counter> {
    let family = Family::<ResultLabel, Counter>::default();
    for success in [true, false] {
        drop(family.get_or_create(&result_label(success)));
    }
    family
}

fn result_label(success: bool) -> ResultLabel {
    let result = if success { "success" } else { "error" };
    ResultLabel { result }
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use network_driver_common::bus::Component;
    use network_driver_common::metrics::prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_series_exists_at_zero_from_the_start() {
        let mut registry = network_driver_common::metrics::registry(Component::DraPlugin);
        let metrics = Metrics::new(&mut registry);
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let fresh = text();
        for line in [
            "network_driver_node_prepare_requests_total{result=\"success\"} 0",
            "network_driver_node_prepare_requests_total{result=\"error\"} 0",
            "network_driver_node_unprepare_requests_total{result=\"success\"} 0",
            "network_driver_node_prepare_errors_total{reason=\"nri_not_connected\"} 0",
            "network_driver_node_prepare_duration_seconds_count{result=\"error\"} 0",
            "network_driver_prepared_claims 0",
            "network_driver_attached_interfaces 0",
            "network_driver_quarantined_devices 0",
            "network_driver_unhealthy_devices 0",
            "network_driver_kubelet_registered 0",
            "network_driver_status_updates_total{result=\"success\"} 0",
            "network_driver_status_queue_length 0",
            "network_driver_database_records 0",
            "network_driver_database_size_bytes 0",
            "network_driver_database_errors_total{op=\"commit\"} 0",
            "network_driver_database_rebuilds_total 0",
            "network_driver_bus_connected{peer=\"nri-hook\"} 0",
            "network_driver_gate_denials_total{layer=\"prepare\"} 0",
        ] {
            assert!(
                fresh.contains(&format!("{line}\n")),
                "{line} is not in\n{fresh}"
            );
        }
        let took = Duration::from_millis(3);
        metrics.answered(Verb::Prepare, Some(Reason::DeviceNotFound), took);
        let line = "network_driver_node_prepare_errors_total{reason=\"device_not_found\"} 1\n";
        assert!(text().contains(line));
    }
}
