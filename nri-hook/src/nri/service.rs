//! What one connection serves: takes a call, has it acted on, and answers in time. What an event means is left to
//! [`PodEvents`].

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use network_driver_proto::{nri, ttrpc as wire};
use prost::Message as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::call::{Call, Event};
use super::phase::ConnectionPhase;
use super::ttrpc::{Code, Failure};
use super::{Deadline, Pod, PodEvents, Request};

/// Run, stop and remove of sandboxes, and creation of containers: known to every version of NRI. Bit = event - 1.
const EVENT_MASK: i32 = 0xF;

/// What a runtime that does not say so waits for an answer (containerd/nri `pkg/api/timeouts.go`).
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// More than any runtime waits; a greater number is a mistake.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_hours(1);

/// Sandboxes of one synchronisation. A node has some hundred.
const MAX_PODS: usize = 100_000;

/// How an event was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Done.
    Success,
    /// With an error.
    Error,
    /// Before its work was done, so that the runtime does not go on without us.
    Late,
}

/// Sees how events are answered.
pub(crate) trait Observer: std::fmt::Debug + Send + Sync + 'static {
    /// An event was answered after this time.
    fn answered(&self, event: Event, outcome: Outcome, after: Duration);
    /// The runtime has said how long it waits for answers.
    fn request_timeout(&self, timeout: Duration);
    /// A new connection to the runtime is tried, not for the first time.
    fn reconnecting(&self);
}

/// One connection's Plugin service.
#[derive(Debug)]
pub(crate) struct Service<E> {
    events: Arc<E>,
    observer: Arc<dyn Observer>,
    phase: ConnectionPhase,
    work: TaskTracker,
    socket: Arc<Path>,
    state: Mutex<State>,
    /// Set once the runtime's list is worked through. Events that come meanwhile wait: they build on it.
    listed: watch::Sender<bool>,
}

/// What the connection has said so far. A std mutex: no await is held.
#[derive(Debug)]
struct State {
    request_timeout: Duration,
    runtime: Arc<str>,
    /// Parts of a list of sandboxes that is still coming in.
    pods: Vec<Pod>,
}

/// The answer to a call: an encoded message.
pub(crate) type Answer = Result<Vec<u8>, Failure>;

impl<E: PodEvents> Service<E> {
    /// The service of a new connection to this socket. Work on events runs on the tracker and outlives the connection.
    pub(crate) fn new(
        events: Arc<E>,
        observer: Arc<dyn Observer>,
        phase: ConnectionPhase,
        work: TaskTracker,
        socket: Arc<Path>,
    ) -> Self {
        let state = Mutex::new(State {
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            runtime: "".into(),
            pods: Vec::new(),
        });
        Self {
            events,
            observer,
            phase,
            work,
            socket,
            state,
            listed: watch::Sender::new(false),
        }
    }

    /// Answers one call, within the time that the runtime waits.
    pub(crate) async fn answer(&self, request: wire::Request) -> Answer {
        let arrived = Instant::now();
        let call = Call::parse(&request);
        let event = call.as_ref().map_or(Event::Other, Call::event);
        let limits = self.limits(&request, event, arrived);
        let answer = match call {
            Ok(Call::Configure(request)) => Ok(self.configure(&request).encode_to_vec()),
            Ok(Call::Synchronize(part)) => self.synchronize(part).map(|r| r.encode_to_vec()),
            Ok(call) => self.act(call, limits).await,
            Err(failure) => Err(failure),
        };
        let outcome = match &answer {
            Ok(_) => Outcome::Success,
            Err(failure) if failure.code == Code::DeadlineExceeded => Outcome::Late,
            Err(_) => Outcome::Error,
        };
        self.observer.answered(event, outcome, arrived.elapsed());
        without_error_of_stop(event, answer)
    }

    /// Limits and trace context of a call: the nearer of the call's own time and the configured one.
    fn limits(&self, call: &wire::Request, event: Event, arrived: Instant) -> Request {
        let state = self.state();
        let (configured, runtime) = (state.request_timeout, Arc::clone(&state.runtime));
        drop(state);
        let own = u64::try_from(call.timeout_nano)
            .ok()
            .filter(|nanos| *nanos > 0);
        let timeout = own.map_or(configured, |nanos| {
            configured.min(Duration::from_nanos(nanos))
        });
        let traceparent = call.metadata.iter().find(|pair| pair.key == "traceparent");
        Request {
            event,
            deadline: Deadline::new(arrived, timeout),
            traceparent: traceparent.map(|pair| pair.value.clone()),
            runtime,
            socket: Arc::clone(&self.socket),
        }
    }

