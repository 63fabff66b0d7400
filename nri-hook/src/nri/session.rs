//! The connection to the runtime, for ever: connect, serve, register, and again when it is lost.
//!
//! Serving begins before the registration is answered, since `Configure` may overtake the answer. The registration
//! has no time limit: the runtime accepts plugins one after another, and giving up makes it slower still.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use network_driver_common::bus::Backoff;
use network_driver_proto::{nri, ttrpc as wire};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use super::PodEvents;
use super::call::{Call, Event};
use super::mux::{self, Channel, ReadFrameError};
use super::phase::{ConnectionPhase, Phase};
use super::service::{Observer, Service, without_error_of_stop};
use super::ttrpc::{self, Code, DecodeError, Failure, Message};

/// Calls being answered at one time. Runtimes send events one after another.
const MAX_IN_FLIGHT: u16 = 64;

/// Messages that wait to be written.
const QUEUE: usize = 128;

/// Time that events which have begun get to be answered after the stop signal. The runtime would take a connection
/// that ends instead for a plugin to go on without.
const LAST_ANSWERS: Duration = Duration::from_secs(4);

/// Stream of the one call that we make: ttrpc clients count 1, 3, 5, …
pub(super) const REGISTER_STREAM: u32 = 1;

/// After this long without an answer to the registration, and again, a line is logged.
const REGISTER_PATIENCE: Duration = Duration::from_mins(1);

/// Waits between connections.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How the runtime knows the plugin. Among plugins the index decides the order, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    name: String,
    index: String,
}

/// A name or an index that no runtime takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidIdentity {
    /// The name.
    #[error("NRI plugin name {0:?} must be made of letters, digits and '_', '.', '+', '-'")]
    Name(String),
    /// The index.
    #[error("NRI plugin index {0:?} must be two digits")]
    Index(String),
}

impl Identity {
    /// Checks name and index as the runtime does.
    pub(crate) fn new(name: &str, index: &str) -> Result<Self, InvalidIdentity> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(InvalidIdentity::Name(name.to_owned()));
        }
        if index.len() != 2 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidIdentity::Index(index.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            index: index.to_owned(),
        })
    }

    /// The same with a longer name, for a question beside the plugin itself.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Result<Self, InvalidIdentity> {
        Self::new(&format!("{}-{suffix}", self.name), &self.index)
    }

    /// The frames of the call that registers a plugin of this name, the first on a connection.
    pub(super) fn registration(&self) -> Bytes {
        let registration = nri::RegisterPluginRequest {
            plugin_name: self.name.clone(),
            plugin_idx: self.index.clone(),
            nri_version: String::new(),
        };
        let call = wire::Request {
            service: "nri.pkg.api.v1alpha1.Runtime".to_owned(),
            method: "RegisterPlugin".to_owned(),
            payload: registration.encode_to_vec(),
            ..wire::Request::default()
        };
        mux::frames(
            Channel::Runtime,
            &ttrpc::encode_request(REGISTER_STREAM, &call),
        )
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("connect to the container runtime at {path}: is NRI enabled?")]
    Connect {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the container runtime closed the connection: it ended, or an answer came too late")]
    Closed,
    #[error(transparent)]
    Frame(#[from] ReadFrameError),
    #[error("read the runtime's messages")]
    Decode(#[from] DecodeError),
    #[error("the runtime's call {stream} is not an odd number above {last}")]
    StreamOrder { stream: u32, last: u32 },
    #[error("the runtime does not read our answers")]
    Stuck,
    #[error("write to the runtime")]
    Write(#[source] std::io::Error),
    #[error("the container runtime refused the plugin: {message} (code {code})")]
    Refused { code: i32, message: String },
}

/// Keeps the plugin connected to the container runtime.
#[derive(Debug)]
pub(crate) struct Session<E> {
    /// The runtime's NRI socket.
    pub(crate) socket: PathBuf,
    /// How it knows us.
    pub(crate) identity: Identity,
    /// Who acts on its events.
    pub(crate) events: Arc<E>,
    /// Who sees how they are answered.
    pub(crate) observer: Arc<dyn Observer>,
    /// Where it is shown how far we are.
    pub(crate) phase: watch::Sender<Phase>,
    /// Runs the work on events; it outlives a connection, so the owner waits for it at the end.
    pub(crate) work: TaskTracker,
    /// How many events may be answered at one time.
    pub(crate) in_flight: InFlight,
}

/// Counts the events that are being answered, until the last byte of their answers is written.
#[derive(Debug, Clone)]
pub(crate) struct InFlight(Arc<Semaphore>);

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_IN_FLIGHT.into())))
    }
}

