//! What the hook reports: what happened to a claim in a sandbox. It is kept in the record, told to people as events,
//! and shown in the claim's `status.devices`.

use std::time::{Duration, SystemTime};

use network_driver_common::bus::report_span;
use network_driver_common::error::sentence;
use network_driver_common::model::{Attachment, ClaimUid, PodRef, Record, SandboxId};
use network_driver_common::telemetry::{self, LinkTo, Side};
use network_driver_common::wire::{AttachedInterface, attached_interface, from_unix_nanos};
use network_driver_kubernetes::EventKind;
use network_driver_proto::bus;
use network_driver_proto::bus::report::Event as Reported;
use tokio::time::Instant;
use tonic::Code;
use tracing::{Instrument, Span, error, info, warn};

use crate::driver::Driver;
use crate::quarantine::{Devices, parse};
use crate::reason::Reason;
use crate::status::{DeviceState, DeviceStatus, StatusUpdate};
use crate::store::BookError;

/// How long an unprepare may take to follow a detach before the claim's pods are read again.
const UNPREPARE_FOLLOWS: Duration = Duration::from_secs(1);

impl Driver {
    /// Takes a report in and returns whether it may be acknowledged: everything of it is on disk, or it makes no sense
    /// and never will.
    pub(crate) async fn report(&self, report: bus::Report) -> bool {
        let span = span(&report);
        let noted = span.clone();
        let handled = async {
            match &report.event {
                Some(Reported::LeftBehind(found)) => {
                    return self.left_behind(&report.claim_uid, found.clone()).await;
                }
                Some(Reported::GivenBack(lost)) => return self.put_back(lost).await,
                _ => {}
            }
            let report = match Parsed::try_from(report) {
                Ok(report) => report,
                Err(reason) => {
                    telemetry::answered(&noted, Code::InvalidArgument);
                    error!(err = reason, "the hook's report makes no sense");
                    return true;
                }
            };
            match self.take_in(&report).await {
                Ok(()) => {
                    telemetry::answered(&noted, Code::Ok);
                    true
                }
                Err(failed) => {
                    telemetry::answered(&noted, Code::Unavailable);
                    error!(claimUID = %report.uid, err = sentence(&failed), "report not kept; the hook will repeat it");
                    false
                }
            }
        };
        handled.instrument(span).await
    }

    /// Quarantines devices whose links are at home with the mark of a claim that nobody knows, but for those that are in
    /// quarantine already: what is known of them says more, unless it is that they are lost.
    async fn left_behind(&self, uid: &str, found: bus::LeftBehind) -> bool {
        let Ok(uid) = uid.parse::<ClaimUid>() else {
            error!(uid, "the hook's report names an impossible claim");
            return true;
        };
        let mut devices = parse(found.quarantined);
        devices.retain(|unwell| {
            let known = self.book.quarantine_of(&unwell.device);
            known.is_none_or(|known| known.lost && !unwell.lost)
        });
        if devices.is_empty() {
            return true;
        }
        match self.book.quarantine(&uid, devices.clone()).await {
            Ok(()) => {
                self.tell_quarantined(&devices);
                true
            }
            Err(failed) => {
                error!(claimUID = %uid, err = sentence(&failed), "report not kept; the hook will repeat it");
                false
            }
        }
    }

    async fn take_in(&self, report: &Parsed) -> Result<(), BookError> {
        match &report.event {
            Event::Attached(interfaces) => self.attached(report, interfaces).await,
            Event::Detached(quarantined) => self.detached(report, quarantined).await,
            Event::Failed(failed) => self.failed(report, failed).await,
        }
    }

    /// Notes that the database has all records again, once the hook has given back what it holds. Should that fail, the hook
    /// is asked again after the next start.
    pub(crate) async fn note_whole(&self) {
        if !self.knows_all() {
            return;
        }
        if let Err(failed) = self.book.note_whole().await {
            error!(
                err = sentence(&failed),
                "not kept that all lost records are back"
            );
        }
    }

