//! What dra-plugin has yet to learn: the newest report of each claim, kept until it is acknowledged.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use network_driver_common::bus::report_span;
use network_driver_common::model::{ClaimUid, InvalidDeviceName, PodRef, Record, SandboxId};
use network_driver_common::telemetry::{self, Side};
use network_driver_common::wire::{AttachedInterface, to_unix_nanos};
use network_driver_proto::bus;
use network_driver_proto::bus::report::Event;
use tokio::sync::Notify;
use tonic::Code;
use tracing::{Span, warn};

use crate::links::{Plight, Quarantined};

/// Claims with an unacknowledged report. A node has some dozen.
const MAX_WAITING: usize = 4096;

/// What happened to a claim in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happened {
    /// It was attached.
    Attached {
        /// Its interfaces as they are in the pod.
        interfaces: Vec<AttachedInterface>,
        /// How long that took.
        took: Duration,
    },
    /// It was detached.
    Detached {
        /// Devices that are not home as they were.
        quarantined: Vec<Quarantined>,
    },
    /// It could not be attached.
    Failed {
        /// Reason of the closed list.
        reason: &'static str,
        /// A sentence.
        message: String,
        /// Devices that the undo could not bring home as they were.
        quarantined: Vec<Quarantined>,
    },
    /// Its links are at home with its mark, and nobody knows of it.
    LeftBehind {
        /// The devices.
        quarantined: Vec<Quarantined>,
    },
}

/// The reports that wait for their acknowledgement.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// A std mutex: no await is held.
    state: Mutex<State>,
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    waiting: BTreeMap<u64, Waiting>,
    by_claim: HashMap<ClaimUid, u64>,
    /// Records that dra-plugin lacks, by the number of the report that gives them back. No later report makes up for one.
    given_back: BTreeMap<u64, Arc<Record>>,
}

/// A report that is not acknowledged.
#[derive(Debug)]
struct Waiting {
    report: bus::Report,
    /// The call that it is, until it is answered or cannot be.
    span: Span,
}

/// The span of a report that is part of a trace, such as that of a pod's start.
fn span(claim: &ClaimUid) -> Span {
    if telemetry::traceparent().is_none() {
        return Span::none();
    }
    report_span(Side::Client, claim.as_str())
}

/// The devices in quarantine that a report names.
fn quarantined(report: &bus::Report) -> &[bus::QuarantinedDevice] {
    match &report.event {
        Some(Event::Detached(detached)) => &detached.quarantined,
        Some(Event::Failed(failed)) => &failed.quarantined,
        Some(Event::LeftBehind(left)) => &left.quarantined,
        Some(Event::Attached(_) | Event::GivenBack(_)) | None => &[],
    }
}

/// Whether a report names all devices in quarantine that the older one names.
fn makes_up_for(report: &bus::Report, older: &bus::Report) -> bool {
    let devices = |report| quarantined(report).iter().map(|device| &device.device);
    let named: BTreeSet<_> = devices(report).collect();
    devices(older).all(|device| named.contains(device))
}

