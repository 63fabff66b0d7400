use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use network_driver_proto::health_v1::HealthStatus;
use network_driver_proto::health_v1::NodeWatchResourcesRequest;
use network_driver_proto::health_v1::dra_resource_health_client::DraResourceHealthClient;
use network_driver_proto::pluginregistration::registration_client::RegistrationClient;
use network_driver_proto::pluginregistration::{InfoRequest, RegistrationStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::testing::{Node, dial, until};

/// A unary gRPC call with an empty message, byte for byte as the kubelet's client begins it, whose authority is the
/// percent-encoded path of the socket. Returns everything that came back until the answer or a refusal.
async fn call_by_bare_path(socket: &Path, method: &str) -> Vec<u8> {
    drop(dial(socket).await);
    let authority = socket.display().to_string().replace('/', "%2F");
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", method),
        (":authority", authority.as_str()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal without indexing, its name not in the table (RFC 7541 §6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[])); // SETTINGS
    bytes.extend(frame(1, 4, 1, &block)); // HEADERS, END_HEADERS
    bytes.extend(frame(0, 1, 1, &[0; 5])); // DATA, END_STREAM: an empty message
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        answer.extend_from_slice(&payload);
        let (kind, stream_id) = (head[3], head[8]);
        let reset = kind == 3 || kind == 7;
        assert!(!reset, "the server refuses the kubelet's call: {payload:?}");
        if kind == 0 && stream_id == 1 {
            return answer;
        }
    }
}

const GET_INFO: &str = "/pluginregistration.Registration/GetInfo";

#[tokio::test]
async fn the_kubelets_call_by_bare_path_is_answered() {
    let node = Node::start().await;
    let answer = call_by_bare_path(&node.paths.registration, GET_INFO).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        text.contains("DRAPlugin") && text.contains("dra.sock"),
        "{text:?}"
    );
}

#[tokio::test]
async fn an_older_kubelets_calls_by_bare_path_are_answered() {
    let node = Node::start().await;
    for service in [
        "v1alpha3.Node",
        "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin",
    ] {
        let method = format!("/{service}/NodePrepareResources");
        let answer = call_by_bare_path(&node.paths.dra, &method).await;
        // The last frame holds the answer for no claims: an empty message.
        assert!(answer.ends_with(&[0; 5]), "{service}: {answer:?}");
    }
}

#[tokio::test]
async fn the_driver_introduces_itself_and_is_ready_once_it_is_registered() {
    let node = Node::start().await;
    let reason = || {
        let parts = node.health.parts();
        parts
            .into_iter()
            .find(|p| p.name == "kubelet")
            .unwrap()
            .reason
    };
    let mut client = RegistrationClient::new(dial(&node.paths.registration).await);
    let info = client.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.r#type, "DRAPlugin");
    assert_eq!(info.name, "network.example.com");
    assert_eq!(Path::new(&info.endpoint), node.paths.dra);
    assert_eq!(
        info.supported_versions,
        [
            "v1.DRAPlugin",
            "v1beta1.DRAPlugin",
            "v1.DRAResourceHealth",
            "v1alpha1.DRAResourceHealth",
            "v1alpha3.Node",
            "1.0.0",
        ]
    );
    let status = |plugin_registered, error: &str| RegistrationStatus {
        plugin_registered,
        error: error.to_owned(),
    };
    client
        .notify_registration_status(status(true, ""))
        .await
        .unwrap();
    assert_eq!(reason(), None);
    let refused = client.notify_registration_status(status(false, "no such version"));
    let refused = refused.await.unwrap_err();
    assert!(refused.message().contains("no such version"), "{refused}");
    assert!(reason().unwrap().contains("no such version"));
}

#[tokio::test]
async fn the_driver_can_be_called_before_it_can_be_found() {
    let node = Node::start().await;
    let registration = std::fs::symlink_metadata(&node.paths.registration);
    if registration.is_ok() {
        let dra = std::fs::symlink_metadata(&node.paths.dra).unwrap();
        assert!(dra.file_type().is_socket());
    }
    drop(dial(&node.paths.registration).await);
    assert!(node.prepare(&[]).await.is_empty());
}

#[tokio::test]
async fn sockets_that_are_removed_are_made_again_and_calls_go_on() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    drop(dial(&node.paths.registration).await);
    for path in [&node.paths.registration, &node.paths.dra] {
        std::fs::remove_file(path).unwrap();
        until("the socket is there again", || path.exists()).await;
    }
    node.prepare_one("c-1").await.unwrap();
    // The kubelet empties its directories, or makes them anew.
    for path in [&node.paths.registration, &node.paths.dra] {
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        until("the socket is there again", || path.exists()).await;
    }
    assert!(
        !call_by_bare_path(&node.paths.registration, GET_INFO)
            .await
            .is_empty()
    );
    node.unprepare("c-1").await.unwrap();
}

#[tokio::test]
async fn both_sockets_are_removed_when_the_daemon_ends() {
    let mut node = Node::start().await;
    drop(dial(&node.paths.registration).await);
    node.stop.cancel();
    let (dra, registration) = (node.paths.dra.clone(), node.paths.registration.clone());
    until("the sockets are gone", || {
        !dra.exists() && !registration.exists()
    })
    .await;
    node.tasks.shutdown().await;
}

#[tokio::test]
async fn health_is_reported_at_once_and_again_after_a_change() {
    let node = Node::start().await;
    let hook = node.hook().await;
    let mut client = DraResourceHealthClient::new(dial(&node.paths.dra).await);
    let stream = client
        .node_watch_resources(NodeWatchResourcesRequest {})
        .await;
    let mut stream = stream.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.devices.len(), 4);
    assert!(
        first
            .devices
            .iter()
            .all(|d| d.health() == HealthStatus::Healthy)
    );
    assert_eq!(first.devices[0].health_check_timeout_seconds, 30);
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    hook.state().released.quarantined = vec![network_driver_proto::bus::QuarantinedDevice {
        device: "eth1".into(),
        reason: "broken".into(),
        lost: false,
    }];
    node.unprepare("c-1").await.unwrap();
    loop {
        let report = stream.message().await.unwrap().unwrap();
        let unhealthy: Vec<_> = report
            .devices
            .iter()
            .filter(|d| d.health() == HealthStatus::Unhealthy)
            .collect();
        if let [device] = unhealthy[..] {
            assert_eq!(device.device.as_ref().unwrap().device_name, "eth1");
            assert_eq!(device.message, "broken");
            break;
        }
    }
}
