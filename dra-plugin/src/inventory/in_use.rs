//! What discovery is told of devices in use, whose slice entries must stay as they are, and of those in quarantine, which
//! must not be offered.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use network_driver_common::bus::devices_in_use_span;
use network_driver_common::model::{
    Attachment, ClaimUid, Device, DeviceFault, DeviceName, Quarantine, Record,
};
use network_driver_common::telemetry::{self, SAME_TRACE, Side};
use network_driver_proto::bus::{DeviceInUse, DevicesInUse};
use tracing::Span;

use crate::health::{HealthBook, quarantine_fault};
use crate::store::Book;

/// Records whose devices are told of in one message, when all are told of.
const PAGE: usize = 500;

/// All devices in use, with what keeps them from working, and those in quarantine.
#[derive(Debug)]
pub(super) struct Holdings {
    /// By claim UID. No two name one device.
    records: Vec<Arc<Record>>,
    faults: BTreeMap<DeviceName, DeviceFault>,
    quarantined: Vec<Arc<Quarantine>>,
}

/// What discovery is told of a device.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    record: &'a Arc<Record>,
    device: &'a Device,
    fault: Option<&'a DeviceFault>,
}

impl Entry<'_> {
    /// Whether it is of the same claim as the other, which is an entry of the same device, and has the same contents.
    fn is_known_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.record, other.record)
            || (&self.record.claim.uid, self.device) == (&other.record.claim.uid, other.device)
    }

    fn message(&self, traceparent: String) -> DeviceInUse {
        DeviceInUse {
            device: Some(self.device.into()),
            claim_uid: self.record.claim.uid.to_string(),
            traceparent,
            fault: self.fault.map(Into::into),
        }
    }

    /// The context of its Prepare, if that was a moment ago: then what is said of it belongs to the trace of a pod's start.
    fn parent(&self) -> Option<&str> {
        let is_new = self.record.prepared.elapsed().unwrap_or_default() <= SAME_TRACE;
        self.record.traceparent.as_deref().filter(|_| is_new)
    }
}

impl Holdings {
    /// As they are now.
    pub(super) fn of(book: &Book, health: &HealthBook) -> Self {
        // Before what is in quarantine: of a device that goes there as its record goes, one of the two is seen.
        let records = book.records();
        let quarantined = book.quarantined();
        let mut faults = health.faults();
        let bent = quarantined.values();
        faults.extend(
            bent.map(|quarantine| (quarantine.device.clone(), quarantine_fault(quarantine))),
        );
        Self {
            records,
            faults,
            // What is lost cannot be offered, and what appears in its place may be.
            quarantined: quarantined.into_values().filter(|q| !q.lost).collect(),
        }
    }

    /// A page of all of them, by its number.
    pub(super) fn page(&self, number: usize) -> DevicesInUse {
        let mut pages = self.records.chunks(PAGE);
        let page = pages.nth(number).unwrap_or_default();
        let more = pages.next().is_some();
        let entries = self.entries(page, |_| true).into_values();
        let devices = entries.map(|entry| entry.message(String::new())).collect();
        let rest = if more {
            DevicesInUse::default()
        } else {
            self.no_devices()
        };
        DevicesInUse {
            devices,
            reset: number == 0,
            more,
            ..rest
        }
    }

    /// What has changed since, if anything has; and the spans of the message, to be dropped once it is sent: one for each
    /// claim that has just been prepared.
    pub(super) fn changes(&self, before: &Self) -> Option<(DevicesInUse, Vec<Span>)> {
        let (known, present) = (before.unlike(self), self.unlike(before));
        let released = known.keys().filter(|device| !present.contains_key(*device));
        let mut list = DevicesInUse {
            released: released.map(ToString::to_string).collect(),
            ..self.no_devices()
        };
        let mut spans: BTreeMap<&ClaimUid, Span> = BTreeMap::new();
        for (device, entry) in &present {
            let known = known.get(device).filter(|known| entry.is_known_as(known));
            if known.is_some_and(|known| known.fault == entry.fault) {
                continue;
            }
            // One whose health has changed is not new.
            let parent = entry.parent().filter(|_| known.is_none());
            let uid = &entry.record.claim.uid;
            let span = parent.map(|parent| &*spans.entry(uid).or_insert_with(|| span(uid, parent)));
            let traceparent = span.and_then(telemetry::traceparent_of);
            list.devices
                .push(entry.message(traceparent.unwrap_or_default()));
        }
        let is_same = list.devices.is_empty()
            && list.released.is_empty()
            && self.quarantined == before.quarantined;
        (!is_same).then(|| (list, spans.into_values().collect()))
    }

