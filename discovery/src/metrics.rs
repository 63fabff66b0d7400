//! Numbers about discovery. Every series exists from the start; none carries a name of a pod, link or device.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use network_driver_common::metrics::prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, LabelValueEncoder,
};
use network_driver_common::metrics::prometheus_client::metrics::counter::Counter;
use network_driver_common::metrics::prometheus_client::metrics::family::Family;
use network_driver_common::metrics::prometheus_client::metrics::gauge::Gauge;
use network_driver_common::metrics::prometheus_client::metrics::histogram::Histogram;
use network_driver_common::metrics::prometheus_client::registry::Registry;

use crate::inventory::Counts;

/// What made discovery read the whole node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// Events were lost.
    Event,
    /// The slow audit.
    Interval,
    /// The start, or somebody who asked.
    Request,
}

impl Trigger {
    /// As a word, in labels and spans.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Interval => "interval",
            Self::Request => "request",
        }
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Well.
    Success,
    /// Not well.
    Error,
}

/// Declares the text of a label's values.
macro_rules! label_value {
    ($type:ident { $($variant:ident => $text:literal),* $(,)? }) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&match self { $(Self::$variant => $text),* }, encoder)
            }
        }
    };
}

impl EncodeLabelValue for Trigger {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

label_value!(Outcome { Success => "success", Error => "error" });

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTrigger {
    trigger: Trigger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPeer {
    peer: &'static str,
}

type Histograms = Family<ByTrigger, Histogram, fn() -> Histogram>;

/// The metrics of discovery. Clones share their values.
#[derive(Debug, Clone)]
pub struct Metrics {
    published_devices: Gauge,
    discovered_interfaces: Family<ByState, Gauge>,
    scans: Family<ByTrigger, Counter>,
    scan_duration: Histograms,
    netlink_events: Counter,
    netlink_overruns: Counter,
    publishes: Family<ByResult, Counter>,
    publish_duration: Histogram,
    last_publish: Gauge<f64, AtomicU64>,
    connected: Family<ByPeer, Gauge>,
}

fn seconds() -> Histogram {
    Histogram::new([
        0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0,
    ])
}

impl Metrics {
    /// Registers them all.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            published_devices: Gauge::default(),
            discovered_interfaces: Family::default(),
            scans: Family::default(),
            scan_duration: Family::new_with_constructor(seconds as fn() -> Histogram),
            netlink_events: Counter::default(),
            netlink_overruns: Counter::default(),
            publishes: Family::default(),
            publish_duration: seconds(),
            last_publish: Gauge::default(),
            connected: Family::default(),
        };
        metrics.register(registry);
        metrics.interfaces(Counts::default());
        for trigger in [Trigger::Event, Trigger::Interval, Trigger::Request] {
            drop(metrics.scans.get_or_create(&ByTrigger { trigger }));
            drop(metrics.scan_duration.get_or_create(&ByTrigger { trigger }));
        }
        for result in [Outcome::Success, Outcome::Error] {
            drop(metrics.publishes.get_or_create(&ByResult { result }));
        }
        metrics.session(0);
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "published_devices",
            "Devices in the node's ResourceSlices",
            self.published_devices.clone(),
        );
        registry.register(
            "discovered_interfaces",
            "Network interfaces of the node by what became of them",
            self.discovered_interfaces.clone(),
        );
        registry.register("scans", "Readings of the whole node", self.scans.clone());
        registry.register(
            "scan_duration_seconds",
            "Time of a reading of the whole node",
            self.scan_duration.clone(),
        );
        registry.register(
            "netlink_events",
            "Messages of the kernel about links, addresses and routes",
            self.netlink_events.clone(),
        );
        registry.register(
            "netlink_overruns",
            "Times that messages of the kernel were lost and the node was read again",
            self.netlink_overruns.clone(),
        );
        registry.register(
            "slice_publishes",
            "Times that ResourceSlices were written",
            self.publishes.clone(),
        );
        registry.register(
            "slice_publish_duration_seconds",
            "Time that writing the ResourceSlices took",
            self.publish_duration.clone(),
        );
        registry.register(
            "slice_last_publish_timestamp_seconds",
            "When ResourceSlices were last written, Unix time",
            self.last_publish.clone(),
        );
        registry.register(
            "bus_connected",
            "Whether the peer holds a session",
            self.connected.clone(),
        );
    }

    /// How many links there are of each sort.
    pub fn interfaces(&self, counts: Counts) {
        for (state, count) in [
            ("offered", counts.offered),
            ("protected", counts.protected),
            ("filtered", counts.filtered),
            ("in_use", counts.in_use),
        ] {
            let gauge = self.discovered_interfaces.get_or_create(&ByState { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The whole node was read.
    pub fn scanned(&self, trigger: Trigger, took: Duration) {
        let label = ByTrigger { trigger };
        self.scans.get_or_create(&label).inc();
        let histogram = self.scan_duration.get_or_create(&label);
        histogram.observe(took.as_secs_f64());
    }

    /// Messages came from the kernel.
    pub fn events(&self, count: usize, overruns: usize) {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        self.netlink_events.inc_by(number(count));
        self.netlink_overruns.inc_by(number(overruns));
    }

    /// How many devices the slices hold.
    pub fn devices(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.published_devices.set(count);
    }

    /// Slices were written, or could not be.
    pub fn published(&self, result: Outcome, took: Duration) {
        self.publishes.get_or_create(&ByResult { result }).inc();
        self.publish_duration.observe(took.as_secs_f64());
        if result == Outcome::Success {
            let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            self.last_publish.set(now.as_secs_f64());
        }
    }

    /// How many sessions dra-plugin holds.
    pub fn session(&self, count: usize) {
        let peer = ByPeer { peer: "dra-plugin" };
        self.connected
            .get_or_create(&peer)
            .set(i64::from(count > 0));
    }
}

#[cfg(test)]
mod tests {
    use network_driver_common::bus::Component;
    use network_driver_common::metrics::prometheus_client::encoding::text::encode;
    use network_driver_common::metrics::registry;

    use super::*;

    #[test]
    fn every_series_exists_from_the_start_under_its_promised_name() {
        let mut registry = registry(Component::Discovery);
        let _metrics = Metrics::new(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for series in [
            "network_driver_published_devices 0",
            "network_driver_discovered_interfaces{state=\"offered\"} 0",
            "network_driver_discovered_interfaces{state=\"in_use\"} 0",
            "network_driver_scans_total{trigger=\"interval\"} 0",
            "network_driver_scan_duration_seconds_count{trigger=\"event\"} 0",
            "network_driver_netlink_events_total 0",
            "network_driver_netlink_overruns_total 0",
            "network_driver_slice_publishes_total{result=\"error\"} 0",
            "network_driver_slice_publish_duration_seconds_count 0",
            "network_driver_slice_last_publish_timestamp_seconds 0",
            "network_driver_bus_connected{peer=\"dra-plugin\"} 0",
        ] {
            assert!(text.contains(series), "{series} is missing in\n{text}");
        }
    }
}
