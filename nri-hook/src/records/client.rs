//! The session with dra-plugin: records and orders come in, readiness, answers and reports go out. Lost, it is opened
//! again for ever; the hook works on with what it holds.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use network_driver_common::bus::{self, Backoff, Component};
use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimUid, Protected, Record, SandboxId};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus as wire;
use network_driver_proto::bus::claims_client::ClaimsClient;
use network_driver_proto::bus::claims_session_request::Message as Out;
use network_driver_proto::bus::claims_session_response::Message as In;
use network_driver_proto::bus::report::Event;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tracing::{debug, info, warn};

use super::Happened;
use crate::chain;
use crate::confirmation::Confirmation;
use crate::devices::Devices;
use crate::hook::Hook;
use crate::links::Quarantined;
use crate::nri::Phase;
use crate::sandbox::HoldingState;

/// Messages that wait to be sent.
const QUEUE: usize = 64;

/// Orders being carried out at one time; more wait in the connection.
const MAX_ORDERS: usize = 64;

/// Records of one list, and devices in quarantine. A node has some dozen.
const MAX_RECORDS: usize = 16_384;

/// Longest message that is read: a page of 50 records and as many devices in quarantine.
const MAX_MESSAGE: usize = 64 << 20;

/// Waits between sessions.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Keeps the session with dra-plugin.
#[derive(Debug)]
pub(crate) struct Client<D> {
    /// A connection to dra-plugin.
    pub(crate) channel: Channel,
    /// Who works with the records.
    pub(crate) hook: Arc<Hook<D>>,
    /// How far we are with the runtime.
    pub(crate) phase: watch::Receiver<Phase>,
    /// Runs the work on orders; it outlives a session, so the owner waits for it at the end.
    pub(crate) work: TaskTracker,
    /// Set once a whole list of records has come.
    pub(crate) received: watch::Sender<bool>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("session with dra-plugin: {message} ({code:?})")]
    Status {
        /// What went wrong.
        code: Code,
        /// In the words of whoever noticed.
        message: String,
    },
    #[error("dra-plugin ended the session")]
    Ended,
    #[error("dra-plugin's message cannot be read")]
    Invalid(#[source] InvalidMessage),
    #[error("dra-plugin sent more than {MAX_RECORDS} records or devices in quarantine")]
    TooManyRecords,
}

impl From<Status> for SessionError {
    fn from(status: Status) -> Self {
        // A status prints all it has, its source too.
        Self::Status {
            code: status.code(),
            message: status.message().to_owned(),
        }
    }
}

