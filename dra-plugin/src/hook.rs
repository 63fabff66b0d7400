//! The hook as the rest of the daemon sees it: who gives orders to it, and whether it can take any.
//!
//! One session at a time: a newer one takes over, and the orders of the older one fail as lost. Orders are idempotent,
//! so whoever lost one gives it again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network_driver_common::bus::order_span;
use network_driver_common::health::Part;
use network_driver_common::model::{ClaimUid, Record, Snapshot};
use network_driver_common::telemetry::{self, Side};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus::claims_session_response::Message;
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Outcome;
use network_driver_proto::bus::{
    ClaimRef, ClaimsSessionResponse, Order, OrderResult, QuarantinedDevice, Readiness, Refused,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tracing::{Instrument, info, warn};

use crate::metrics::Metrics;
use crate::reason::Reason;

/// Deadlines of the orders (claims.proto).
const CHECK: Duration = Duration::from_secs(10);
const COMMIT: Duration = Duration::from_secs(10);
const RELEASE: Duration = Duration::from_secs(30);
/// Messages that may wait for the hook to read them.
const QUEUE: usize = 256;

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OrderError {
    /// No session, or the runtime does not call the hook.
    #[error("hook is not connected to the container runtime on node {node}: {reason}; will retry")]
    NotReady {
        /// This node.
        node: String,
        /// What is missing.
        reason: String,
    },
    /// The session ended before the answer.
    #[error("the connection to the hook on node {node} was lost; will retry")]
    Lost {
        /// This node.
        node: String,
    },
    /// No answer in time.
    #[error("the hook on node {node} did not answer within {} s; will retry", .after.as_secs())]
    TimedOut {
        /// This node.
        node: String,
        /// How long we waited.
        after: Duration,
    },
    /// The hook said no.
    #[error("{message}")]
    Refused {
        /// Its reason; `None` for one that is not of our list.
        reason: Option<Reason>,
        /// Its sentence.
        message: String,
    },
    /// The hook answered something else than what was asked.
    #[error("the hook's answer makes no sense: {0}")]
    Answer(String),
}

impl OrderError {
    /// As gRPC would say it.
    fn code(&self) -> Code {
        match self {
            Self::NotReady { .. } | Self::Lost { .. } => Code::Unavailable,
            Self::TimedOut { .. } => Code::DeadlineExceeded,
            Self::Refused { .. } => Code::FailedPrecondition,
            Self::Answer(_) => Code::Internal,
        }
    }
}

/// The hook of this node.
#[derive(Debug)]
pub(crate) struct Hook {
    node: String,
    metrics: Metrics,
    part: Part,
    /// A std mutex: held for a map access, never over an await.
    state: Mutex<State>,
    /// Whether all that is in pods is known: no record was lost, or the hook has reported it in some session.
    told: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the newest session.
    generation: u64,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    messages: mpsc::Sender<ClaimsSessionResponse>,
    pending: HashMap<u64, oneshot::Sender<Outcome>>,
    next_order: u64,
    readiness: Result<(), String>,
    end: CancellationToken,
}

/// A session that has just begun.
#[derive(Debug)]
pub(crate) struct OpenSession {
    /// Its number: later sessions have greater ones.
    pub generation: u64,
    /// What the session has to send, after the records.
    pub queue: mpsc::Receiver<ClaimsSessionResponse>,
    /// To acknowledge reports.
    pub messages: mpsc::Sender<ClaimsSessionResponse>,
    /// Cancelled when a newer session takes over.
    pub end: CancellationToken,
}

/// What the hook answered to a release.
#[derive(Debug)]
pub(crate) struct Release {
    /// Devices that could not be brought home as they were.
    pub quarantined: Vec<QuarantinedDevice>,
    /// The session that answered.
    pub generation: u64,
}

impl Hook {
    /// No session yet. Unless records were lost (`is_whole`), there is nothing that the hook alone could tell.
    pub(crate) fn new(node: String, is_whole: bool, metrics: Metrics, part: Part) -> Self {
        part.not_ready(NO_SESSION);
        Self {
            node,
            metrics,
            part,
            state: Mutex::default(),
            told: watch::Sender::new(is_whole),
        }
    }

    /// Begins a session; an older one ends.
    pub(crate) fn open(&self) -> OpenSession {
        let (messages, queue) = mpsc::channel(QUEUE);
        let end = CancellationToken::new();
        let mut state = self.lock();
        state.generation = state.generation.saturating_add(1);
        let generation = state.generation;
        let session = Session {
            messages: messages.clone(),
            pending: HashMap::new(),
            next_order: 1,
            readiness: Err("it has not said yet that it is ready".to_owned()),
            end: end.clone(),
        };
        if let Some(older) = state.session.replace(session) {
            warn!("hook session taken over by a newer one");
            older.end.cancel();
        }
        drop(state);
        self.part
            .not_ready("the hook has not said yet that it is ready");
        self.metrics.connected("nri-hook", true);
        OpenSession {
            generation,
            queue,
            messages,
            end,
        }
    }

    /// Ends a session, if it is still the present one.
    pub(crate) fn close(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation != generation || state.session.take().is_none() {
            return;
        }
        drop(state);
        info!("hook session ended");
        self.part.not_ready(NO_SESSION);
        self.metrics.connected("nri-hook", false);
    }

    /// What the hook says of itself.
    pub(crate) fn set_readiness(&self, generation: u64, readiness: &Readiness) {
        let now = if readiness.ready {
            Ok(())
        } else {
            Err(readiness.reason.chars().take(500).collect::<String>())
        };
        let mut state = self.lock();
        let Some(session) = state.present(generation) else {
            return;
        };
        if readiness.ready {
            self.told.send_replace(true);
        }
        if session.readiness == now {
            return;
        }
        session.readiness.clone_from(&now);
        drop(state);
        match now {
            Ok(()) => {
                info!(nri.runtime.name = readiness.runtime, "hook is ready");
                self.part.ready();
            }
            Err(reason) => {
                warn!(reason, "hook is not ready");
                self.part.not_ready(reason);
            }
        }
    }

    /// The hook's answer to an order. One that nobody waits for any more is dropped.
    pub(crate) fn resolve(&self, generation: u64, result: OrderResult) {
        let mut state = self.lock();
        let Some(session) = state.present(generation) else {
            return;
        };
        let waiting = session.pending.remove(&result.id);
        if let (Some(waiting), Some(outcome)) = (waiting, result.result) {
            drop(waiting.send(outcome));
        }
    }

    /// Whether all that is in pods is known. Records that were lost are put back as the hook tells of all that was in pods
    /// when it began.
    pub(crate) fn told(&self) -> watch::Receiver<bool> {
        self.told.subscribe()
    }

    /// The number of the newest session.
    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// Whether the runtime would call the hook for a new pod.
    ///
    /// # Errors
    /// What is missing for that, as a sentence.
    pub(crate) fn ready(&self) -> Result<(), OrderError> {
        match &self.lock().session {
            None => Err(self.not_ready(NO_SESSION)),
            Some(Session { readiness, .. }) => readiness
                .as_ref()
                .map_err(|reason| self.not_ready(reason))
                .copied(),
        }
    }

    fn not_ready(&self, reason: &str) -> OrderError {
        OrderError::NotReady {
            node: self.node.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Has the links of the record checked and their snapshots taken.
    ///
    /// # Cancel safety
    /// Dropped midway, the order may still be carried out: see [`Hook::abandon`].
    pub(crate) async fn check(&self, record: &Record) -> Result<Vec<Snapshot>, OrderError> {
        let order = Kind::Check(record.into());
        let (outcome, _) = self.order(order, CHECK).await?;
        let Outcome::Checked(checked) = outcome else {
            return Err(unexpected("a check"));
        };
        let snapshots: Result<Vec<_>, InvalidMessage> =
            checked.snapshots.iter().map(Snapshot::try_from).collect();
        let snapshots = snapshots.map_err(|error| OrderError::Answer(error.to_string()))?;
        let (got, wanted) = (snapshots.len(), record.attachments.len());
        if got == wanted {
            Ok(snapshots)
        } else {
            let text = format!("{got} snapshots for {wanted} devices");
            Err(OrderError::Answer(text))
        }
    }

    /// Tells the hook that the record is durable, or that its pods have changed.
    pub(crate) async fn commit(&self, record: &Record) -> Result<(), OrderError> {
        let order = Kind::Commit(record.into());
        match self.order(order, COMMIT).await? {
            (Outcome::Done(_), _) => Ok(()),
            _ => Err(unexpected("a commit")),
        }
    }

    /// Has every device of the claim brought home, and waits for it. The runtime need not be connected.
    pub(crate) async fn release(&self, uid: &ClaimUid) -> Result<Release, OrderError> {
        let claim_uid = uid.to_string();
        let order = Kind::Release(ClaimRef { claim_uid });
        match self.order(order, RELEASE).await? {
            (Outcome::Released(released), generation) => Ok(Release {
                quarantined: released.quarantined,
                generation,
            }),
            _ => Err(unexpected("a release")),
        }
    }

    /// Tells the hook to forget a check whose prepare was given up. Does not wait: should the order be lost, the
    /// record list of the next session makes up for it.
    pub(crate) fn abandon(&self, uid: &ClaimUid) {
        let claim_uid = uid.to_string();
        let mut state = self.lock();
        if let Some(session) = &mut state.session {
            let order = session.number(Kind::Abandon(ClaimRef { claim_uid }));
            if session.messages.try_send(order.1).is_err() {
                warn!(claimUID = %uid, "hook cannot be told to forget a check");
            }
        }
    }

    /// Gives an order and waits for its answer, in a span of its own.
    async fn order(&self, order: Kind, deadline: Duration) -> Result<(Outcome, u64), OrderError> {
        let span = order_span(Side::Client, &order);
        let given = self.give(order, deadline).instrument(span.clone());
        let answer = given.await;
        telemetry::answered(
            &span,
            answer.as_ref().map_or_else(OrderError::code, |_| Code::Ok),
        );
        answer
    }

    async fn give(&self, order: Kind, deadline: Duration) -> Result<(Outcome, u64), OrderError> {
        let Given {
            messages,
            message,
            answered,
            generation,
        } = self.register(order)?;
        let node = || self.node.clone();
        let exchange = async {
            let lost = || OrderError::Lost { node: node() };
            messages.send(message).await.map_err(|_| lost())?;
            // Our own sender would keep an ended session's queue open.
            drop(messages);
            answered.await.map_err(|_| lost())
        };
        match tokio::time::timeout(deadline, exchange).await {
            Ok(Ok(Outcome::Refused(refused))) => Err(refusal(&refused)),
            Ok(outcome) => outcome.map(|outcome| (outcome, generation)),
            Err(_) => Err(OrderError::TimedOut {
                node: node(),
                after: deadline,
            }),
        }
    }

    fn register(&self, order: Kind) -> Result<Given, OrderError> {
        let mut state = self.lock();
        let generation = state.generation;
        let Some(session) = &mut state.session else {
            return Err(self.not_ready(NO_SESSION));
        };
        let (id, message) = session.number(order);
        let (answer, answered) = oneshot::channel();
        // Orders whose caller has given up.
        session.pending.retain(|_, waiting| !waiting.is_closed());
        session.pending.insert(id, answer);
        Ok(Given {
            messages: session.messages.clone(),
            message,
            answered,
            generation,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NO_SESSION: &str = "the hook has no session with dra-plugin (is nri-hook running?)";

/// An order that is about to be sent.
struct Given {
    messages: mpsc::Sender<ClaimsSessionResponse>,
    message: ClaimsSessionResponse,
    answered: oneshot::Receiver<Outcome>,
    generation: u64,
}

impl State {
    fn present(&mut self, generation: u64) -> Option<&mut Session> {
        let present = self.generation == generation;
        self.session.as_mut().filter(|_| present)
    }
}

impl Session {
    /// The order as a message, with the next number.
    fn number(&mut self, order: Kind) -> (u64, ClaimsSessionResponse) {
        let id = self.next_order;
        self.next_order = id.saturating_add(1);
        let order = Order {
            id,
            traceparent: telemetry::traceparent().unwrap_or_default(),
            order: Some(order),
        };
        let message = ClaimsSessionResponse {
            message: Some(Message::Order(order)),
        };
        (id, message)
    }
}

fn refusal(refused: &Refused) -> OrderError {
    OrderError::Refused {
        reason: Reason::parse(&refused.reason),
        message: refused.message.chars().take(1000).collect(),
    }
}

fn unexpected(order: &str) -> OrderError {
    OrderError::Answer(format!("another answer than {order} has"))
}