    /// The entries of records that the other has not, or with a device that may work no more or again. All others are the
    /// same there: of many records few change at a time.
    fn unlike(&self, other: &Self) -> BTreeMap<&DeviceName, Entry<'_>> {
        let same: HashSet<_> = other.records.iter().map(Arc::as_ptr).collect();
        let fault_differs =
            |device: &DeviceName| self.faults.get(device) != other.faults.get(device);
        let faults_differ = self.faults != other.faults;
        self.entries(&self.records, |record| {
            let mut devices = record.attachments.iter().map(|a| &a.device.name);
            !same.contains(&Arc::as_ptr(record)) || faults_differ && devices.any(fault_differs)
        })
    }

    /// Of some records, by device.
    fn entries<'a>(
        &'a self,
        records: &'a [Arc<Record>],
        of: impl Fn(&Arc<Record>) -> bool,
    ) -> BTreeMap<&'a DeviceName, Entry<'a>> {
        let mut entries = BTreeMap::new();
        for record in records.iter().filter(|record| of(record)) {
            for Attachment { device, .. } in &record.attachments {
                let fault = self.faults.get(&device.name);
                let entry = Entry {
                    record,
                    device,
                    fault,
                };
                entries.insert(&device.name, entry);
            }
        }
        entries
    }

    fn no_devices(&self) -> DevicesInUse {
        DevicesInUse {
            quarantined: self.quarantined.iter().map(|q| (&**q).into()).collect(),
            ..DevicesInUse::default()
        }
    }
}

fn span(claim: &ClaimUid, parent: &str) -> Span {
    let span = devices_in_use_span(Side::Client);
    telemetry::set(&span, "dra.claim.uid", claim.to_string());
    telemetry::set_parent(&span, Some(parent));
    span
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use network_driver_common::model::FaultReason;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::fixture::record;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn prepared(uid: &str, device: &str, ago: Duration) -> Arc<Record> {
        Arc::new(Record {
            traceparent: Some(format!("00-{TRACE}-b7ad6b7169203331-01")),
            prepared: SystemTime::now().checked_sub(ago).unwrap(),
            ..record(uid, &[device])
        })
    }

    fn holdings(records: &[Arc<Record>]) -> Holdings {
        Holdings {
            records: records.to_vec(),
            faults: BTreeMap::new(),
            quarantined: Vec::new(),
        }
    }

    #[test]
    fn only_what_discovery_is_told_of_a_record_is_a_change() {
        let plain = record("c", &["eth1"]);
        let moved = Record {
            sandbox: Some("s".parse().unwrap()),
            ..plain.clone()
        };
        let other = record("c", &["eth2"]);
        let again = record("d", &["eth1"]);
        let [plain, moved, other, again] =
            [plain, moved, other, again].map(|record| holdings(&[Arc::new(record)]));
        assert!(moved.changes(&plain).is_none());
        let told = |now: &Holdings| {
            let (list, _) = now.changes(&plain).unwrap();
            let devices = list.devices.into_iter();
            let devices = devices.map(|entry| (entry.claim_uid, entry.device.unwrap().name));
            (devices.collect::<Vec<_>>(), list.released)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            told(&other),
            (vec![pair("c", "eth2")], vec!["eth1".to_owned()])
        );
        assert_eq!(told(&again), (vec![pair("d", "eth1")], vec![]));
        assert_eq!(told(&holdings(&[])), (vec![], vec!["eth1".to_owned()]));
        let fault = DeviceFault {
            reason: FaultReason::CarrierDown,
            message: "no carrier".into(),
            since: SystemTime::UNIX_EPOCH,
        };
        let failed = Holdings {
            records: plain.records.clone(),
            faults: [("eth1".parse().unwrap(), fault)].into(),
            quarantined: Vec::new(),
        };
        assert_eq!(told(&failed), (vec![pair("c", "eth1")], vec![]));
    }

    #[test]
    fn many_are_told_of_in_pages_of_which_the_last_has_what_is_in_quarantine() {
        let records: Vec<_> = (0..=PAGE)
            .map(|n| Arc::new(record(&format!("c-{n}"), &[&format!("eth{n}")])))
            .collect();
        let none = holdings(&[]);
        let quarantine = Quarantine {
            device: "bent".parse().unwrap(),
            reason: "it is bent".into(),
            identity: None,
            since: None,
            claim: None,
            lost: false,
        };
        let holdings = Holdings {
            quarantined: vec![Arc::new(quarantine)],
            ..holdings(&records)
        };
        let shape = |number| {
            let page = holdings.page(number);
            let quarantined = page.quarantined.len();
            (page.devices.len(), quarantined, page.reset, page.more)
        };
        assert_eq!(shape(0), (PAGE, 0, true, true));
        assert_eq!(shape(1), (1, 1, false, false));
        let none = none.page(0);
        assert!(none.devices.is_empty() && none.reset && !none.more);
    }

    #[test]
    fn only_what_was_just_prepared_is_part_of_a_trace() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let known = prepared("known", "eth1", Duration::ZERO);
        let before = [Arc::clone(&known)];
        let records = [
            known,
            prepared("new", "eth2", Duration::ZERO),
            prepared("old", "eth3", Duration::from_mins(6)),
            Arc::new(record("untraced", &["eth4"])),
        ];
        let (list, spans) = holdings(&records).changes(&holdings(&before)).unwrap();
        assert_eq!(spans.len(), 1);
        let in_trace = list
            .devices
            .iter()
            .map(|entry| (entry.claim_uid.as_str(), entry.traceparent.contains(TRACE)));
        let want = [("new", true), ("old", false), ("untraced", false)];
        assert_eq!(in_trace.collect::<Vec<_>>(), want);
    }
}
