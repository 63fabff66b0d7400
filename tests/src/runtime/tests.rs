//! The stand-in against a small plugin, well-behaved and not.

use network_driver_proto::nri::{
    ConfigureRequest, ConfigureResponse, CreateContainerRequest, PodSandboxRequest,
    RegisterPluginRequest, StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use network_driver_proto::ttrpc as envelope;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::ttrpc::{Assembler, Kind, Message};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// What the small plugin does with a call.
enum Reply {
    Ok(Vec<u8>),
    Error(i32, &'static str),
    Never,
    /// The answer in a single frame, however long.
    OneFrame(usize),
}

type Heard = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Connects a plugin that answers as `handler` says; returns what it hears.
async fn plugin(
    socket: &Path,
    handler: impl Fn(&str, &[u8]) -> Option<Reply> + Send + 'static,
) -> Heard {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let register = RegisterPluginRequest {
        plugin_name: "test".into(),
        plugin_idx: "00".into(),
        nri_version: String::new(),
    };
    let request = envelope::Request {
        service: "nri.pkg.api.v1alpha1.Runtime".into(),
        method: "RegisterPlugin".into(),
        payload: register.encode_to_vec(),
        ..Default::default()
    };
    send(
        &mut writer,
        mux::RUNTIME,
        1,
        Kind::Request,
        request.encode_to_vec(),
    )
    .await;
    let heard = Heard::default();
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut calls = Assembler::default();
        while let Ok(Some((id, bytes))) = read_any(&mut reader).await {
            if id != mux::PLUGIN {
                log.lock().unwrap().push(("registered".into(), vec![]));
                continue;
            }
            calls.push(&bytes);
            while let Some(call) = calls.next().unwrap() {
                let request = envelope::Request::decode(call.payload.as_slice()).unwrap();
                let (method, payload) = (request.method, request.payload);
                log.lock().unwrap().push((method.clone(), payload.clone()));
                let reply =
                    handler(&method, &payload).unwrap_or_else(|| well_behaved(&method, &payload));
                answer(&mut writer, call.stream, reply).await;
            }
        }
    });
    heard
}

/// Frames to a plugin may have any size.
async fn read_any(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
) -> std::io::Result<Option<(u32, Vec<u8>)>> {
    use tokio::io::AsyncReadExt as _;
    let Ok(id) = from.read_u32().await else {
        return Ok(None);
    };
    let mut payload = vec![0; from.read_u32().await? as usize];
    from.read_exact(&mut payload).await?;
    Ok(Some((id, payload)))
}

fn well_behaved(method: &str, payload: &[u8]) -> Reply {
    match method {
        "Configure" => Reply::Ok(ConfigureResponse { events: 0xf }.encode_to_vec()),
        "Synchronize" => {
            let more = SynchronizeRequest::decode(payload).unwrap().more;
            Reply::Ok(SynchronizeResponse { more }.encode_to_vec())
        }
        "StateChange" | "CreateContainer" => Reply::Ok(vec![]),
        _ => Reply::Error(12, "unknown method"),
    }
}

async fn answer(writer: &mut tokio::net::unix::OwnedWriteHalf, stream: u32, reply: Reply) {
    let mut response = envelope::Response::default();
    match reply {
        Reply::Never => return,
        Reply::Ok(payload) => response.payload = payload,
        Reply::Error(code, message) => {
            let message = message.to_owned();
            response.status = Some(envelope::Status { code, message });
        }
        Reply::OneFrame(length) => {
            let mut frame = mux::PLUGIN.to_be_bytes().to_vec();
            frame.extend(u32::try_from(length).unwrap().to_be_bytes());
            frame.extend(vec![0; length]);
            // The runtime may have closed before all of it was written.
            drop(writer.write_all(&frame).await);
            return;
        }
    }
    send(
        writer,
        mux::PLUGIN,
        stream,
        Kind::Response,
        response.encode_to_vec(),
    )
    .await;
}

async fn send(
    writer: &mut tokio::net::unix::OwnedWriteHalf,
    id: u32,
    stream: u32,
    kind: Kind,
    payload: Vec<u8>,
) {
    let message = Message {
        stream,
        kind,
        payload,
    }
    .encode();
    // The runtime may have closed.
    drop(mux::write_message(writer, id, &message).await);
}

fn pod(name: &str) -> Pod {
    Pod {
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

/// A network whose path is there until it is removed.
#[derive(Debug)]
struct File(tempfile::TempDir);

impl SandboxNetwork for File {
    fn path(&self) -> PathBuf {
        self.0.path().join("netns")
    }

    fn remove(&self) {
        drop(std::fs::remove_file(self.path()));
    }
}

fn network() -> Arc<dyn SandboxNetwork> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("netns"), "").unwrap();
    Arc::new(File(dir))
}

