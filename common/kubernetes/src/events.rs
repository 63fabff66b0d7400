//! Events for people (`events.k8s.io/v1`): said once, counted when they repeat, limited per object, and never in
//! anybody's way: [`EventRecorder::record`] does not wait, and what cannot be written is dropped.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event as Written, EventType, Recorder, Reporter};
use network_driver_common::model::{ClaimRef, DeviceName, DriverName, PodRef};
use tokio::sync::mpsc;

use crate::{ResourceApi, TokenBucket};

/// Longest text of an event in bytes (`noteLengthLimit` of the API server).
pub const MAX_NOTE_BYTES: usize = 1024;

/// Events that may wait to be written.
const QUEUE: usize = 64;
/// Burst per object, and the steady rate after it: 20 a minute.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(3);
/// Objects whose rate is remembered; more forget those that were quiet.
const OBJECTS: usize = 256;
/// Events written until all are forgotten: the recorder remembers each for six minutes, however many there are.
const REMEMBERED: usize = 256;
/// Longest wait for the API server, one event.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Good or bad news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// As it should be.
    Normal,
    /// Somebody may have to act.
    Warning,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Regarding(ObjectReference);

impl Regarding {
    /// A pod.
    pub fn pod(pod: &PodRef) -> Self {
        Self(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(pod.namespace.clone()),
            name: Some(pod.name.clone()),
            uid: Some(pod.uid.to_string()),
            ..ObjectReference::default()
        })
    }

    /// A ResourceClaim, in the version that the server serves.
    pub fn claim(claim: &ClaimRef, api: ResourceApi) -> Self {
        Self(ObjectReference {
            api_version: Some(api.api_version()),
            kind: Some("ResourceClaim".into()),
            namespace: Some(claim.namespace.clone()),
            name: Some(claim.name.clone()),
            uid: Some(claim.uid.to_string()),
            ..ObjectReference::default()
        })
    }

    /// A node. Its UID is its name, as the kubelet writes it and `kubectl describe node` looks for it.
    pub fn node(name: &str) -> Self {
        Self(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        })
    }

    /// A device of a node, which is no object of its own: what an event of the node is about besides.
    pub fn device(device: &DeviceName) -> Self {
        Self(ObjectReference {
            kind: Some("Device".into()),
            name: Some(device.to_string()),
            ..ObjectReference::default()
        })
    }
}

/// Something that people should be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Good or bad.
    pub kind: EventKind,
    /// Reason of a closed list, `UpperCamelCase`.
    pub reason: &'static str,
    /// What was being done, `UpperCamelCase`, at most 128 bytes.
    pub action: &'static str,
    /// A sentence; cut to [`MAX_NOTE_BYTES`].
    pub note: String,
    /// What it is about.
    pub regarding: Regarding,
    /// What else it is about.
    pub related: Option<Regarding>,
}

/// Takes events and writes them in the background. Clones share one queue.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    queue: mpsc::Sender<Event>,
}

impl EventRecorder {
    /// A recorder and the task that writes for it, which ends when all clones of the recorder are gone. Events of
    /// the same objects, reason and action within six minutes become one event with a count, unless there were hundreds
    /// of others in between.
    pub fn new(
        client: Client,
        driver: &DriverName,
        node: &str,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let reporter = Reporter {
            controller: driver.to_string(),
            instance: Some(node.to_owned()),
        };
        let (queue, events) = mpsc::channel(QUEUE);
        let fresh = move || Recorder::new(client.clone(), reporter.clone());
        (Self { queue }, write(Writer::new(fresh), events))
    }

    /// Hands an event over. Never waits: when too many are waiting, this one is dropped.
    pub fn record(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            tracing::debug!("event dropped: too many are waiting");
        }
    }
}

/// Writes events, and remembers a bounded number of them.
struct Writer<F> {
    fresh: F,
    recorder: Recorder,
    remembered: usize,
}

impl<F: Fn() -> Recorder> Writer<F> {
    fn new(fresh: F) -> Self {
        Self {
            recorder: fresh(),
            remembered: 0,
            fresh,
        }
    }

