//! A hook that does what the test says.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use network_driver_common::bus::{self, Component};
use network_driver_proto::bus::claims_client::ClaimsClient;
use network_driver_proto::bus::claims_session_request::Message as Said;
use network_driver_proto::bus::claims_session_response::Message as Heard;
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Outcome;
use network_driver_proto::bus::{
    Checked, ClaimsSessionRequest, DeviceHealth, Done, Order, OrderResult, PodRef, Protected,
    QuarantinedDevice, Readiness, Record, RefusalClass, Refused, Released, Report,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::fixture::snapshot;

/// Orders that a fake answers only when told to.
type Held = Vec<Order>;

/// A session with dra-plugin. Dropping it ends the session.
pub(crate) struct FakeHook {
    say: mpsc::UnboundedSender<ClaimsSessionRequest>,
    shared: Arc<Mutex<Shared>>,
    reading: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
pub(crate) struct Shared {
    /// Records of the list, in order.
    pub(crate) records: Vec<Record>,
    /// Devices of theirs that are in quarantine.
    pub(crate) quarantined: Vec<QuarantinedDevice>,
    pub(crate) synced: bool,
    /// Orders as `verb uid`, in order.
    pub(crate) orders: Vec<String>,
    /// Trace contexts of the orders.
    pub(crate) traceparents: Vec<String>,
    /// Records as they were committed.
    pub(crate) commits: Vec<Record>,
    pub(crate) acks: Vec<u64>,
    pub(crate) protected: Option<Protected>,
    /// Verbs whose orders are not answered.
    pub(crate) hold: BTreeSet<&'static str>,
    pub(crate) held: Held,
    /// Refuses all checks with this reason and sentence.
    pub(crate) refuse: Option<(String, String)>,
    pub(crate) released: Released,
    pub(crate) ended: bool,
}

impl FakeHook {
    pub(crate) async fn connect(dir: &Path) -> Self {
        let (say, requests) = mpsc::unbounded_channel();
        let hello = Said::Hello(bus::hello(Component::NriHook));
        say.send(message(hello)).unwrap();
        let mut client = ClaimsClient::new(bus::channel(dir, Component::DraPlugin));
        let requests = UnboundedReceiverStream::new(requests);
        let response = client.session(requests).await.unwrap();
        let mut heard = response.into_inner();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (state, answer) = (Arc::clone(&shared), say.clone());
        let reading = tokio::spawn(async move {
            while let Ok(Some(response)) = heard.message().await {
                let Some(response) = response.message else {
                    continue;
                };
                let said = hear(&mut state.lock().unwrap(), response);
                if let Some(said) = said {
                    drop(answer.send(message(said)));
                }
            }
            state.lock().unwrap().ended = true;
        });
        Self {
            say,
            shared,
            reading,
        }
    }

    pub(crate) fn ready(&self, ready: bool, reason: &str) {
        self.say(Said::Readiness(Readiness {
            ready,
            reason: reason.to_owned(),
            runtime: "fake v1".to_owned(),
        }));
    }

    pub(crate) fn report(&self, report: Report) {
        self.say(Said::Report(report));
    }

    /// Says how a device of claim c-1 is: healthy, or why not and since which second.
    pub(crate) fn health(&self, device: &str, fault: Option<(&str, i64)>) {
        let (reason, since) = fault.unwrap_or_default();
        self.say(Said::Health(DeviceHealth {
            claim_uid: "c-1".into(),
            device: device.into(),
            healthy: fault.is_none(),
            reason: reason.into(),
            message: format!("device {device}: {reason}"),
            since_unix_nanos: since.saturating_mul(1_000_000_000),
            pod: Some(PodRef {
                namespace: "default".into(),
                name: "pod".into(),
                uid: "p-c-1".into(),
            }),
        }));
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// Answers the orders that were held.
    pub(crate) fn let_go(&self) {
        let mut state = self.state();
        state.hold.clear();
        let held = std::mem::take(&mut state.held);
        let said: Vec<_> = held.iter().map(|order| carry_out(&state, order)).collect();
        drop(state);
        for said in said {
            self.say(said);
        }
    }

    fn say(&self, said: Said) {
        drop(self.say.send(message(said)));
    }
}

impl Drop for FakeHook {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn message(said: Said) -> ClaimsSessionRequest {
    ClaimsSessionRequest {
        message: Some(said),
    }
}

fn hear(state: &mut Shared, heard: Heard) -> Option<Said> {
    match heard {
        Heard::Hello(_) => None,
        Heard::Records(page) => {
            state.records.extend(page.records);
            state.quarantined.extend(page.quarantined);
            state.synced |= page.synced;
            None
        }
        Heard::ReportAck(ack) => {
            state.acks.push(ack.id);
            None
        }
        Heard::Protected(protected) => {
            state.protected = Some(protected);
            None
        }
        Heard::Order(order) => {
            let (verb, uid) = match order.order.as_ref().unwrap() {
                Kind::Check(record) => ("check", record.claim_uid.clone()),
                Kind::Commit(record) => {
                    state.commits.push(record.clone());
                    ("commit", record.claim_uid.clone())
                }
                Kind::Release(claim) => ("release", claim.claim_uid.clone()),
                Kind::Abandon(claim) => ("abandon", claim.claim_uid.clone()),
            };
            state.orders.push(format!("{verb} {uid}"));
            state.traceparents.push(order.traceparent.clone());
            if state.hold.contains(verb) {
                state.held.push(order);
                return None;
            }
            Some(carry_out(state, &order))
        }
    }
}

fn carry_out(state: &Shared, order: &Order) -> Said {
    let result = match (order.order.as_ref().unwrap(), &state.refuse) {
        (Kind::Check(_), Some((reason, message))) => Outcome::Refused(Refused {
            class: RefusalClass::User.into(),
            reason: reason.clone(),
            message: message.clone(),
        }),
        (Kind::Check(record), None) => Outcome::Checked(Checked {
            snapshots: record
                .attachments
                .iter()
                .map(|a| (&snapshot(&a.device.as_ref().unwrap().name)).into())
                .collect(),
        }),
        (Kind::Release(_), _) => Outcome::Released(state.released.clone()),
        (Kind::Commit(_) | Kind::Abandon(_), _) => Outcome::Done(Done {}),
    };
    Said::Result(OrderResult {
        id: order.id,
        result: Some(result),
    })
}
