//! The whole session against a runtime of our own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use network_driver_proto::{nri, ttrpc as wire};
use proptest::prelude::*;
use prost::Message as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::phase::ConnectionPhase;
use super::session::SessionError;
use super::testing::{FakeRuntime, PLUGIN, pod};
use super::*;

/// Records events; a pod's UID says how its run ends.
#[derive(Debug)]
struct Recorder {
    seen: mpsc::UnboundedSender<String>,
    traceparents: Mutex<HashMap<String, Option<String>>>,
    /// Ends the run of a slow pod.
    release: tokio::sync::Notify,
}

impl PodEvents for Recorder {
    async fn synchronize(&self, pods: Vec<Pod>) {
        // Long enough for later events to overtake it, if they could.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let ids: Vec<String> = pods.iter().map(|pod| pod.sandbox.to_string()).collect();
        drop(self.seen.send(format!("synchronize {}", ids.join(","))));
    }

    async fn run_pod_sandbox(&self, pod: Pod, request: Request) -> Result<(), String> {
        let uid = pod.owner.uid.to_string();
        self.traceparents
            .lock()
            .unwrap()
            .insert(uid.clone(), request.traceparent);
        drop(self.seen.send(format!(
            "run {} {:?}",
            pod.sandbox,
            request.deadline.timeout()
        )));
        match uid.as_str() {
            "refused" => Err("no such luck ".repeat(2000)),
            "panics" => panic!("on purpose"),
            "hangs" => std::future::pending().await,
            "slow" => {
                self.release.notified().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn stop_pod_sandbox(&self, pod: Pod, _: Request) {
        drop(self.seen.send(format!("stop {}", pod.sandbox)));
        assert_ne!(pod.owner.uid.as_str(), "panics", "on purpose");
    }

    async fn create_container(&self, container: Container, _: Request) -> Result<(), String> {
        let refused = container.env.iter().any(|entry| entry == "REFUSE=1");
        if refused {
            Err("refused".into())
        } else {
            Ok(())
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    late: AtomicU32,
    reconnects: AtomicU32,
    timeout: Mutex<Option<Duration>>,
}

impl Observer for Counts {
    fn answered(&self, _: Event, outcome: Outcome, _: Duration) {
        if outcome == Outcome::Late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn request_timeout(&self, timeout: Duration) {
        *self.timeout.lock().unwrap() = Some(timeout);
    }

    fn reconnecting(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session over one end of a pair, and a runtime at the other.
struct Plugin {
    runtime: FakeRuntime,
    phase: watch::Receiver<Phase>,
    seen: mpsc::UnboundedReceiver<String>,
    events: Arc<Recorder>,
    counts: Arc<Counts>,
    ended: tokio::task::JoinHandle<SessionError>,
}

fn session(
    socket: &str,
) -> (
    Session<Recorder>,
    mpsc::UnboundedReceiver<String>,
    Arc<Counts>,
) {
    let (seen, receiver) = mpsc::unbounded_channel();
    let counts = Arc::<Counts>::default();
    let session = Session {
        socket: socket.into(),
        identity: Identity::new("network.example.com", "10").unwrap(),
        events: Arc::new(Recorder {
            seen,
            traceparents: Mutex::default(),
            release: tokio::sync::Notify::new(),
        }),
        observer: counts.clone(),
        phase: watch::Sender::new(Phase::Joining),
        work: TaskTracker::new(),
        in_flight: InFlight::default(),
    };
    (session, receiver, counts)
}

fn plugin() -> Plugin {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (session, seen, counts) = session("/unused");
    let phase = session.phase.subscribe();
    let events = Arc::clone(&session.events);
    let ended = tokio::spawn(async move {
        let connection = ConnectionPhase::begin(session.phase.clone());
        session.serve(ours, &connection).await
    });
    Plugin {
        runtime: FakeRuntime::new(theirs),
        phase,
        seen,
        events,
        counts,
        ended,
    }
}

impl Plugin {
    async fn joined() -> Self {
        let mut plugin = plugin();
        plugin.runtime.join(2000, Vec::new()).await;
        assert_eq!(plugin.seen.recv().await.unwrap(), "synchronize ");
        plugin.synchronised().await;
        plugin
    }

    async fn synchronised(&mut self) {
        let done = |phase: &Phase| matches!(phase, Phase::Synchronised { .. });
        self.phase.wait_for(done).await.unwrap();
    }

    async fn run(&self, sandbox: &str, uid: &str) -> Option<wire::Response> {
        let request = nri::PodSandboxRequest {
            pod: Some(pod(sandbox, uid, Some("/n"))),
        };
        self.runtime.call("RunPodSandbox", &request).await
    }
}

fn code(response: Option<wire::Response>) -> i32 {
    response
        .expect("an answer")
        .status
        .map_or(0, |status| status.code)
}

fn change(event: nri::Event, sandbox: &str) -> nri::StateChangeEvent {
    let pod = Some(pod(sandbox, "p", Some("/n")));
    nri::StateChangeEvent {
        event: event.into(),
        pod,
        container: None,
    }
}

#[tokio::test]
async fn configure_and_events_may_come_before_the_registration_is_answered() {
    let mut plugin = plugin();
    let registration = plugin.runtime.registration().await;
    assert_eq!(registration.plugin_name, "network.example.com");
    assert_eq!(registration.plugin_idx, "10");
    let configured = plugin
        .runtime
        .call("Configure", &nri::ConfigureRequest::default())
        .await;
    assert_eq!(code(configured), 0);
    let part = nri::SynchronizeRequest::default();
    assert_eq!(code(plugin.runtime.call("Synchronize", &part).await), 0);
    assert_eq!(plugin.seen.recv().await.unwrap(), "synchronize ");
    assert_eq!(*plugin.phase.borrow(), Phase::Joining);
    plugin.runtime.accept(None).await;
    plugin.synchronised().await;
}

#[tokio::test]
async fn a_refused_registration_ends_the_connection_with_the_runtimes_words() {
    let plugin = plugin();
    let status = wire::Status {
        code: 2,
        message: "invalid plugin index".into(),
    };
    plugin.runtime.accept(Some(status)).await;
    let error = plugin.ended.await.unwrap().to_string();
    assert!(error.contains("invalid plugin index"), "{error}");
}

#[tokio::test]
async fn a_runtime_that_states_no_timeout_waits_two_seconds() {
    for (millis, want) in [(0, 2000), (-5, 2000), (5000, 5000)] {
        let mut plugin = plugin();
        plugin.runtime.join(millis, Vec::new()).await;
        plugin.synchronised().await;
        drop(plugin.seen.recv().await);
        assert_eq!(code(plugin.run("s1", "p").await), 0);
        let want = Duration::from_millis(want);
        assert_eq!(
            plugin.seen.recv().await.unwrap(),
            format!("run s1 {want:?}")
        );
        assert_eq!(*plugin.counts.timeout.lock().unwrap(), Some(want));
    }
}

#[tokio::test]
async fn the_calls_own_time_limits_it_when_it_is_nearer() {
    let mut plugin = Plugin::joined().await;
    let request = nri::PodSandboxRequest {
        pod: Some(pod("s1", "p", None)),
    };
    let call = wire::Request {
        service: PLUGIN.into(),
        method: "RunPodSandbox".into(),
        payload: request.encode_to_vec(),
        timeout_nano: 900_000_000,
        metadata: vec![wire::KeyValue {
            key: "traceparent".into(),
            value: "00-1-2-01".into(),
        }],
    };
    let answer = plugin.runtime.send(call).await.await.unwrap();
    assert_eq!(answer.status, None);
    assert_eq!(plugin.seen.recv().await.unwrap(), "run s1 900ms");
    let seen = plugin.events.traceparents.lock().unwrap()["p"].clone();
    assert_eq!(seen.as_deref(), Some("00-1-2-01"));
}

#[tokio::test]
async fn a_split_list_is_acknowledged_part_by_part_and_worked_through_once() {
    let mut plugin = plugin();
    plugin.runtime.accept(None).await;
    for (sandbox, more) in [("s1", true), ("s2", true), ("s3", false)] {
        let pods = vec![pod(sandbox, "p", None)];
        let part = nri::SynchronizeRequest {
            pods,
            containers: Vec::new(),
            more,
        };
        let response = plugin.runtime.call("Synchronize", &part).await.unwrap();
        let answer = nri::SynchronizeResponse::decode(response.payload.as_slice()).unwrap();
        assert_eq!(answer.more, more, "{sandbox}");
    }
    assert_eq!(plugin.seen.recv().await.unwrap(), "synchronize s1,s2,s3");
    plugin.synchronised().await;
}

#[tokio::test]
async fn events_wait_until_the_list_is_worked_through() {
    let mut plugin = plugin();
    plugin.runtime.join(2000, vec![pod("s1", "p", None)]).await;
    assert_eq!(code(plugin.run("s2", "p").await), 0);
    assert_eq!(plugin.seen.recv().await.unwrap(), "synchronize s1");
    assert_eq!(plugin.seen.recv().await.unwrap(), "run s2 2s");
}

#[tokio::test]
async fn both_styles_of_events_reach_the_same_handlers() {
    let mut plugin = Plugin::joined().await;
    for event in [nri::Event::RunPodSandbox, nri::Event::StopPodSandbox] {
        assert_eq!(
            code(
                plugin
                    .runtime
                    .call("StateChange", &change(event, "s1"))
                    .await
            ),
            0
        );
    }
    let request = nri::PodSandboxRequest {
        pod: Some(pod("s2", "p", None)),
    };
    for method in ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"] {
        assert_eq!(code(plugin.runtime.call(method, &request).await), 0);
    }
    for want in ["run s1 2s", "stop s1", "run s2 2s", "stop s2", "stop s2"] {
        assert_eq!(plugin.seen.recv().await.unwrap(), want);
    }
}

#[tokio::test]
async fn an_unserved_method_makes_the_runtime_fall_back() {
    let plugin = Plugin::joined().await;
    assert_eq!(
        code(
            plugin
                .runtime
                .call("UpdatePodSandbox", &nri::Empty {})
                .await
        ),
        12
    );
    assert_eq!(
        code(
            plugin
                .runtime
                .call("StateChange", &change(nri::Event::Unknown, "s"))
                .await
        ),
        0
    );
}

#[tokio::test]
async fn a_long_error_reaches_a_runtime_that_takes_no_long_frames() {
    let plugin = Plugin::joined().await;
    let answer = plugin.run("s1", "refused").await.expect("not thrown out");
    let status = answer.status.unwrap();
    assert_eq!(status.code, 2);
    assert!(
        status.message.starts_with("no such luck"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn a_panic_is_answered_and_the_session_goes_on() {
    let plugin = Plugin::joined().await;
    assert_eq!(code(plugin.run("s1", "panics").await), 13);
    let request = nri::PodSandboxRequest {
        pod: Some(pod("s1", "panics", None)),
    };
    assert_eq!(
        code(plugin.runtime.call("StopPodSandbox", &request).await),
        0
    );
    assert_eq!(code(plugin.run("s2", "p").await), 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_answered_before_the_runtime_gives_up() {
    let plugin = Plugin::joined().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(code(plugin.run("s1", "hangs").await), 4);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(1690) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(plugin.counts.late.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_container_is_refused_with_a_sentence() {
    let plugin = Plugin::joined().await;
    for (env, want) in [("A=1", 0), ("REFUSE=1", 2)] {
        let container = nri::Container {
            env: vec![env.into()],
            ..nri::Container::default()
        };
        let request = nri::CreateContainerRequest {
            pod: None,
            container: Some(container),
        };
        assert_eq!(
            code(plugin.runtime.call("CreateContainer", &request).await),
            want
        );
    }
}

#[tokio::test]
async fn events_beyond_the_limit_are_refused_and_never_block_others() {
    let plugin = Plugin::joined().await;
    let request = nri::PodSandboxRequest {
        pod: Some(pod("s", "hangs", None)),
    };
    let call = wire::Request {
        service: PLUGIN.into(),
        method: "RunPodSandbox".into(),
        payload: request.encode_to_vec(),
        ..wire::Request::default()
    };
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(plugin.runtime.send(call.clone()).await);
    }
    assert_eq!(code(plugin.runtime.send(call).await.await.ok()), 8);
    let stopped = plugin.runtime.call("StopPodSandbox", &request).await;
    assert_eq!(code(stopped), 0, "a stop has no errors");
    assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_err()));
}

#[tokio::test]
async fn equal_events_at_one_time_are_all_answered() {
    let plugin = Plugin::joined().await;
    let runs = (0..32).map(|_| plugin.run("s1", "p"));
    for answer in futures::future::join_all(runs).await {
        assert_eq!(code(answer), 0);
    }
}

#[tokio::test]
async fn streams_that_go_backwards_or_are_even_end_the_connection() {
    for streams in [[101, 101], [103, 101], [101, 102]] {
        let plugin = Plugin::joined().await;
        for stream in streams {
            let message = ttrpc::encode_request(stream, &wire::Request::default());
            let frames = mux::frames(mux::Channel::Plugin, &message);
            plugin.runtime.write(&frames).await;
        }
        plugin.runtime.closed().await;
        let error = plugin.ended.await.unwrap();
        assert!(
            matches!(error, SessionError::StreamOrder { .. }),
            "{streams:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_lost_runtime_is_joined_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nri.sock");
    let (session, mut seen, counts) = session(path.to_str().unwrap());
    let mut phase = session.phase.subscribe();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(session.run(stop.clone()));
    phase
        .wait_for(|phase| matches!(phase, Phase::Away { .. }))
        .await
        .unwrap();
    for round in 0..2 {
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let runtime = FakeRuntime::new(listener.accept().await.unwrap().0);
        runtime.join(2000, vec![pod("s1", "p", None)]).await;
        assert_eq!(
            seen.recv().await.unwrap(),
            "synchronize s1",
            "round {round}"
        );
        let done = |phase: &Phase| matches!(phase, Phase::Synchronised { .. });
        phase.wait_for(done).await.unwrap();
        drop((runtime, listener));
        phase
            .wait_for(|phase| matches!(phase, Phase::Away { .. }))
            .await
            .unwrap();
    }
    assert!(counts.reconnects.load(Ordering::Relaxed) >= 2);
    stop.cancel();
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_event_that_has_begun_is_answered_before_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nri.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (session, mut seen, _) = session(path.to_str().unwrap());
    let events = Arc::clone(&session.events);
    let stop = CancellationToken::new();
    let ended = tokio::spawn(session.run(stop.clone()));
    let runtime = FakeRuntime::new(listener.accept().await.unwrap().0);
    runtime.join(2000, Vec::new()).await;
    assert_eq!(seen.recv().await.unwrap(), "synchronize ");
    let request = nri::PodSandboxRequest {
        pod: Some(pod("s1", "slow", None)),
    };
    let stopping = async {
        assert_eq!(seen.recv().await.unwrap(), "run s1 2s");
        stop.cancel();
        tokio::task::yield_now().await;
        events.release.notify_one();
    };
    let (answer, ()) = tokio::join!(runtime.call("RunPodSandbox", &request), stopping);
    assert_eq!(code(answer), 0);
    runtime.closed().await;
    ended.await.unwrap().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_crash_the_session(garbage in prop::collection::vec(any::<u8>(), 0..300), framed: bool) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(async {
            let plugin = plugin();
            if framed {
                plugin.runtime.write(&mux::frames(mux::Channel::Plugin, &garbage)).await;
            } else {
                plugin.runtime.write(&garbage).await;
            }
            let Plugin { runtime, ended, .. } = plugin;
            drop(runtime);
            let ended = tokio::time::timeout(Duration::from_secs(5), ended).await;
            ended.expect("ends with its peer").expect("does not panic");
        });
    }
}

/// Where `NETWORK_DRIVER_NRI_REFERENCE` names programs built from `tests/nri-reference` (joined by `:`): Go runtimes
/// of several versions. Not run elsewhere, since it needs Go.
#[tokio::test(flavor = "multi_thread")]
async fn the_go_runtimes_of_several_versions_are_served() {
    let Ok(programs) = std::env::var("NETWORK_DRIVER_NRI_REFERENCE") else {
        eprintln!(
            "SKIPPED: Go runtimes: NETWORK_DRIVER_NRI_REFERENCE is not set (tests/nri-reference/README.md)"
        );
        return;
    };
    for program in programs.split(':').map(str::to_owned) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let (session, mut seen, counts) = session(path.to_str().unwrap());
        let stop = CancellationToken::new();
        let ended = tokio::spawn(session.run(stop.clone()));
        let command = program.clone();
        let ran = tokio::task::spawn_blocking(move || {
            std::process::Command::new(command)
                .arg(path)
                .output()
                .unwrap()
        });
        let output = ran.await.unwrap();
        let answers = String::from_utf8(output.stdout).unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        let want = [
            "synchronised: ok",
            "run: ok",
            "run refused: error",
            "create: ok",
            "create refused: error",
            "run late: error",
            "stop: ok",
            "remove: ok",
            "run refused again: error",
        ];
        let got: Vec<_> = answers.lines().collect();
        assert_eq!(got, want, "{program}\n{log}");
        let list = seen.recv().await.unwrap();
        assert!(list.split(',').count() >= 200, "{program}");
        let reconnects = counts.reconnects.load(Ordering::Relaxed);
        stop.cancel();
        ended.await.unwrap().unwrap();
        let mut events = Vec::new();
        while let Ok(event) = seen.try_recv() {
            events.push(event);
        }
        // Seen once each: the connection outlived every refusal and the late answer.
        let runs = events
            .iter()
            .filter(|event| event.starts_with("run "))
            .count();
        let lists = events
            .iter()
            .filter(|event| event.starts_with("synchronize"))
            .count();
        assert_eq!(
            (runs, lists),
            (4, 0),
            "{program}: {events:?}, {reconnects} reconnects"
        );
    }
}