    /// Keeps a record again that the hook still has and the database has lost.
    async fn put_back(&self, lost: &bus::GivenBack) -> bool {
        let record = lost.record.as_ref().map(Record::try_from).transpose();
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                error!(err = %error, "the hook gives back a record that makes no sense");
                return true;
            }
        };
        let lacking = |record: &Record| self.book.record(&record.claim.uid).is_none();
        let Some(record) = record.filter(lacking) else {
            return true;
        };
        let claim = record.claim.clone();
        match self.book.put_back(record).await {
            Ok(()) => {
                warn!(claim = %claim, claimUID = %claim.uid, "record put back from what the hook holds");
                let note = format!(
                    "the record of claim {claim} was lost and is put back from what nri-hook holds"
                );
                let (kind, word) = (EventKind::Warning, Reason::StateRebuilt);
                self.events.node(kind, word, note);
                true
            }
            // Nothing can be done for it here; what is in a pod comes home when its sandbox ends.
            Err(BookError::DeviceInUse { device, holder }) => {
                error!(claim = %claim, %device, %holder, "record not put back: another claim has its device");
                true
            }
            Err(failed) => {
                error!(claim = %claim, err = sentence(&failed), "record not put back; the hook will give it again");
                false
            }
        }
    }

    async fn attached(
        &self,
        report: &Parsed,
        interfaces: &[AttachedInterface],
    ) -> Result<(), BookError> {
        let sandbox = report.sandbox.clone();
        let before = self.book.record(&report.uid);
        let update = |record: &mut Record| record.sandbox = Some(sandbox);
        let Some(record) = self.book.update(&report.uid, update).await? else {
            warn!(claimUID = %report.uid, sandbox = %report.sandbox, "the hook holds a claim that is not prepared");
            return Ok(());
        };
        if before.is_none_or(|before| before.sandbox != record.sandbox) {
            // What was known is of another sandbox.
            self.health.forget(&record);
        }
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

    async fn detached(&self, report: &Parsed, quarantined: &Devices) -> Result<(), BookError> {
        let sandbox = report.sandbox.clone();
        // A late report of an earlier sandbox must not hide that another one holds the devices.
        let update = move |record: &mut Record| {
            if record.sandbox.as_ref() == Some(&sandbox) {
                record.sandbox = None;
            }
        };
        self.quarantine(report, quarantined).await?;
        let record = self.book.update(&report.uid, update).await?;
        let Some(record) = record else { return Ok(()) };
        if record.sandbox.is_none() {
            self.health.forget(&record);
        }
        info!(claim = %record.claim, claimUID = %report.uid, sandbox = %report.sandbox, "claim detached");
        let note = format!("took back the interfaces of claim {}", record.claim.name);
        self.pod_event(report, EventKind::Normal, Reason::InterfaceReturned, note);
        if !quarantined.is_empty() {
            self.show(&record, report, |attachment| {
                state_of(quarantined, attachment)
            });
        }
        self.refresher.ask(&report.uid, UNPREPARE_FOLLOWS);
        Ok(())
    }

    /// Keeps that devices are quarantined, and tells it once.
    async fn quarantine(&self, report: &Parsed, devices: &Devices) -> Result<(), BookError> {
        let news = self.news(devices.clone());
        if !news.is_empty() {
            self.book.quarantine(&report.uid, news.clone()).await?;
            self.tell_quarantined(&news);
        }
        Ok(())
    }

    async fn failed(&self, report: &Parsed, failed: &Failed) -> Result<(), BookError> {
        let Failed {
            reason,
            message,
            quarantined,
        } = failed;
        let (reason, word) = (*reason, reason.as_str());
        self.quarantine(report, quarantined).await?;
        warn!(claimUID = %report.uid, sandbox = %report.sandbox, reason = word, err = message, "claim not attached");
        self.pod_event(report, EventKind::Warning, reason, message.clone());
        let Some(record) = self.book.record(&report.uid) else {
            return Ok(());
        };
        // Another pod of the claim may hold the devices: then they are well, and the claim's status shows that.
        if record.sandbox.is_none() {
            self.show(&record, report, |attachment| {
                let failed = || DeviceState::Failed {
                    reason,
                    message: message.clone(),
                };
                state_of(quarantined, attachment).or_else(|| Some(failed()))
            });
        }
        self.refresher.ask(&report.uid, Duration::ZERO);
        Ok(())
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
            Some(DeviceStatus {
                health: self.health.of(&attachment.device.name),
                ..DeviceStatus::of(attachment, state(attachment)?)
            })
        };
        let devices: Vec<_> = record.attachments.iter().filter_map(device).collect();
        self.status.show(StatusUpdate {
            claim: record.claim.clone(),
            devices,
            sandbox: report.sandbox.clone(),
            traceparent: telemetry::traceparent().or_else(|| report.traceparent.clone()),
            since: Some(Instant::now()),
        });
    }
}

/// The span of a report: part of the trace of what is reported, or linked to it when the report comes late.
fn span(report: &bus::Report) -> Span {
    let span = report_span(Side::Server, &report.claim_uid);
    telemetry::set(&span, "nri.sandbox.id", report.sandbox_id.clone());
    let age = SystemTime::now().duration_since(from_unix_nanos(report.unix_nanos));
    let traceparent = Some(report.traceparent.as_str()).filter(|text| !text.is_empty());
    telemetry::follow(&span, LinkTo::Attach, traceparent, age.unwrap_or_default());
    span
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
    Detached(Devices),
    Failed(Failed),
}

struct Failed {
    reason: Reason,
    message: String,
    quarantined: Devices,
}

/// What is shown of a device, if it is one of those in quarantine.
fn state_of(quarantined: &Devices, attachment: &Attachment) -> Option<DeviceState> {
    let device = &attachment.device.name;
    let found = quarantined.iter().find(|unwell| unwell.device == *device);
    found.map(|unwell| DeviceState::Quarantined(unwell.reason.clone()))
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
            Reported::Detached(detached) => Event::Detached(parse(detached.quarantined)),
            Reported::LeftBehind(_) | Reported::GivenBack(_) => {
                return Err("a report of no sandbox".to_owned());
            }
            Reported::Failed(failed) => Event::Failed(Failed {
                reason: Reason::parse(&failed.reason).unwrap_or(Reason::InterfaceAttachFailed),
                message: failed.message.chars().take(900).collect(),
                quarantined: parse(failed.quarantined),
            }),
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
mod fuzzing;
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
