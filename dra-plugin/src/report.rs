//! What the hook reports: what happened to a claim in a sandbox. It is kept in the record, told to people as events,
//! and shown in the claim's `status.devices`.

use std::time::Duration;

use network_driver_common::error::sentence;
use network_driver_common::model::{
    Attachment, ClaimUid, DeviceName, IfName, PodRef, Record, SandboxId,
};
use network_driver_common::wire::{AttachedInterface, attached_interface};
use network_driver_kubernetes::EventKind;
use network_driver_proto::bus;
use network_driver_proto::bus::report::Event as Reported;
use tracing::{Instrument, error, info, info_span, warn};

use crate::claim::quarantined;
use crate::driver::Driver;
use crate::reason::Reason;
use crate::status::{DeviceState, DeviceStatus, StatusUpdate};
use crate::store::BookError;

/// How long an unprepare may take to follow a detach before the claim's pods are read again.
const UNPREPARE_FOLLOWS: Duration = Duration::from_secs(1);

impl Driver {
    /// Takes a report in and returns whether it may be acknowledged: everything of it is on disk, or it makes no sense
    /// and never will.
    pub(crate) async fn report(&self, report: bus::Report) -> bool {
        let span = info_span!("claim.report", dra.claim.uid = report.claim_uid);
        let traceparent = Some(report.traceparent.as_str()).filter(|text| !text.is_empty());
        network_driver_common::telemetry::set_parent(&span, traceparent);
        let handled = async {
            let report = match Parsed::try_from(report) {
                Ok(report) => report,
                Err(reason) => {
                    error!(err = reason, "the hook's report makes no sense");
                    return true;
                }
            };
            match self.take_in(&report).await {
                Ok(()) => true,
                Err(failed) => {
                    error!(claimUID = %report.uid, err = sentence(&failed), "report not kept; the hook will repeat it");
                    false
                }
            }
        };
        handled.instrument(span).await
    }

    async fn take_in(&self, report: &Parsed) -> Result<(), BookError> {
        match &report.event {
            Event::Attached(interfaces) => self.attached(report, interfaces).await,
            Event::Detached(quarantined) => self.detached(report, quarantined).await,
            Event::Failed { reason, message } => {
                self.failed(report, *reason, message);
                Ok(())
            }
        }
    }

    async fn attached(
        &self,
        report: &Parsed,
        interfaces: &[AttachedInterface],
    ) -> Result<(), BookError> {
        let sandbox = report.sandbox.clone();
        let update = |record: &mut Record| record.sandbox = Some(sandbox);
        let Some(record) = self.book.update(&report.uid, update).await? else {
            warn!(claimUID = %report.uid, sandbox = %report.sandbox, "the hook holds a claim that is not prepared");
            return Ok(());
        };
        let names: Vec<String> = interfaces.iter().map(|i| i.name.to_string()).collect();
        let names = names.join(", ");
        info!(claim = %record.claim, claimUID = %report.uid, interface = names, sandbox = %report.sandbox, "claim attached");
        let note = format!("attached {names} of claim {}", record.claim.name);
        self.pod_event(report, EventKind::Normal, Reason::InterfaceAttached, note);
        self.show(&record, report, |attachment| {
            let found = interfaces
                .iter()
                .find(|i| i.device == attachment.device.name);
            found.cloned().map(DeviceState::Attached)
        });
        Ok(())
    }

    async fn detached(
        &self,
        report: &Parsed,
        quarantined: &[(DeviceName, String)],
    ) -> Result<(), BookError> {
        let sandbox = report.sandbox.clone();
        // A late report of an earlier sandbox must not hide that another one holds the devices.
        let update = move |record: &mut Record| {
            if record.sandbox.as_ref() == Some(&sandbox) {
                record.sandbox = None;
            }
        };
        let record = self.book.update(&report.uid, update).await?;
        if !quarantined.is_empty() {
            self.book.quarantine(quarantined.to_vec()).await?;
            self.tell_quarantined(quarantined);
        }
        let Some(record) = record else { return Ok(()) };
        info!(claim = %record.claim, claimUID = %report.uid, sandbox = %report.sandbox, "claim detached");
        let note = format!("took back the interfaces of claim {}", record.claim.name);
        self.pod_event(report, EventKind::Normal, Reason::InterfaceReturned, note);
        if !quarantined.is_empty() {
            self.show(&record, report, |attachment| {
                let device = &attachment.device.name;
                let found = quarantined.iter().find(|(name, _)| name == device);
                found.map(|(_, reason)| DeviceState::Quarantined(reason.clone()))
            });
        }
        self.refresher.ask(&report.uid, UNPREPARE_FOLLOWS);
        Ok(())
    }