/// Bytes to be written, and the event that they answer.
type Outgoing = (Bytes, Option<OwnedSemaphorePermit>);

impl<E: PodEvents> Session<E> {
    /// Connects, and again whenever the connection is lost, until the token is cancelled. Events that have begun by
    /// then are answered before the connection is closed.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let stopped = async {
            shutdown.cancelled().await;
            let idle = self.in_flight.0.acquire_many(MAX_IN_FLIGHT.into());
            if tokio::time::timeout(LAST_ANSWERS, idle).await.is_err() {
                warn!("events of the container runtime are left unanswered");
            }
        };
        tokio::select! {
            () = self.forever() => {}
            () = stopped => {}
        }
        Ok(())
    }

    async fn forever(&self) {
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        let mut logged = String::new();
        loop {
            let (ended, was_synchronised) = self.connect_and_serve().await;
            let reason = crate::chain(&ended);
            if was_synchronised {
                backoff.reset();
                logged.clear();
            }
            if reason == logged {
                debug!(reason, "still without the container runtime");
            } else {
                warn!(
                    reason,
                    "without the container runtime: pods cannot get devices"
                );
                logged = reason;
            }
            tokio::time::sleep(backoff.next_wait()).await;
            self.observer.reconnecting();
        }
    }

    /// One connection: why it ended, and whether it had been synchronised.
    async fn connect_and_serve(&self) -> (SessionError, bool) {
        match UnixStream::connect(&self.socket).await {
            Ok(stream) => {
                let phase = ConnectionPhase::begin(self.phase.clone());
                let ended = self.serve(stream, &phase).await;
                let was_synchronised = phase.close(crate::chain(&ended));
                (ended, was_synchronised)
            }
            Err(source) => {
                let path = self.socket.clone();
                let ended = SessionError::Connect { path, source };
                let away = Phase::Away {
                    reason: crate::chain(&ended),
                };
                self.phase.send_if_modified(|shown| {
                    let news = *shown != away;
                    *shown = away;
                    news
                });
                (ended, false)
            }
        }
    }

    /// Serves one connection until it ends, and says why it did.
    pub(crate) async fn serve<S>(&self, stream: S, phase: &ConnectionPhase) -> SessionError
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (out, queue) = mpsc::channel(QUEUE);
        let (registered, answer) = oneshot::channel();
        let events = Arc::clone(&self.events);
        let observer = Arc::clone(&self.observer);
        let socket = self.socket.as_path().into();
        let service = Service::new(events, observer, phase.clone(), self.work.clone(), socket);
        let incoming = Incoming {
            service: Arc::new(service),
            out: out.clone(),
            work: self.work.clone(),
            in_flight: self.in_flight.clone(),
            last_stream: 0,
            registered: Some(registered),
        };
        let ended = tokio::select! {
            ended = incoming.read(reader) => ended,
            ended = write(writer, queue) => ended,
            ended = self.register(&out, answer, phase) => ended,
        };
        match ended {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// Registers and, once that is accepted, waits for ever.
    async fn register(
        &self,
        out: &mpsc::Sender<Outgoing>,
        mut answer: oneshot::Receiver<wire::Response>,
        phase: &ConnectionPhase,
    ) -> Result<Infallible, SessionError> {
        let sent = out.send((self.identity.registration(), None)).await;
        sent.map_err(|_| SessionError::Closed)?;
        let response = loop {
            let answered = tokio::time::timeout(REGISTER_PATIENCE, &mut answer).await;
            if let Ok(response) = answered {
                break response.map_err(|_| SessionError::Closed)?;
            }
            warn!("the container runtime has not yet accepted the plugin; waiting");
        };
        if let Some(wire::Status { code, message }) = response.status.filter(|s| s.code != 0) {
            return Err(SessionError::Refused { code, message });
        }
        info!("registered with the container runtime");
        phase.registered();
        std::future::pending().await
    }
}

