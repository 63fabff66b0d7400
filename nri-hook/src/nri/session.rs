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
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use super::PodEvents;
use super::mux::{self, Channel, ReadFrameError};
use super::phase::{ConnectionPhase, Phase};
use super::service::{Observer, Service};
use super::ttrpc::{self, Code, DecodeError, Failure, Message};

/// Calls being answered at one time. Runtimes send events one after another.
const MAX_IN_FLIGHT: usize = 64;

/// Messages that wait to be written.
const QUEUE: usize = 128;

/// Stream of the one call that we make: ttrpc clients count 1, 3, 5, …
const REGISTER_STREAM: u32 = 1;

/// After this long without an answer to the registration, and again, a line is logged.
const REGISTER_PATIENCE: Duration = Duration::from_secs(60);

/// Waits between connections.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How the runtime knows the plugin. Among plugins the index decides the order, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    index: String,
}

/// A name or an index that no runtime takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// The name.
    #[error("NRI plugin name {0:?} must be made of letters, digits and '_', '.', '+', '-'")]
    Name(String),
    /// The index.
    #[error("NRI plugin index {0:?} must be two digits")]
    Index(String),
}

impl Identity {
    /// Checks name and index as the runtime does.
    pub fn new(name: &str, index: &str) -> Result<Self, InvalidIdentity> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err(InvalidIdentity::Name(name.to_owned()));
        }
        if index.len() != 2 || !index.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidIdentity::Index(index.to_owned()));
        }
        Ok(Self { name: name.to_owned(), index: index.to_owned() })
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
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
pub struct Session<E> {
    /// The runtime's NRI socket.
    pub socket: PathBuf,
    /// How it knows us.
    pub identity: Identity,
    /// Who acts on its events.
    pub events: Arc<E>,
    /// Who sees how they are answered.
    pub observer: Arc<dyn Observer>,
    /// Where it is shown how far we are.
    pub phase: watch::Sender<Phase>,
    /// Runs the work on events; it outlives a connection, so the owner waits for it at the end.
    pub work: TaskTracker,
}

impl<E: PodEvents> Session<E> {
    /// Connects, and again whenever the connection is lost, until the token is cancelled.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        shutdown.run_until_cancelled(self.forever()).await;
        Ok(())
    }

    async fn forever(&self) {
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        let mut logged = String::new();
        loop {
            let phase = ConnectionPhase::begin(self.phase.clone());
            let ended = match UnixStream::connect(&self.socket).await {
                Ok(stream) => self.serve(stream, &phase).await,
                Err(source) => SessionError::Connect { path: self.socket.clone(), source },
            };
            let reason = crate::chain(&ended);
            if phase.close(reason.clone()) {
                backoff.reset();
                logged.clear();
            }
            if reason == logged {
                debug!(reason, "still without the container runtime");
            } else {
                warn!(reason, "without the container runtime: pods cannot get devices");
                logged = reason;
            }
            tokio::time::sleep(backoff.next_wait()).await;
            self.observer.reconnecting();
        }
    }

    /// Serves one connection until it ends, and says why it did.
    pub(super) async fn serve<S>(&self, stream: S, phase: &ConnectionPhase) -> SessionError
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (out, queue) = mpsc::channel(QUEUE);
        let (registered, answer) = oneshot::channel();
        let events = Arc::clone(&self.events);
        let observer = Arc::clone(&self.observer);
        let service = Service::new(events, observer, phase.clone(), self.work.clone());
        let incoming = Incoming {
            service: Arc::new(service),
            out: out.clone(),
            work: self.work.clone(),
            permits: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
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
        out: &mpsc::Sender<Bytes>,
        mut answer: oneshot::Receiver<wire::Response>,
        phase: &ConnectionPhase,
    ) -> Result<Infallible, SessionError> {
        let registration = nri::RegisterPluginRequest {
            plugin_name: self.identity.name.clone(),
            plugin_idx: self.identity.index.clone(),
            nri_version: String::new(),
        };
        let call = wire::Request {
            service: "nri.pkg.api.v1alpha1.Runtime".to_owned(),
            method: "RegisterPlugin".to_owned(),
            payload: registration.encode_to_vec(),
            ..wire::Request::default()
        };
        let message = ttrpc::encode_request(REGISTER_STREAM, &call);
        let sent = out.send(mux::frames(Channel::Runtime, &message)).await;
        sent.map_err(|_| SessionError::Closed)?;
        let response = loop {
            match tokio::time::timeout(REGISTER_PATIENCE, &mut answer).await {
                Ok(response) => break response.map_err(|_| SessionError::Closed)?,
                Err(_) => warn!("the container runtime has not yet accepted the plugin; waiting"),
            }
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
    out: mpsc::Sender<Bytes>,
    work: TaskTracker,
    permits: Arc<Semaphore>,
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
                        if let Message::Response { stream: REGISTER_STREAM, response } = message
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
            return Err(SessionError::StreamOrder { stream, last: self.last_stream });
        }
        self.last_stream = stream;
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let text = format!("more than {MAX_IN_FLIGHT} events at one time");
            let refused = Err(Failure::new(Code::ResourceExhausted, text));
            let sent = self.out.try_send(answer_frames(stream, refused));
            return sent.map_err(|_| SessionError::Stuck);
        };
        let (service, out) = (Arc::clone(&self.service), self.out.clone());
        self.work.spawn(async move {
            let answer = AssertUnwindSafe(service.answer(request)).catch_unwind().await;
            let answer = answer.unwrap_or_else(|_| {
                error!("answering an NRI event panicked");
                Err(Failure::new(Code::Internal, "defect of the network driver: see its log"))
            });
            if out.send(answer_frames(stream, answer)).await.is_err() {
                debug!("the connection ended before an event was answered");
            }
            drop(permit);
        });
        Ok(())
    }
}

fn answer_frames(stream: u32, answer: Result<Vec<u8>, Failure>) -> Bytes {
    mux::frames(Channel::Plugin, &ttrpc::encode_response(stream, answer))
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Bytes>,
) -> Result<Infallible, SessionError> {
    while let Some(bytes) = queue.recv().await {
        writer.write_all(&bytes).await.map_err(SessionError::Write)?;
    }
    Err(SessionError::Closed)
}
