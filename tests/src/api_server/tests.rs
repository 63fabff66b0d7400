//! The stand-in over real HTTP, with requests as the driver's client sends them.

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::*;

const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

fn server(served: &[ResourceVersion]) -> ApiServer {
    ApiServer::serve(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), served).unwrap()
}

async fn open(
    server: &ApiServer,
    method: &str,
    path: &str,
    kind: &str,
    body: &Value,
) -> hyper::Response<hyper::body::Incoming> {
    let stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let body = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "test")
        .header("content-type", kind)
        .body(Full::new(body))
        .unwrap();
    sender.send_request(request).await.unwrap()
}

async fn ask(server: &ApiServer, method: &str, path: &str, body: Value) -> (u16, Value) {
    let kind = if method == "PATCH" {
        "application/apply-patch+yaml"
    } else {
        "application/json"
    };
    let response = open(server, method, path, kind, &body).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn slice(devices: &Value) -> Value {
    json!({
        "metadata": {"generateName": "00001-network.example.com-node-1-"},
        "spec": {
            "driver": "network.example.com", "nodeName": "node-1",
            "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": 1},
            "devices": devices,
        },
    })
}

#[tokio::test]
async fn discovery_shows_the_versions_that_are_served_newest_first() {
    let server = server(&[ResourceVersion::V1Beta1, ResourceVersion::V1]);
    let (_, group) = ask(&server, "GET", "/apis/resource.k8s.io", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(
        group["versions"][1]["groupVersion"],
        "resource.k8s.io/v1beta1"
    );
    let (code, _) = ask(
        &server,
        "GET",
        "/apis/resource.k8s.io/v1beta2/resourceslices",
        Value::Null,
    )
    .await;
    assert_eq!(code, 404);
    let (_, list) = ask(&server, "GET", "/apis/resource.k8s.io/v1", Value::Null).await;
    assert_eq!(list["resources"][0]["name"], "resourceslices");
}

#[tokio::test]
async fn a_slice_is_made_changed_only_at_its_version_and_deleted() {
    let server = server(&[ResourceVersion::V1]);
    let (code, made) = ask(&server, "POST", SLICES, slice(&json!([{"name": "eth1"}]))).await;
    assert_eq!(code, 201, "{made}");
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("00001-network.example.com-node-1-"));
    let path = format!("{SLICES}/{name}");
    let mut changed = made.clone();
    changed["spec"]["devices"] = json!([{"name": "eth2"}]);
    assert_eq!(ask(&server, "PUT", &path, changed.clone()).await.0, 200);
    assert_eq!(
        ask(&server, "PUT", &path, changed).await.0,
        409,
        "stale resource version"
    );
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(ask(&server, "DELETE", &path, wrong).await.0, 409);
    assert_eq!(ask(&server, "DELETE", &path, Value::Null).await.0, 200);
    assert_eq!(server.requests("update", "resourceslices"), 2);
    assert_eq!(server.writes("resourceslices"), 5);
}

#[tokio::test]
async fn slices_beyond_the_limits_are_refused() {
    let server = server(&[ResourceVersion::V1, ResourceVersion::V1Beta1]);
    let many: Vec<Value> = (0..129)
        .map(|n| json!({"name": format!("eth{n}")}))
        .collect();
    let attribute = |value: Value| json!([{"name": "a", "attributes": {"x": value}}]);
    let cases = [
        ("too many devices", json!(many)),
        ("bad name", json!([{"name": "a_b"}])),
        ("same name twice", json!([{"name": "a"}, {"name": "a"}])),
        ("long value", attribute(json!({"string": "x".repeat(65)}))),
        ("two values", attribute(json!({"string": "x", "int": 1}))),
        ("no number", attribute(json!({"int": "1"}))),
        ("bad version", attribute(json!({"version": "1.0"}))),
        (
            "bad id",
            json!([{"name": "a", "attributes": {"if-name": {"int": 1}}}]),
        ),
        (
            "bad quantity",
            json!([{"name": "a", "capacity": {"bandwidth": {"value": "fast"}}}]),
        ),
        ("older shape", json!([{"name": "a", "basic": {}}])),
    ];
    for (name, devices) in cases {
        let (code, answer) = ask(&server, "POST", SLICES, slice(&devices)).await;
        assert_eq!(
            (code, &answer["reason"]),
            (422, &json!("Invalid")),
            "{name}: {answer}"
        );
    }
    let older = "/apis/resource.k8s.io/v1beta1/resourceslices";
    let nested = slice(&json!([{"name": "a", "basic": {"attributes": {"x": {"int": 1}}}}]));
    assert_eq!(ask(&server, "POST", older, nested).await.0, 201);
    assert_eq!(server.devices()["a"].attributes["x"], json!({"int": 1}));
}