    async fn write(&mut self, event: Event) {
        if self.remembered == REMEMBERED {
            (self.recorder, self.remembered) = ((self.fresh)(), 0);
        }
        self.remembered = self.remembered.saturating_add(1);
        let written = Written {
            type_: match event.kind {
                EventKind::Normal => EventType::Normal,
                EventKind::Warning => EventType::Warning,
            },
            reason: event.reason.to_owned(),
            note: Some(cut(event.note)),
            action: event.action.to_owned(),
            secondary: event.related.map(|related| related.0),
        };
        let publish = self.recorder.publish(&written, &event.regarding.0);
        match tokio::time::timeout(WRITE_TIMEOUT, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(event = event.reason, err = %error, "event not written");
            }
            Err(_) => tracing::debug!(event = event.reason, "event not written in time"),
        }
    }
}

async fn write<F: Fn() -> Recorder>(mut writer: Writer<F>, mut events: mpsc::Receiver<Event>) {
    let mut limits = Limits::default();
    while let Some(event) = events.recv().await {
        if limits.admit(&event.regarding, Instant::now()) {
            writer.write(event).await;
        } else {
            tracing::debug!(
                event = event.reason,
                "event dropped: too many about one object"
            );
        }
    }
}

fn cut(mut note: String) -> String {
    let mut end = note.len().min(MAX_NOTE_BYTES);
    while !note.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    note.truncate(end);
    note
}

/// How many events each object may still have.
#[derive(Default)]
struct Limits(HashMap<(String, String), TokenBucket>);

impl Limits {
    fn admit(&mut self, regarding: &Regarding, now: Instant) -> bool {
        if self.0.len() >= OBJECTS {
            self.0.retain(|_, bucket| !bucket.is_full(now));
        }
        let object = &regarding.0;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let key = (text(&object.kind), text(&object.uid));
        if self.0.len() >= OBJECTS && !self.0.contains_key(&key) {
            return false;
        }
        let bucket = self.0.entry(key);
        let bucket = bucket.or_insert_with(|| TokenBucket::new(BURST, REFILL, now));
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_noisy_object_does_not_silence_another() {
        let mut limits = Limits::default();
        let now = Instant::now();
        let noisy = Regarding::node("a");
        let passed = (0..100).filter(|_| limits.admit(&noisy, now)).count();
        assert_eq!(passed, 20);
        assert!(limits.admit(&Regarding::node("b"), now));
        assert!(limits.admit(&noisy, now + REFILL));
    }

    #[test]
    fn the_number_of_remembered_objects_is_bounded() {
        let mut limits = Limits::default();
        let start = Instant::now();
        let node = |n: usize| Regarding::node(&n.to_string());
        let passed = (0..2 * OBJECTS)
            .filter(|n| limits.admit(&node(*n), start))
            .count();
        assert_eq!((passed, limits.0.len()), (OBJECTS, OBJECTS));
        assert!(limits.admit(&node(9999), start + REFILL * BURST));
        assert_eq!(limits.0.len(), 1);
    }

    /// Methods of the requests that a writer makes for an event of each of these nodes.
    async fn written(nodes: impl IntoIterator<Item = String>) -> Vec<String> {
        let (said, mut heard) = mpsc::unbounded_channel();
        let client = Client::new(
            tower::service_fn(move |request: http::Request<kube::client::Body>| {
                drop(said.send(request.method().to_string()));
                async {
                    let event = request.into_body().collect_bytes().await?;
                    Ok::<_, kube::Error>(http::Response::new(kube::client::Body::from(event)))
                }
            }),
            "default",
        );
        let mut writer = Writer::new(move || Recorder::new(client.clone(), "driver".into()));
        for node in nodes {
            let event = Event {
                kind: EventKind::Normal,
                reason: "InterfaceAttached",
                action: "Attach",
                note: "attached net1".into(),
                regarding: Regarding::node(&node),
                related: None,
            };
            writer.write(event).await;
        }
        drop(writer);
        let mut methods = Vec::new();
        heard.recv_many(&mut methods, usize::MAX).await;
        methods
    }

    #[tokio::test]
    async fn an_event_is_counted_when_it_repeats_and_forgotten_behind_hundreds_of_others() {
        let node = |n: usize| format!("node-{n}");
        assert_eq!(written([node(1), node(1)]).await, ["POST", "PATCH"]);
        let others = (0..REMEMBERED).map(node);
        let methods = written(others.chain([node(0)])).await;
        assert!(methods.iter().all(|method| method == "POST"), "{methods:?}");
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        assert_eq!(cut("short".into()), "short");
        assert_eq!(cut("ü".repeat(600)).len(), MAX_NOTE_BYTES);
        assert_eq!(
            cut(format!("a{}", "ü".repeat(600))).len(),
            MAX_NOTE_BYTES - 1
        );
    }
}
