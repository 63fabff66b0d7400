//! A container runtime for tests, as strict as the Go one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use network_driver_proto::{nri, ttrpc as wire};
use prost::Message as _;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};

use super::mux::{self, Channel};
use super::ttrpc::{self, Message};

/// Name of the service that the plugin serves.
pub(crate) const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";

/// The runtime's end of a connection. It closes the connection when a frame exceeds 4096 bytes.
pub(crate) struct FakeRuntime {
    writer: tokio::sync::Mutex<WriteHalf<UnixStream>>,
    shared: Arc<Shared>,
    next_stream: Mutex<u32>,
    reading: tokio::task::JoinHandle<()>,
}

impl Drop for FakeRuntime {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[derive(Default)]
struct Shared {
    pending: Mutex<HashMap<u32, oneshot::Sender<wire::Response>>>,
    registration: Mutex<Option<(u32, nri::RegisterPluginRequest)>>,
    changed: Notify,
    closed: tokio_util::sync::CancellationToken,
}

impl FakeRuntime {
    /// The runtime at this end of a connection.
    pub(crate) fn new(stream: UnixStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let shared = Arc::<Shared>::default();
        let reading = tokio::spawn(read(reader, Arc::clone(&shared)));
        Self {
            writer: writer.into(),
            shared,
            next_stream: Mutex::new(1),
            reading,
        }
    }

    /// Waits until the plugin registers.
    pub(crate) async fn registration(&self) -> nri::RegisterPluginRequest {
        loop {
            let changed = self.shared.changed.notified();
            if let Some((_, request)) = &*self.shared.registration.lock().unwrap() {
                return request.clone();
            }
            changed.await;
        }
    }

    /// Answers the registration.
    pub(crate) async fn accept(&self, status: Option<wire::Status>) {
        self.registration().await;
        let (stream, _) = self.shared.registration.lock().unwrap().take().unwrap();
        let response = wire::Response {
            status,
            payload: Vec::new(),
        };
        let message = ttrpc::encode_response(stream, &response);
        self.write(&mux::frames(Channel::Runtime, &message)).await;
    }

    /// Writes bytes as they are.
    pub(crate) async fn write(&self, bytes: &[u8]) {
        // A plugin that has gone away shows at the next wait.
        drop(self.writer.lock().await.write_all(bytes).await);
    }

    /// Calls the plugin. `None` when the connection ends before the answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        message: &impl prost::Message,
    ) -> Option<wire::Response> {
        let request = wire::Request {
            service: PLUGIN.into(),
            method: method.into(),
            payload: message.encode_to_vec(),
            ..wire::Request::default()
        };
        self.send(request).await.await.ok()
    }

    /// Sends a call; its answer comes later.
    pub(crate) async fn send(&self, request: wire::Request) -> oneshot::Receiver<wire::Response> {
        let (sender, answer) = oneshot::channel();
        let stream = {
            let mut next = self.next_stream.lock().unwrap();
            let stream = *next;
            *next = stream.saturating_add(2);
            stream
        };
        self.shared.pending.lock().unwrap().insert(stream, sender);
        let message = ttrpc::encode_request(stream, &request);
        self.write(&mux::frames(Channel::Plugin, &message)).await;
        answer
    }

    /// Registers, configures and synchronises the plugin, as the runtime does at first.
    pub(crate) async fn join(&self, request_timeout_ms: i64, pods: Vec<nri::PodSandbox>) {
        self.accept(None).await;
        let configure = nri::ConfigureRequest {
            runtime_name: "fake".into(),
            runtime_version: "1".into(),
            request_timeout: request_timeout_ms,
            ..nri::ConfigureRequest::default()
        };
        let response = self.call("Configure", &configure).await.unwrap();
        let configured = nri::ConfigureResponse::decode(response.payload.as_slice()).unwrap();
        assert_eq!(configured.events, 0xF);
        let part = nri::SynchronizeRequest {
            pods,
            containers: Vec::new(),
            more: false,
        };
        assert_eq!(self.call("Synchronize", &part).await.unwrap().status, None);
    }

    /// Waits until the plugin has closed the connection, or was thrown out.
    pub(crate) async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }
}

async fn read(mut reader: ReadHalf<UnixStream>, shared: Arc<Shared>) {
    let mut decoders = [ttrpc::Decoder::default(), ttrpc::Decoder::default()];
    while let Ok(Some(frame)) = mux::read_frame(&mut reader).await {
        if frame.payload.len() > 4096 {
            break;
        }
        let decoder = &mut decoders[usize::from(frame.channel == Channel::Runtime)];
        decoder.feed(&frame.payload);
        while let Ok(Some(message)) = decoder.next_message() {
            match message {
                Message::Request { stream, request } => {
                    assert_eq!(request.method, "RegisterPlugin");
                    let payload = Bytes::from(request.payload);
                    let request = nri::RegisterPluginRequest::decode(payload).unwrap();
                    *shared.registration.lock().unwrap() = Some((stream, request));
                }
                Message::Response { stream, response } => {
                    if let Some(waiting) = shared.pending.lock().unwrap().remove(&stream) {
                        drop(waiting.send(response));
                    }
                }
            }
        }
        shared.changed.notify_waiters();
    }
    shared.pending.lock().unwrap().clear();
    shared.closed.cancel();
}

/// A pod as a runtime shows it.
pub(crate) fn pod(sandbox: &str, uid: &str, netns: Option<&str>) -> nri::PodSandbox {
    let namespaces = netns.map(|path| nri::LinuxNamespace {
        r#type: "network".into(),
        path: path.into(),
    });
    nri::PodSandbox {
        id: sandbox.into(),
        name: format!("pod-{uid}"),
        uid: uid.into(),
        namespace: "default".into(),
        linux: Some(nri::LinuxPodSandbox {
            namespaces: namespaces.into_iter().collect(),
        }),
        pid: 0,
    }
}
