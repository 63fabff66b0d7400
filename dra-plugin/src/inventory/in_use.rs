//! What discovery is told of devices in use, whose slice entries must stay as they are, and of those in quarantine, which
//! must not be offered.

use std::collections::BTreeMap;
use std::sync::Arc;

use network_driver_common::bus::devices_in_use_span;
use network_driver_common::model::{Attachment, DeviceName, Record};
use network_driver_common::telemetry::{self, SAME_TRACE, Side};
use network_driver_proto::bus::{DeviceInUse, DevicesInUse};
use tracing::Span;

use crate::health::{HealthBook, quarantine_fault};
use crate::store::Book;

/// All devices in use and in quarantine, in a stable order, with what keeps them from working.
pub(super) fn complete(book: &Book, health: &HealthBook) -> DevicesInUse {
    let quarantined = book.quarantined();
    let mut list = list(&book.records());
    for entry in &mut list.devices {
        let device = entry.device.as_ref();
        let device = device.and_then(|device| device.name.parse::<DeviceName>().ok());
        let fault = device.and_then(|device| match quarantined.get(&device) {
            Some(quarantine) => Some(quarantine_fault(quarantine)),
            None => health.of(&device)?.err(),
        });
        entry.fault = fault.as_ref().map(Into::into);
    }
    // What is lost cannot be offered, and what appears in its place may be.
    let bent = quarantined.values().filter(|q| !q.lost);
    list.quarantined = bent.map(|q| (&**q).into()).collect();
    list
}

/// All devices in use, in a stable order.
fn list(records: &[Arc<Record>]) -> DevicesInUse {
    let of_record = |record: &Arc<Record>| {
        let entry = |attachment: &Attachment| DeviceInUse {
            device: Some((&attachment.device).into()),
            claim_uid: record.claim.uid.to_string(),
            ..DeviceInUse::default()
        };
        record.attachments.iter().map(entry).collect::<Vec<_>>()
    };
    DevicesInUse {
        devices: records.iter().flat_map(of_record).collect(),
        ..DevicesInUse::default()
    }
}

/// The list with the trace context of what is new in it, and the spans of the message, one for each claim that has just
/// been prepared, to be dropped once it is sent.
pub(super) fn traced(
    now: &DevicesInUse,
    before: &DevicesInUse,
    records: &[Arc<Record>],
) -> (DevicesInUse, Vec<Span>) {
    let contexts: BTreeMap<&str, &str> = records
        .iter()
        .filter(|record| record.prepared.elapsed().unwrap_or_default() <= SAME_TRACE)
        .filter_map(|record| Some((record.claim.uid.as_str(), record.traceparent.as_deref()?)))
        .collect();
    let mut spans: BTreeMap<String, Span> = BTreeMap::new();
    let mut list = now.clone();
    for entry in &mut list.devices {
        let Some(parent) = contexts.get(entry.claim_uid.as_str()) else {
            continue;
        };
        // One whose health has changed is not new.
        let is_same = |known: &DeviceInUse| {
            (&known.device, &known.claim_uid) == (&entry.device, &entry.claim_uid)
        };
        if before.devices.iter().any(is_same) {
            continue;
        }
        let span = spans
            .entry(entry.claim_uid.clone())
            .or_insert_with(|| span(&entry.claim_uid, parent));
        entry.traceparent = telemetry::traceparent_of(span).unwrap_or_default();
    }
    (list, spans.into_values().collect())
}

fn span(claim: &str, parent: &str) -> Span {
    let span = devices_in_use_span(Side::Client);
    telemetry::set(&span, "dra.claim.uid", claim.to_owned());
    telemetry::set_parent(&span, Some(parent));
    span
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

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

    #[test]
    fn only_what_was_just_prepared_is_part_of_a_trace() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let known = prepared("known", "eth1", Duration::ZERO);
        let before = list(std::slice::from_ref(&known));
        let records = [
            known,
            prepared("new", "eth2", Duration::ZERO),
            prepared("old", "eth3", Duration::from_mins(6)),
            Arc::new(record("untraced", &["eth4"])),
        ];
        let (list, spans) = traced(&list(&records), &before, &records);
        assert_eq!(spans.len(), 1);
        let in_trace = list
            .devices
            .iter()
            .map(|entry| (entry.claim_uid.as_str(), entry.traceparent.contains(TRACE)));
        let want = [
            ("known", false),
            ("new", true),
            ("old", false),
            ("untraced", false),
        ];
        assert_eq!(in_trace.collect::<Vec<_>>(), want);
    }
}