impl Reports {
    /// Adds a report in place of an older one of the same claim, unless that names more devices in quarantine: nobody else
    /// remembers them.
    pub(crate) fn add<'a>(
        &self,
        claim: &ClaimUid,
        pod: Option<&PodRef>,
        sandbox: impl Into<Option<&'a SandboxId>>,
        what: Happened,
    ) {
        let sandbox = sandbox.into();
        let span = span(claim);
        let mut state = self.state();
        state.last_id = state.last_id.saturating_add(1);
        let id = state.last_id;
        let report = bus::Report {
            id,
            traceparent: telemetry::traceparent_of(&span).unwrap_or_default(),
            claim_uid: claim.to_string(),
            pod: pod.map(Into::into),
            sandbox_id: sandbox.map(ToString::to_string).unwrap_or_default(),
            unix_nanos: to_unix_nanos(SystemTime::now()),
            event: Some(what.into()),
        };
        if let Some(older) = state.by_claim.insert(claim.clone(), id)
            && let Entry::Occupied(older) = state.waiting.entry(older)
            && makes_up_for(&report, &older.get().report)
        {
            older.remove();
        }
        state.waiting.insert(id, Waiting { report, span });
        if state.waiting.len() > MAX_WAITING {
            warn!("report dropped: too many are not acknowledged");
            if let Some((oldest, _)) = state.waiting.pop_first() {
                state.by_claim.retain(|_, newest| *newest != oldest);
            }
        }
        drop(state);
        self.added.notify_one();
    }

    /// Adds a record that dra-plugin lacks. It passes over one that it has by then.
    pub(crate) fn give_back(&self, record: Arc<Record>) {
        let mut state = self.state();
        state.last_id = state.last_id.saturating_add(1);
        let id = state.last_id;
        state.given_back.insert(id, record);
        drop(state);
        self.added.notify_one();
    }

    /// Gives the record of a claim back no more: it was unprepared.
    pub(crate) fn keep(&self, claim: &ClaimUid) {
        let mut state = self.state();
        state
            .given_back
            .retain(|_, record| record.claim.uid != *claim);
    }

    /// Gives no record back any more that was not acknowledged: a list begins anew.
    pub(crate) fn keep_all(&self) {
        self.state().given_back.clear();
    }

    /// Forgets a report that dra-plugin has taken.
    pub(crate) fn acknowledge(&self, id: u64) {
        let mut state = self.state();
        state.given_back.remove(&id);
        if let Some(Waiting { span, .. }) = state.waiting.remove(&id) {
            telemetry::answered(&span, Code::Ok);
            state.by_claim.retain(|_, newest| *newest != id);
        }
    }

    /// The oldest report after this one.
    pub(crate) fn next_after(&self, id: u64) -> Option<bus::Report> {
        let state = self.state();
        let from = id.saturating_add(1)..;
        let report = state.waiting.range(from.clone()).next();
        let record = state.given_back.range(from).next();
        match (report, record) {
            (Some((id, waiting)), record) if record.is_none_or(|(other, _)| id < other) => {
                Some(waiting.report.clone())
            }
            (_, record) => record.map(|(id, record)| giving_back(*id, record)),
        }
    }

    /// The reports after this one, oldest first.
    #[cfg(test)]
    pub(crate) fn after(&self, id: u64) -> Vec<bus::Report> {
        let first = self.next_after(id);
        std::iter::successors(first, |report| self.next_after(report.id)).collect()
    }

    /// Nobody hears the reports for now: the spans of those that wait end. They are sent again all the same.
    pub(crate) fn lost(&self) {
        for waiting in self.state().waiting.values_mut() {
            telemetry::answered(&waiting.span, Code::Unavailable);
            waiting.span = Span::none();
        }
    }

    /// Devices that dra-plugin has yet to hear are in quarantine.
    pub(crate) fn quarantined(&self) -> Vec<Quarantined> {
        let state = self.state();
        let named = state
            .waiting
            .values()
            .flat_map(|waiting| quarantined(&waiting.report));
        named
            .filter_map(|device| Quarantined::try_from(device).ok())
            .collect()
    }

    /// Whether something about the claim has yet to be acknowledged.
    pub(crate) fn is_waiting(&self, claim: &ClaimUid) -> bool {
        self.state().by_claim.contains_key(claim)
    }

    /// Makes a new session send everything that waits.
    pub(crate) fn send_again(&self) {
        self.added.notify_one();
    }

    /// Returns when a report was added since the last time this returned.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The report that gives a record back.
fn giving_back(id: u64, record: &Record) -> bus::Report {
    let given_back = bus::GivenBack {
        record: Some(record.into()),
    };
    bus::Report {
        id,
        claim_uid: record.claim.uid.to_string(),
        unix_nanos: to_unix_nanos(SystemTime::now()),
        event: Some(Event::GivenBack(given_back)),
        ..bus::Report::default()
    }
}