    fn configure(&self, request: &nri::ConfigureRequest) -> nri::ConfigureResponse {
        let timeout = match u64::try_from(request.request_timeout) {
            Ok(0) | Err(_) => DEFAULT_REQUEST_TIMEOUT,
            Ok(millis) => Duration::from_millis(millis).min(MAX_REQUEST_TIMEOUT),
        };
        let runtime = format!("{} {}", request.runtime_name, request.runtime_version);
        info!(
            runtime,
            nri_version = request.nri_version,
            request_timeout = ?timeout,
            "configured by the container runtime"
        );
        let mut state = self.state();
        state.request_timeout = timeout;
        state.runtime = runtime.into();
        drop(state);
        self.observer.request_timeout(timeout);
        nri::ConfigureResponse { events: EVENT_MASK }
    }

    /// Takes a part of the runtime's list. All parts share one timeout, so the last is answered at once and the
    /// list worked through afterwards.
    fn synchronize(
        &self,
        part: nri::SynchronizeRequest,
    ) -> Result<nri::SynchronizeResponse, Failure> {
        let mut state = self.state();
        if state.pods.len().saturating_add(part.pods.len()) > MAX_PODS {
            let text = format!("more than {MAX_PODS} pod sandboxes");
            return Err(Failure::new(Code::ResourceExhausted, text));
        }
        // A sandbox whose ids are none that Kubernetes gives is of no pod that has a claim.
        state.pods.extend(
            part.pods
                .into_iter()
                .filter_map(|pod| Pod::try_from(pod).ok()),
        );
        if !part.more {
            let (pods, runtime) = (std::mem::take(&mut state.pods), state.runtime.to_string());
            let (events, phase) = (Arc::clone(&self.events), self.phase.clone());
            let listed = self.listed.clone();
            self.work.spawn(async move {
                let count = pods.len();
                events.synchronize(pods).await;
                listed.send_replace(true);
                info!(
                    sandboxes = count,
                    runtime, "synchronised with the container runtime"
                );
                phase.synchronised(runtime);
            });
        }
        Ok(nri::SynchronizeResponse { more: part.more })
    }

    /// Begins the work on an event and answers when it is done, or when an answer is due.
    async fn act(&self, call: Call, limits: Request) -> Answer {
        let (event, answer_at) = (call.event(), limits.deadline.answer_at());
        let Some(work) = self.begin(call, limits) else {
            return Ok(Vec::new());
        };
        match tokio::time::timeout_at(answer_at.into(), work).await {
            Ok(Ok(Ok(()))) => Ok(Vec::new()),
            Ok(Ok(Err(sentence))) => Err(Failure::new(Code::Unknown, sentence)),
            Ok(Err(panicked)) => {
                error!(event = event.as_str(), %panicked, "work on an NRI event panicked");
                let text = "defect of the network driver: see the log of nri-hook";
                Err(Failure::new(Code::Internal, text))
            }
            Err(_) => {
                warn!(
                    event = event.as_str(),
                    "NRI event answered before its work was done"
                );
                let text = "the network driver was not done in time; it undoes what it did";
                Err(Failure::new(Code::DeadlineExceeded, text))
            }
        }
    }

    /// Starts the work on an event, in a task of its own that is never dropped midway.
    fn begin(&self, call: Call, limits: Request) -> Option<JoinHandle<Result<(), String>>> {
        if let Call::Configure(_) | Call::Synchronize(_) | Call::Ignored = call {
            return None;
        }
        let (events, mut listed) = (Arc::clone(&self.events), self.listed.subscribe());
        Some(self.work.spawn(async move {
            // Fails only when the list will never be worked through: then the event is all there is.
            drop(listed.wait_for(|listed| *listed).await);
            match call {
                Call::Run(pod) => events.run_pod_sandbox(pod, limits).await,
                Call::Create(container) => events.create_container(container, limits).await,
                Call::Stop(pod) | Call::Remove(pod) => {
                    events.stop_pod_sandbox(pod, limits).await;
                    Ok(())
                }
                Call::Configure(_) | Call::Synchronize(_) | Call::Ignored => Ok(()),
            }
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer as the runtime may see it: stop and remove have no errors, for one runtime repeats them for ever after
/// one and the other never does.
pub(crate) fn without_error_of_stop(event: Event, answer: Answer) -> Answer {
    match (event, answer) {
        (Event::StopPodSandbox | Event::RemovePodSandbox, Err(_)) => Ok(Vec::new()),
        (_, answer) => answer,
    }
}