fn short(style: &Style) -> Style {
    Style {
        request_timeout: Duration::from_millis(300),
        ..style.clone()
    }
}

struct Scene {
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

fn scene(style: Style) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::start(style, dir.path()).unwrap();
    Scene { runtime, _dir: dir }
}

fn methods(heard: &Heard) -> Vec<String> {
    heard
        .lock()
        .unwrap()
        .iter()
        .map(|(method, _)| method.clone())
        .collect()
}

#[tokio::test]
async fn each_style_tells_the_life_of_a_pod_in_its_own_way() {
    for style in Style::ALL {
        let scene = scene(style.clone());
        let direct = style.direct_calls;
        let direct_handler = move |method: &str, _: &[u8]| {
            (direct && method.ends_with("Sandbox")).then(|| Reply::Ok(vec![]))
        };
        let heard = plugin(scene.runtime.nri_socket(), direct_handler).await;
        scene.runtime.synchronised(1, LIMIT).await.unwrap();
        let network = network();
        let sandbox = scene
            .runtime
            .run_pod(&pod("web"), Some(Arc::clone(&network)))
            .await
            .unwrap();
        scene.runtime.create_container(&sandbox, &[]).await.unwrap();
        scene.runtime.stop_pod(&sandbox).await.unwrap();
        scene.runtime.remove_pod(&sandbox).await.unwrap();
        let mut told = methods(&heard);
        told.retain(|method| method != "registered");
        let names: &[&str] = if direct {
            &[
                "Configure",
                "Synchronize",
                "RunPodSandbox",
                "CreateContainer",
                "StopPodSandbox",
                "RemovePodSandbox",
            ]
        } else {
            &[
                "Configure",
                "Synchronize",
                "StateChange",
                "CreateContainer",
                "StateChange",
                "StateChange",
            ]
        };
        assert_eq!(told, names, "{}", style.version);
        let heard = heard.lock().unwrap();
        let configure = heard.iter().find(|(m, _)| m == "Configure").unwrap();
        let configure = ConfigureRequest::decode(configure.1.as_slice()).unwrap();
        assert_eq!(
            configure.request_timeout,
            if style.sends_timeouts { 2000 } else { 0 }
        );
        let stop = &heard[heard.len() - 2].1;
        let stop = if direct {
            PodSandboxRequest::decode(stop.as_slice()).unwrap().pod
        } else {
            StateChangeEvent::decode(stop.as_slice()).unwrap().pod
        };
        assert_eq!(
            stop.unwrap().linux.is_some(),
            style.stop_shows_netns,
            "{}",
            style.version
        );
        let create = heard.iter().find(|(m, _)| m == "CreateContainer").unwrap();
        let create = CreateContainerRequest::decode(create.1.as_slice()).unwrap();
        assert_eq!(
            create.container.unwrap().name.is_empty(),
            style.name == "cri-o"
        );
    }
}

#[tokio::test]
async fn a_plugin_without_direct_calls_gets_state_changes() {
    let scene = scene(Style::CONTAINERD_2_4);
    let heard = plugin(scene.runtime.nri_socket(), |_, _| None).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    for name in ["a", "b"] {
        scene.runtime.run_pod(&pod(name), None).await.unwrap();
    }
    let told = methods(&heard);
    let direct = told.iter().filter(|m| *m == "RunPodSandbox").count();
    let changes = told.iter().filter(|m| *m == "StateChange").count();
    assert_eq!((direct, changes), (1, 2), "{told:?}");
}

#[tokio::test]
async fn configure_overtakes_the_answer_to_register() {
    let scene = scene(Style::CONTAINERD_1_7_20);
    let heard = plugin(scene.runtime.nri_socket(), |_, _| None).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    assert_eq!(methods(&heard)[..2], ["Configure", "registered"]);
}

#[tokio::test]
async fn a_late_plugin_is_thrown_out_and_the_pod_runs_without_it() {
    let scene = scene(short(&Style::CONTAINERD_2_4));
    let late = |method: &str, _: &[u8]| (method == "RunPodSandbox").then_some(Reply::Never);
    plugin(scene.runtime.nri_socket(), late).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    scene.runtime.run_pod(&pod("web"), None).await.unwrap();
    assert!(!scene.runtime.has_plugin());
    assert!(
        scene
            .runtime
            .log()
            .last()
            .unwrap()
            .contains("context deadline exceeded")
    );
}

#[tokio::test]
async fn a_long_frame_ends_the_connection_and_the_pod_runs() {
    let scene = scene(short(&Style::CONTAINERD_2_2));
    let long = |method: &str, _: &[u8]| (method == "StateChange").then_some(Reply::OneFrame(5000));
    plugin(scene.runtime.nri_socket(), long).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    scene.runtime.run_pod(&pod("web"), None).await.unwrap();
    assert!(!scene.runtime.has_plugin());
}