#[tokio::test]
async fn a_watch_tells_what_happened_since_a_version_and_what_happens() {
    let server = server(&[ResourceVersion::V1]);
    let (_, list) = ask(&server, "GET", &format!("{SLICES}?limit=50"), Value::Null).await;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, made) = ask(&server, "POST", SLICES, slice(&json!([]))).await;
    let path = format!(
        "{SLICES}?watch=true&resourceVersion={version}&fieldSelector=spec.driver%3Dnetwork.example.com"
    );
    let mut body = open(&server, "GET", &path, "", &Value::Null)
        .await
        .into_body();
    let mut line = async || {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        serde_json::from_slice::<Value>(&frame).unwrap()
    };
    let first = line().await;
    assert_eq!(first["type"], "ADDED");
    assert_eq!(
        first["object"]["metadata"]["name"],
        made["metadata"]["name"]
    );
    server.wipe_slices();
    assert_eq!(line().await["type"], "DELETED");
    server.expire_watches();
    assert_eq!(line().await["object"]["code"], 410);
}

fn claim() -> Value {
    json!({
        "metadata": {"namespace": "default", "name": "nic"},
        "spec": {"devices": {"requests": [{"name": "nic", "exactly": {"deviceClassName": "network"}}]}},
        "status": {
            "allocation": {"devices": {"results": [
                {"request": "nic", "driver": "network.example.com", "pool": "node-1", "device": "eth1"},
            ]}},
            "reservedFor": [{"resource": "pods", "name": "web", "uid": "p-1"}],
        },
    })
}

fn applied(device: &str, ips: &[&str]) -> Value {
    json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {"name": "nic"}, "status": {"devices": [
        {"driver": "network.example.com", "pool": "node-1", "device": device, "networkData": {"ips": ips},
         "conditions": [{"type": "Ready", "status": "True", "reason": "Attached", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    ]}})
}

#[tokio::test]
async fn status_is_applied_to_allocated_devices_only() {
    let server = server(&[ResourceVersion::V1, ResourceVersion::V1Beta1]);
    server.put_claim(claim());
    let path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/nic/status?fieldManager=us&force=true";
    let cases = [
        (applied("eth1", &["10.0.0.1/24"]), 200),
        (applied("eth2", &[]), 422),
        (applied("eth1", &["10.0.0.01/24"]), 422),
        (applied("eth1", &["10.0.0.1/24", "10.0.0.1/24"]), 422),
    ];
    for (body, want) in cases {
        let (code, answer) = ask(&server, "PATCH", path, body).await;
        assert_eq!(code, want, "{answer}");
    }
    let claim = server.claim("default", "nic").unwrap();
    assert_eq!(
        claim["status"]["devices"][0]["networkData"]["ips"][0],
        "10.0.0.1/24"
    );
    assert_eq!(server.requests("patch", "resourceclaims/status"), 4);
    let older = "/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims/nic";
    let (_, older) = ask(&server, "GET", older, Value::Null).await;
    assert_eq!(
        older["spec"]["devices"]["requests"][0]["deviceClassName"],
        "network"
    );
}

#[tokio::test]
async fn failures_come_as_told_and_then_end() {
    let server = server(&[ResourceVersion::V1]);
    server.fail("create", "resourceslices", 1, Fault::TooManyRequests(3));
    let response = open(
        &server,
        "POST",
        SLICES,
        "application/json",
        &slice(&json!([])),
    )
    .await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "3");
    server.drop_field("taints");
    let tainted = slice(&json!([{"name": "a", "taints": [{"key": "k", "effect": "NoSchedule"}]}]));
    let (code, stored) = ask(&server, "POST", SLICES, tainted).await;
    assert_eq!(
        (code, &stored["spec"]["devices"][0]),
        (201, &json!({"name": "a"}))
    );
    server.set_down(true);
    assert_eq!(ask(&server, "GET", SLICES, Value::Null).await.0, 503);
    server.set_down(false);
    assert_eq!(ask(&server, "GET", SLICES, Value::Null).await.0, 200);
}

#[tokio::test]
async fn events_are_checked() {
    let server = server(&[ResourceVersion::V1]);
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let mut event = json!({
        "metadata": {"name": "nic.1"}, "reason": "InterfaceAttached", "action": "Attach", "type": "Normal",
        "reportingController": "network.example.com", "reportingInstance": "node-1", "note": "eth1 is net1",
        "eventTime": "2026-01-01T00:00:00.000000Z", "regarding": {"namespace": "default", "name": "nic"},
    });
    assert_eq!(ask(&server, "POST", path, event.clone()).await.0, 201);
    event["action"] = Value::Null;
    event["metadata"]["name"] = "nic.2".into();
    assert_eq!(ask(&server, "POST", path, event).await.0, 422);
    assert_eq!(server.events().len(), 1);
}