/// The reading side of a connection.
struct Incoming<E> {
    service: Arc<Service<E>>,
    out: mpsc::Sender<Outgoing>,
    work: TaskTracker,
    in_flight: InFlight,
    last_stream: u32,
    registered: Option<oneshot::Sender<wire::Response>>,
}

impl<E: PodEvents> Incoming<E> {
    async fn read(
        mut self,
        mut reader: impl AsyncRead + Unpin,
    ) -> Result<Infallible, SessionError> {
        let (mut calls, mut answers) = (ttrpc::Decoder::default(), ttrpc::Decoder::default());
        while let Some(frame) = mux::read_frame(&mut reader).await? {
            match frame.channel {
                Channel::Plugin => {
                    calls.feed(&frame.payload);
                    while let Some(message) = calls.next_message()? {
                        if let Message::Request { stream, request } = message {
                            self.call(stream, request)?;
                        }
                    }
                }
                Channel::Runtime => {
                    answers.feed(&frame.payload);
                    while let Some(message) = answers.next_message()? {
                        if let Message::Response {
                            stream: REGISTER_STREAM,
                            response,
                        } = message
                            && let Some(registered) = self.registered.take()
                        {
                            // Nobody waits any more when the connection is ending.
                            drop(registered.send(response));
                        }
                    }
                }
            }
        }
        Err(SessionError::Closed)
    }

    /// Begins to answer a call. Never waits: the next one may be the one that frees what this one waits for.
    fn call(&mut self, stream: u32, request: wire::Request) -> Result<(), SessionError> {
        if stream.is_multiple_of(2) || stream <= self.last_stream {
            return Err(SessionError::StreamOrder {
                stream,
                last: self.last_stream,
            });
        }
        self.last_stream = stream;
        let Ok(permit) = Arc::clone(&self.in_flight.0).try_acquire_owned() else {
            let text = format!("more than {MAX_IN_FLIGHT} events at one time");
            let refused = Err(Failure::new(Code::ResourceExhausted, text));
            let event = Call::parse(&request).map_or(Event::Other, |call| call.event());
            let refused = without_error_of_stop(event, refused);
            let sent = self.out.try_send((answer_frames(stream, refused), None));
            return sent.map_err(|_| SessionError::Stuck);
        };
        let (service, out) = (Arc::clone(&self.service), self.out.clone());
        self.work.spawn(async move {
            let answer = AssertUnwindSafe(service.answer(request))
                .catch_unwind()
                .await;
            let answer = answer.unwrap_or_else(|_| {
                error!("answering an NRI event panicked");
                Err(Failure::new(
                    Code::Internal,
                    "defect of the network driver: see its log",
                ))
            });
            let frames = answer_frames(stream, answer);
            if out.send((frames, Some(permit))).await.is_err() {
                debug!("the connection ended before an event was answered");
            }
        });
        Ok(())
    }
}

fn answer_frames(stream: u32, answer: Result<Vec<u8>, Failure>) -> Bytes {
    mux::frames(
        Channel::Plugin,
        &ttrpc::encode_response(stream, &ttrpc::response(answer)),
    )
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<Infallible, SessionError> {
    while let Some((bytes, permit)) = queue.recv().await {
        writer
            .write_all(&bytes)
            .await
            .map_err(SessionError::Write)?;
        drop(permit);
    }
    Err(SessionError::Closed)
}