impl<D: Devices> Client<D> {
    /// Opens the session, and again whenever it is lost, until the token is cancelled.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        shutdown.run_until_cancelled(self.forever()).await;
        Ok(())
    }

    async fn forever(&self) {
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        let mut logged = String::new();
        loop {
            let mut session = Session::new(self);
            let ended = session.run().await;
            self.hook.metrics.bus_connected(false);
            self.hook.reports.lost();
            if session.synced {
                backoff.reset();
                logged.clear();
            }
            let reason = match ended {
                Ok(never) => match never {},
                Err(error) => chain(&error),
            };
            if reason == logged {
                debug!(err = reason, "still without dra-plugin");
            } else {
                warn!(
                    err = reason,
                    "without dra-plugin: working on with the records held"
                );
                logged = reason;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

/// One session.
struct Session<'a, D> {
    client: &'a Client<D>,
    phase: watch::Receiver<Phase>,
    confirmed: watch::Receiver<bool>,
    /// Pages of a list that is still coming in.
    pages: Vec<Arc<Record>>,
    /// Devices in quarantine, of the same pages.
    quarantined: Vec<Quarantined>,
    /// Whether a whole list has come.
    synced: bool,
    /// What dra-plugin was told last.
    readiness: Option<wire::Readiness>,
    /// Orders being carried out. They end with the session: dra-plugin gives them again.
    orders: JoinSet<wire::OrderResult>,
    /// Id of the newest report sent.
    reported: u64,
    /// Number of the newest change of a device's health sent.
    health: u64,
}

impl<'a, D: Devices> Session<'a, D> {
    fn new(client: &'a Client<D>) -> Self {
        Self {
            client,
            phase: client.phase.clone(),
            confirmed: client.hook.confirmation.subscribe(),
            pages: Vec::new(),
            quarantined: Vec::new(),
            synced: false,
            readiness: None,
            orders: JoinSet::new(),
            reported: 0,
            health: 0,
        }
    }

    async fn run(&mut self) -> Result<Infallible, SessionError> {
        let (out, queue) = mpsc::channel(QUEUE);
        send(&out, Out::Hello(bus::hello(Component::NriHook))).await?;
        let client = ClaimsClient::new(self.client.channel.clone());
        let session = client
            .max_decoding_message_size(MAX_MESSAGE)
            .session(ReceiverStream::new(queue))
            .await;
        let mut incoming = session?.into_inner();
        self.phase.mark_changed();
        loop {
            tokio::select! {
                message = next(&mut incoming), if self.orders.len() < MAX_ORDERS => {
                    self.take(message?)?;
                }
                Ok(()) = self.phase.changed() => {
                    self.tell_readiness(&out).await?;
                }
                Ok(()) = self.confirmed.changed() => {
                    self.tell_readiness(&out).await?;
                }
                Some(done) = self.orders.join_next() => {
                    // A panic leaves the order unanswered; dra-plugin gives it again.
                    if let Ok(result) = done {
                        send(&out, Out::Result(result)).await?;
                    }
                }
                () = self.client.hook.reports.added(), if self.synced => {
                    self.report(&out).await?;
                    self.tell_health(&out).await?;
                }
                () = self.client.hook.health.changed(), if self.synced => {
                    self.tell_health(&out).await?;
                }
            }
        }
    }

    /// Ready only behind the reports: whoever hears it knows of everything that was in a pod.
    async fn tell_readiness(&mut self, out: &mpsc::Sender<Sent>) -> Result<(), SessionError> {
        let confirmation = &self.client.hook.confirmation;
        let mut readiness = readiness(&self.phase.borrow_and_update(), confirmation);
        if self.synced {
            self.report(out).await?;
        } else if readiness.ready {
            readiness = not_ready("the hook has not received the records of dra-plugin yet");
        }
        if self.readiness.as_ref() == Some(&readiness) {
            return Ok(());
        }
        self.readiness = Some(readiness.clone());
        send(out, Out::Readiness(readiness)).await
    }

    fn take(&mut self, message: wire::ClaimsSessionResponse) -> Result<(), SessionError> {
        let hook = &self.client.hook;
        match message.message {
            Some(In::Hello(hello)) => {
                info!(
                    peer = hello.component,
                    version = hello.version,
                    "session with dra-plugin"
                );
                hook.metrics.bus_connected(true);
            }
            Some(In::Records(page)) => self.page(&page)?,
            Some(In::Order(order)) => {
                let (id, hook) = (order.id, Arc::clone(hook));
                // In a task of its own: an order that is begun is ended, whatever becomes of the session. The runtime has
                // one thread, so tasks begin as they are spawned and no order overtakes an earlier one of its claim.
                let obeyed = self
                    .client
                    .work
                    .spawn(async move { hook.obey(order).await });
                self.orders.spawn(async move {
                    let result = match obeyed.await {
                        Ok(answer) => Some(answer),
                        Err(panicked) => {
                            warn!(err = %panicked, "order of dra-plugin panicked");
                            None
                        }
                    };
                    wire::OrderResult { id, result }
                });
            }
            Some(In::ReportAck(ack)) => hook.reports.acknowledge(ack.id),
            Some(In::Protected(protected)) => {
                let protected = Protected::try_from(&protected).map_err(SessionError::Invalid)?;
                hook.records.protect(protected);
            }
            None => debug!("dra-plugin sent a message of a kind that is not known"),
        }
        Ok(())
    }

    /// Takes a page of the list. A record that cannot be read is left out: it must not cost the others theirs.
    fn page(&mut self, page: &wire::Records) -> Result<(), SessionError> {
        for message in &page.records {
            match Record::try_from(message) {
                Ok(record) => self.pages.push(self.client.hook.records.known(record)),
                Err(error) => warn!(claimUID = message.claim_uid, %error, "record cannot be read"),
            }
        }
        for message in &page.quarantined {
            match Quarantined::try_from(message) {
                Ok(device) => self.quarantined.push(device),
                Err(error) => warn!(device = message.device, %error, "quarantine cannot be read"),
            }
        }
        if self.pages.len() > MAX_RECORDS || self.quarantined.len() > MAX_RECORDS {
            return Err(SessionError::TooManyRecords);
        }
        if page.synced {
            let list = List {
                records: std::mem::take(&mut self.pages),
                quarantined: std::mem::take(&mut self.quarantined),
                incomplete: page.incomplete,
            };
            info!(
                records = list.records.len(),
                incomplete = list.incomplete,
                "records received"
            );
            self.client.hook.take_records(list);
            self.synced = true;
            self.phase.mark_changed();
            self.client.received.send_replace(true);
            // What was not acknowledged in the last session is sent again.
            self.client.hook.reports.send_again();
            self.client.hook.health.send_again();
        }
        Ok(())
    }

    async fn report(&mut self, out: &mpsc::Sender<Sent>) -> Result<(), SessionError> {
        while let Some(report) = self.client.hook.reports.next_after(self.reported) {
            self.reported = report.id;
            if let Some(Event::Attached(_)) = &report.event {
                fail::late(Point::AttachAnswered).await;
            }
            send(out, Out::Report(report)).await?;
        }
        Ok(())
    }

    /// Behind the reports: health is told of devices that are known to be in a pod.
    async fn tell_health(&mut self, out: &mpsc::Sender<Sent>) -> Result<(), SessionError> {
        let (newest, news) = self.client.hook.health.after(self.health);
        self.health = newest;
        for health in news {
            send(out, Out::Health(health)).await?;
        }
        Ok(())
    }
}

type Sent = wire::ClaimsSessionRequest;

async fn send(out: &mpsc::Sender<Sent>, message: Out) -> Result<(), SessionError> {
    let message = Sent {
        message: Some(message),
    };
    out.send(message).await.map_err(|_| SessionError::Ended)
}

async fn next(
    incoming: &mut Streaming<wire::ClaimsSessionResponse>,
) -> Result<wire::ClaimsSessionResponse, SessionError> {
    incoming.message().await?.ok_or(SessionError::Ended)
}

fn not_ready(reason: &str) -> wire::Readiness {
    wire::Readiness {
        ready: false,
        reason: reason.to_owned(),
        runtime: String::new(),
    }
}

fn readiness(phase: &Phase, confirmation: &Confirmation) -> wire::Readiness {
    match phase {
        Phase::Synchronised { runtime } => match confirmation.missing(runtime) {
            Some(missing) => not_ready(&missing),
            None => wire::Readiness {
                ready: true,
                reason: String::new(),
                runtime: runtime.clone(),
            },
        },
        Phase::Joining => not_ready("the hook is not yet synchronised with the container runtime"),
        Phase::Away { reason } => not_ready(reason),
    }
}

/// What dra-plugin knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    /// All its records.
    pub(crate) records: Vec<Arc<Record>>,
    /// All devices in quarantine.
    pub(crate) quarantined: Vec<Quarantined>,
    /// Whether it has lost records.
    pub(crate) incomplete: bool,
}

impl<D: Devices> Hook<D> {
    /// Takes dra-plugin's list of records in place of those held. What it lacks is given back: of a claim whose devices are
    /// in a pod, for they stay there; and whatever was durable, if it has lost records. Otherwise what it lacks is unprepared.
    pub(crate) fn take_records(&self, list: List) {
        let List {
            records,
            quarantined,
            incomplete,
        } = list;
        let holdings: HashMap<_, _> = self.sandboxes.holdings().into_iter().collect();
        // Also one that lacks a device: the others are in the pod.
        let in_pod = |claim: &ClaimUid| {
            let holding = holdings.get(claim);
            holding.is_some_and(|holding| holding.state != HoldingState::Leaving)
        };
        let lacking = self
            .records
            .replace(records, |claim| incomplete || in_pod(claim));
        self.reports.keep_all();
        for record in &lacking {
            let holding = holdings.get(&record.claim.uid);
            self.give_back(record, holding.map(|holding| &holding.sandbox));
        }
        let lacking: HashSet<_> = lacking.iter().map(|record| &record.claim.uid).collect();
        for (claim, holding) in holdings
            .iter()
            .filter(|(claim, _)| !lacking.contains(claim))
        {
            let Some(record) = self.records.committed(claim) else {
                continue;
            };
            if holding.state == HoldingState::Attached
                && record.sandbox.as_ref() != Some(&holding.sandbox)
                && !self.reports.is_waiting(claim)
            {
                let what = Happened::Attached {
                    interfaces: holding.interfaces.clone(),
                    took: Duration::ZERO,
                };
                self.reports
                    .add(claim, holding.pod.as_ref(), &holding.sandbox, what);
            }
        }
        // Before anything is attached: nothing has been awaited.
        self.records.quarantine_listed(quarantined);
        self.quarantine_what_is_not_told();
        self.catch_up_soon();
    }

    /// dra-plugin may have prepared a claim before it hears that a device of it is in quarantine.
    pub(crate) fn quarantine_what_is_not_told(&self) {
        let devices = self.reports.quarantined();
        if !devices.is_empty() {
            self.records.quarantine_devices(&devices);
        }
    }

    /// Gives dra-plugin a record that it lacks, with the sandbox that has the devices.
    pub(crate) fn give_back(&self, record: &Arc<Record>, sandbox: Option<&SandboxId>) {
        let mut record = Arc::clone(record);
        if record.sandbox.as_ref() != sandbox {
            Arc::make_mut(&mut record).sandbox = sandbox.cloned();
        }
        self.reports.give_back(record);
    }
}
