//! The connection to one plugin: calls out on one multiplexed connection, requests in on the other.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use network_driver_proto::ttrpc as envelope;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::mux;
use super::ttrpc::{Assembler, Kind, Message};

/// Service that a plugin offers.
const PLUGIN_SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";
/// gRPC code of a method that is not there.
pub(super) const UNIMPLEMENTED: i32 = 12;

/// Why a call gave no answer, or not the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The plugin answered with an error; it stays connected.
    #[error("{message}")]
    Refused {
        /// gRPC code.
        code: i32,
        /// Its text.
        message: String,
    },
    /// The plugin took longer than it may; it has been thrown out.
    #[error("context deadline exceeded")]
    Late,
    /// The connection is gone.
    #[error("ttrpc: closed")]
    Closed,
}

/// A request of the plugin.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) stream: u32,
    pub(super) request: envelope::Request,
}

type Answers = Arc<Mutex<Option<BTreeMap<u32, oneshot::Sender<envelope::Response>>>>>;

/// A connected plugin.
#[derive(Debug)]
pub(super) struct Link {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    /// Who waits for which answer; `None` once the connection is closed.
    answers: Answers,
    last_stream: AtomicU32,
    stop: CancellationToken,
    closed: Arc<AtomicBool>,
}

impl Link {
    /// Takes over a connection; the plugin's own requests come out of the receiver.
    pub(super) fn open(stream: UnixStream) -> (Arc<Self>, mpsc::UnboundedReceiver<Incoming>) {
        let (reader, writer) = stream.into_split();
        let (tell, incoming) = mpsc::unbounded_channel();
        let link = Arc::new(Self {
            writer: tokio::sync::Mutex::new(writer),
            answers: Arc::new(Mutex::new(Some(BTreeMap::new()))),
            last_stream: AtomicU32::new(u32::MAX),
            stop: CancellationToken::new(),
            closed: Arc::default(),
        });
        let task = Arc::clone(&link);
        tokio::spawn(async move {
            tokio::select! {
                _ = read(reader, &task.answers, tell) => {}
                () = task.stop.cancelled() => {}
            }
            task.closed.store(true, Ordering::Release);
            task.answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            // The reader's half went with the future; the writer's goes with a shutdown, so the plugin sees the end.
            let mut writer = task.writer.lock().await;
            drop(tokio::io::AsyncWriteExt::shutdown(&mut *writer).await);
        });
        (link, incoming)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.stop.cancel();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Calls the plugin. A plugin that is late is thrown out.
    pub(super) async fn call(
        &self,
        method: &str,
        payload: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let stream = self
            .last_stream
            .fetch_add(2, Ordering::Relaxed)
            .wrapping_add(2);
        let (tell, answer) = oneshot::channel();
        match &mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(answers) => answers.insert(stream, tell),
            None => return Err(CallError::Closed),
        };
        let request = envelope::Request {
            service: PLUGIN_SERVICE.into(),
            method: method.into(),
            payload,
            timeout_nano: i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX),
            metadata: Vec::new(),
        };
        self.send(mux::PLUGIN, stream, Kind::Request, request.encode_to_vec())
            .await
            .map_err(|_| CallError::Closed)?;
        let Ok(answer) = timeout(limit, answer).await else {
            self.close();
            return Err(CallError::Late);
        };
        let response = answer.map_err(|_| CallError::Closed)?;
        match response.status {
            Some(status) if status.code != 0 => Err(CallError::Refused {
                code: status.code,
                message: status.message,
            }),
            _ => Ok(response.payload),
        }
    }

    /// Answers a request of the plugin.
    pub(super) async fn answer(&self, stream: u32, status: Option<envelope::Status>) {
        let response = envelope::Response {
            status,
            payload: Vec::new(),
        };
        // A plugin that has gone needs no answer.
        drop(
            self.send(
                mux::RUNTIME,
                stream,
                Kind::Response,
                response.encode_to_vec(),
            )
            .await,
        );
    }

    /// Writes bytes that need not make sense.
    pub(super) async fn send_raw(&self, bytes: &[u8]) {
        let mut writer = self.writer.lock().await;
        // The plugin may have left before the last of them.
        drop(tokio::io::AsyncWriteExt::write_all(&mut *writer, bytes).await);
    }

    async fn send(&self, id: u32, stream: u32, kind: Kind, payload: Vec<u8>) -> io::Result<()> {
        let message = Message {
            stream,
            kind,
            payload,
        }
        .encode();
        let mut writer = self.writer.lock().await;
        mux::write_message(&mut *writer, id, &message).await
    }
}

/// Reads until the connection ends or breaks the rules.
async fn read(
    mut reader: OwnedReadHalf,
    answers: &Answers,
    tell: mpsc::UnboundedSender<Incoming>,
) -> io::Result<()> {
    let mut from_server = Assembler::default();
    let mut from_client = Assembler::default();
    while let Some((id, payload)) = mux::read_frame(&mut reader).await? {
        match id {
            mux::PLUGIN => from_server.push(&payload),
            mux::RUNTIME => from_client.push(&payload),
            // Frames for an unknown id are dropped silently.
            _ => continue,
        }
        while let Some(message) = from_server.next()? {
            let response = envelope::Response::decode(message.payload.as_slice())?;
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = answers.as_mut().and_then(|a| a.remove(&message.stream));
            if let Some(waiting) = waiting {
                // Nobody waits any more: it came too late.
                drop(waiting.send(response));
            }
        }
        while let Some(message) = from_client.next()? {
            if message.kind != Kind::Request {
                return Err(io::Error::other("an answer to nothing"));
            }
            let request = envelope::Request::decode(message.payload.as_slice())?;
            let stream = message.stream;
            if tell.send(Incoming { stream, request }).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