    fn failed(&self, report: &Parsed, reason: Reason, message: &str) {
        let word = reason.as_str();
        warn!(claimUID = %report.uid, sandbox = %report.sandbox, reason = word, err = message, "claim not attached");
        self.pod_event(report, EventKind::Warning, reason, message.to_owned());
        let Some(record) = self.book.record(&report.uid) else {
            return;
        };
        // Another pod of the claim may hold the devices: then they are well, and the claim's status shows that.
        if record.sandbox.is_none() {
            self.show(&record, report, |_| {
                Some(DeviceState::Failed {
                    reason,
                    message: message.to_owned(),
                })
            });
        }
        self.refresher.ask(&report.uid, Duration::ZERO);
    }

    fn pod_event(&self, report: &Parsed, kind: EventKind, reason: Reason, note: String) {
        if let Some(pod) = &report.pod {
            self.events.pod(pod, kind, reason, note);
        }
    }

    fn show(
        &self,
        record: &Record,
        report: &Parsed,
        state: impl Fn(&Attachment) -> Option<DeviceState>,
    ) {
        let device = |attachment: &Attachment| {
            let home = attachment.snapshot.as_ref().map(|s| &s.name);
            Some(DeviceStatus {
                pool: attachment.pool.clone(),
                device: attachment.device.name.clone(),
                home_name: IfName::to_string(home.unwrap_or(&attachment.device.interface)),
                state: state(attachment)?,
            })
        };
        let devices: Vec<_> = record.attachments.iter().filter_map(device).collect();
        self.status.show(StatusUpdate {
            claim: record.claim.clone(),
            devices,
            sandbox: report.sandbox.clone(),
            traceparent: report.traceparent.clone(),
        });
    }
}

/// A report that makes sense.
struct Parsed {
    uid: ClaimUid,
    pod: Option<PodRef>,
    sandbox: SandboxId,
    traceparent: Option<String>,
    event: Event,
}

enum Event {
    Attached(Vec<AttachedInterface>),
    Detached(Vec<(DeviceName, String)>),
    Failed { reason: Reason, message: String },
}

impl TryFrom<bus::Report> for Parsed {
    type Error = String;

    fn try_from(report: bus::Report) -> Result<Self, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let uid = report.claim_uid.parse::<ClaimUid>();
        let sandbox = report.sandbox_id.parse::<SandboxId>();
        let pod = report.pod.as_ref().map(PodRef::try_from).transpose();
        let event = match report.event.ok_or("no event")? {
            Reported::Attached(attached) => {
                let interfaces = attached.interfaces.iter().map(attached_interface);
                let interfaces: Result<Vec<_>, _> = interfaces.collect();
                Event::Attached(interfaces.map_err(|e| text(&e))?)
            }
            Reported::Detached(detached) => Event::Detached(quarantined(detached.quarantined)),
            Reported::Failed(failed) => Event::Failed {
                reason: Reason::parse(&failed.reason).unwrap_or(Reason::InterfaceAttachFailed),
                message: failed.message.chars().take(900).collect(),
            },
        };
        Ok(Self {
            uid: uid.map_err(|e| text(&e))?,
            pod: pod.map_err(|e| text(&e))?,
            sandbox: sandbox.map_err(|e| text(&e))?,
            traceparent: Some(report.traceparent).filter(|text| !text.is_empty()),
            event,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Break = fn(&mut bus::Report);

    #[test]
    fn a_report_without_an_event_or_with_odd_names_makes_no_sense() {
        let good = bus::Report {
            claim_uid: "c-1".into(),
            sandbox_id: "s1".into(),
            event: Some(Reported::Detached(bus::Detached::default())),
            ..bus::Report::default()
        };
        assert!(Parsed::try_from(good.clone()).is_ok());
        let breaks: [Break; 4] = [
            |r| r.claim_uid.clear(),
            |r| r.sandbox_id = "../x".into(),
            |r| r.event = None,
            |r| r.pod = Some(bus::PodRef::default()),
        ];
        for (index, break_it) in breaks.into_iter().enumerate() {
            let mut bad = good.clone();
            break_it(&mut bad);
            assert!(Parsed::try_from(bad).is_err(), "{index}");
        }
    }
}