impl From<Happened> for Event {
    fn from(what: Happened) -> Self {
        match what {
            Happened::Attached { interfaces, took } => Self::Attached(bus::Attached {
                interfaces: interfaces.iter().map(Into::into).collect(),
                duration_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            }),
            Happened::Detached { quarantined } => {
                let quarantined = quarantined.iter().map(Into::into).collect();
                Self::Detached(bus::Detached { quarantined })
            }
            Happened::LeftBehind { quarantined } => {
                let quarantined = quarantined.iter().map(Into::into).collect();
                Self::LeftBehind(bus::LeftBehind { quarantined })
            }
            Happened::Failed {
                reason,
                message,
                quarantined,
            } => Self::Failed(bus::AttachFailed {
                reason: reason.to_owned(),
                message,
                quarantined: quarantined.iter().map(Into::into).collect(),
            }),
        }
    }
}

impl TryFrom<&bus::QuarantinedDevice> for Quarantined {
    type Error = InvalidDeviceName;

    /// Of one that is not away any more.
    fn try_from(message: &bus::QuarantinedDevice) -> Result<Self, InvalidDeviceName> {
        Ok(Self {
            device: message.device.parse()?,
            reason: message.reason.clone(),
            plight: if message.lost {
                Plight::Lost
            } else {
                Plight::Bent
            },
        })
    }
}

impl From<&Quarantined> for bus::QuarantinedDevice {
    fn from(quarantined: &Quarantined) -> Self {
        Self {
            device: quarantined.device.to_string(),
            reason: quarantined.reason.clone(),
            lost: quarantined.plight == Plight::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::claim;

    fn add(reports: &Reports, uid: &str, message: &str) {
        let what = Happened::Failed {
            reason: "InterfaceAttachFailed",
            message: message.into(),
            quarantined: Vec::new(),
        };
        reports.add(&claim(uid), None, &"s".parse::<SandboxId>().unwrap(), what);
    }

    fn claims(reports: &[bus::Report]) -> Vec<&str> {
        reports
            .iter()
            .map(|report| report.claim_uid.as_str())
            .collect()
    }

    #[test]
    fn of_several_reports_about_a_claim_the_newest_is_kept_until_acknowledged() {
        let reports = Reports::default();
        add(&reports, "a", "1");
        add(&reports, "b", "2");
        add(&reports, "a", "3");
        assert_eq!(claims(&reports.after(0)), ["b", "a"]);
        assert_eq!(
            claims(&reports.after(2)),
            ["a"],
            "only what was not sent yet"
        );
        reports.acknowledge(1);
        assert_eq!(
            claims(&reports.after(0)),
            ["b", "a"],
            "an old acknowledgement means nothing"
        );
        reports.acknowledge(3);
        assert_eq!(claims(&reports.after(0)), ["b"]);
    }

    #[test]
    fn a_report_of_quarantine_outlives_newer_ones_until_it_is_acknowledged() {
        let reports = Reports::default();
        let quarantined = vec![Quarantined {
            device: "eth1".parse().unwrap(),
            reason: "bent".into(),
            plight: Plight::Bent,
        }];
        let sandbox = "s".parse::<SandboxId>().unwrap();
        let what = Happened::Detached { quarantined };
        reports.add(&claim("a"), None, &sandbox, what);
        add(&reports, "a", "2");
        add(&reports, "a", "3");
        let ids = |reports: &Reports| reports.after(0).iter().map(|r| r.id).collect::<Vec<_>>();
        assert_eq!(ids(&reports), [1, 3]);
        reports.acknowledge(1);
        assert_eq!(ids(&reports), [3]);
        assert!(reports.is_waiting(&claim("a")));
    }

    #[test]
    fn the_number_of_waiting_reports_is_bounded() {
        let reports = Reports::default();
        for index in 0..MAX_WAITING + 10 {
            add(&reports, &format!("c{index}"), "x");
        }
        assert_eq!(reports.after(0).len(), MAX_WAITING);
    }
}