#[tokio::test]
async fn a_refusal_stops_the_pod_and_is_followed_by_stop_and_remove() {
    let scene = scene(Style::CONTAINERD_2_2);
    let refuse = |method: &str, payload: &[u8]| {
        let event = StateChangeEvent::decode(payload).ok()?.event;
        (method == "StateChange" && event == 1).then_some(Reply::Error(2, "eth1 is gone"))
    };
    let heard = plugin(scene.runtime.nri_socket(), refuse).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    let network = network();
    let refused = scene
        .runtime
        .run_pod(&pod("web"), Some(Arc::clone(&network)))
        .await;
    assert_eq!(refused, Err("eth1 is gone".to_owned()));
    assert!(!network.path().exists());
    let changes: Vec<i32> = heard
        .lock()
        .unwrap()
        .iter()
        .filter(|(method, _)| method == "StateChange")
        .map(|(_, payload)| StateChangeEvent::decode(payload.as_slice()).unwrap().event)
        .collect();
    assert_eq!(changes, [1, 2, 3]);
    assert!(scene.runtime.has_plugin());
}

#[tokio::test]
async fn synchronize_is_split_and_a_plugin_that_ignores_that_is_closed() {
    let scene = scene(Style::CONTAINERD_2_2);
    for name in ["a", "b", "c"] {
        scene.runtime.run_pod(&pod(name), None).await.unwrap();
    }
    let careless = |method: &str, _: &[u8]| (method == "Synchronize").then(|| Reply::Ok(vec![]));
    plugin(scene.runtime.nri_socket(), careless).await;
    let log = || {
        scene
            .runtime
            .log()
            .iter()
            .any(|line| line.contains("split sync"))
    };
    crate::wait::until_true("the refusal", LIMIT, log)
        .await
        .unwrap();
    let heard = plugin(scene.runtime.nri_socket(), |_, _| None).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    let parts: Vec<(usize, bool)> = heard
        .lock()
        .unwrap()
        .iter()
        .filter(|(method, _)| method == "Synchronize")
        .map(|(_, payload)| SynchronizeRequest::decode(payload.as_slice()).unwrap())
        .map(|part| (part.pods.len(), part.more))
        .collect();
    assert_eq!(parts, [(2, true), (1, false)]);
}

#[tokio::test]
async fn after_a_restart_containerd_forgets_the_end_of_old_pods_and_cri_o_does_not() {
    for (style, told) in [(Style::CONTAINERD_2_2, false), (Style::CRIO_1_36, true)] {
        let scene = scene(style);
        let sandbox = scene.runtime.run_pod(&pod("web"), None).await.unwrap();
        scene.runtime.restart().await.unwrap();
        let heard = plugin(scene.runtime.nri_socket(), |_, _| None).await;
        scene.runtime.synchronised(1, LIMIT).await.unwrap();
        scene.runtime.stop_pod(&sandbox).await.unwrap();
        let stops = methods(&heard).iter().any(|method| method == "StateChange");
        assert_eq!(stops, told);
    }
}

#[tokio::test]
async fn events_beyond_the_known_ones_fail_the_registration() {
    let scene = scene(Style::CONTAINERD_1_7_20);
    let greedy = |method: &str, _: &[u8]| {
        let answer = ConfigureResponse { events: 0x3fff };
        (method == "Configure").then(|| Reply::Ok(answer.encode_to_vec()))
    };
    plugin(scene.runtime.nri_socket(), greedy).await;
    let refused = || {
        scene
            .runtime
            .log()
            .iter()
            .any(|line| line.contains("invalid plugin events"))
    };
    crate::wait::until_true("the refusal", LIMIT, refused)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_container_with_an_undefined_id_is_not_created_nor_shown_to_plugins() {
    let scene = scene(Style::CRIO_1_36);
    let heard = plugin(scene.runtime.nri_socket(), |_, _| None).await;
    scene.runtime.synchronised(1, LIMIT).await.unwrap();
    let sandbox = scene.runtime.run_pod(&pod("web"), None).await.unwrap();
    let ids = ["network.example.com/claim=u-1".to_owned()];
    let refused = scene
        .runtime
        .create_container(&sandbox, &ids)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("unresolvable CDI devices"));
    assert!(!methods(&heard).contains(&"CreateContainer".to_owned()));
    let spec = r#"{"cdiVersion":"0.6.0","kind":"network.example.com/claim",
        "devices":[{"name":"u-1","containerEdits":{"env":["CLAIM=u-1"]}}]}"#;
    std::fs::write(scene.runtime.cdi_dir().join("a.json"), spec).unwrap();
    let container = scene
        .runtime
        .create_container(&sandbox, &ids)
        .await
        .unwrap();
    assert!(container.env.contains(&"CLAIM=u-1".to_owned()));
}
