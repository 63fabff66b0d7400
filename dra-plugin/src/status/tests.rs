use super::*;
use crate::reason::Reason;

const NOW: &str = "2026-01-02T03:04:05Z";

fn now() -> Time {
    Time(NOW.parse().unwrap())
}

fn attached(addresses: &[&str]) -> DeviceState {
    DeviceState::Attached(network_driver_common::wire::AttachedInterface {
        device: "eth1".parse().unwrap(),
        name: "net1".parse().unwrap(),
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mtu: 1400,
        home_name: "eth1".parse().unwrap(),
    })
}

fn update(state: DeviceState) -> StatusUpdate {
    StatusUpdate {
        claim: ClaimRef {
            namespace: "default".into(),
            name: "nic".into(),
            uid: "c-1".parse().unwrap(),
        },
        devices: vec![DeviceStatus {
            pool: "node-1".into(),
            device: "eth1".parse().unwrap(),
            home_name: "eth1".into(),
            state,
            health: None,
        }],
        sandbox: "s1".parse().unwrap(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        since: Some(Instant::now()),
    }
}

fn object() -> Value {
    json!({
        "metadata": {"uid": "c-1", "generation": 3},
        "status": {"allocation": {"devices": {}}},
    })
}

fn applied(object: &Value, state: DeviceState) -> Option<Value> {
    patch(
        object,
        "network.example.com",
        &update(state),
        ResourceApi::V1,
        &now(),
    )
}

#[test]
fn an_attached_interface_is_shown_with_its_network_data() {
    let patch = applied(
        &object(),
        attached(&["10.0.0.1/24", "10.0.0.1/24", "fd00::1/64"]),
    )
    .unwrap();
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "Attached",
            "message": "net1 is in the pod and configured",
            "lastTransitionTime": NOW, "observedGeneration": 3,
        })
    };
    assert_eq!(
        patch,
        json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": "nic", "namespace": "default", "uid": "c-1"},
            "status": {"devices": [{
                "driver": "network.example.com",
                "pool": "node-1",
                "device": "eth1",
                "conditions": [condition("Ready"), condition("InterfaceAttached"), condition("InterfaceConfigured")],
                "data": {
                    "homeName": "eth1", "sandboxID": "s1", "mtu": 1400,
                    "traceId": "0af7651916cd43dd8448eb211c80319c",
                },
                "networkData": {
                    "interfaceName": "net1",
                    "ips": ["10.0.0.1/24", "fd00::1/64"],
                    "hardwareAddress": "02:00:00:00:00:01",
                },
            }]},
        })
    );
}

#[test]
fn entries_keep_within_the_limits_of_the_api() {
    let many: Vec<String> = (0..40).map(|n| format!("10.0.0.{n}/24")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let patch = applied(&object(), attached(&many)).unwrap();
    let ips = &patch["status"]["devices"][0]["networkData"]["ips"];
    assert_eq!(ips.as_array().unwrap().len(), 16);
    let failed = DeviceState::Failed {
        reason: Reason::InterfaceNameConflict,
        message: "x".repeat(5000),
    };
    let patch = applied(&object(), failed).unwrap();
    let entry = &patch["status"]["devices"][0];
    assert!(entry["networkData"].is_null());
    assert!(entry["conditions"].as_array().unwrap().len() <= 8);
    assert_eq!(
        entry["conditions"][0]["message"].as_str().unwrap().len(),
        1024
    );
    assert!(entry["data"].to_string().len() <= 10 * 1024);
}

#[test]
fn the_time_of_a_condition_changes_only_with_its_status() {
    let before = "2025-12-31T00:00:00Z";
    let mut object = object();
    object["status"]["devices"] = json!([
        {"driver": "other.example.com", "pool": "node-1", "device": "eth1",
         "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2001-01-01T00:00:00Z"}]},
        {"driver": "network.example.com", "pool": "node-1", "device": "eth1",
         "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": before}]},
    ]);
    let time = |state| {
        let patch = applied(&object, state).unwrap();
        patch["status"]["devices"][0]["conditions"][0]["lastTransitionTime"].clone()
    };
    assert_eq!(time(attached(&[])), json!(before));
    assert_eq!(time(DeviceState::Quarantined("gone".into())), json!(NOW));
}

#[test]
fn a_claim_that_is_no_longer_what_it_was_is_left_alone() {
    type Change = fn(&mut Value);
    let changes: [Change; 3] = [
        |o| o["metadata"]["uid"] = json!("c-2"),
        |o| o["status"]["allocation"] = Value::Null,
        |o| o["status"] = json!({}),
    ];
    for change in changes {
        let mut object = object();
        change(&mut object);
        assert_eq!(applied(&object, attached(&[])), None);
    }
    let old = patch(
        &object(),
        "d",
        &update(attached(&[])),
        ResourceApi::V1alpha3,
        &now(),
    );
    assert_eq!(old, None, "v1alpha3 has no status.devices");
}

#[test]
fn a_refusal_names_the_rule_that_is_missing() {
    let granular = "User cannot associated-node:patch resource resourceclaims/driver";
    let rule = missing_rule(granular, "network.example.com");
    assert!(
        rule.contains("resourceclaims/driver, resourceNames [network.example.com]"),
        "{rule}"
    );
    let plain = missing_rule("cannot patch resource resourceclaims/status", "d");
    assert!(plain.contains("resourceclaims/status"), "{plain}");
}

fn carrier_down() -> crate::health::Health {
    Err(network_driver_common::model::DeviceFault {
        reason: network_driver_common::model::FaultReason::CarrierDown,
        message: "net1 has no carrier".into(),
        since: std::time::SystemTime::UNIX_EPOCH,
    })
}

#[test]
fn health_changes_conditions_and_leaves_the_rest_of_a_standing_entry_alone() {
    let mut before = object();
    let attached = applied(&before, attached(&["10.0.0.1/24"])).unwrap();
    before["status"]["devices"] = attached["status"]["devices"].clone();
    let mut update = update(DeviceState::Standing);
    update.devices[0].health = Some(carrier_down());
    let later = Time("2026-01-02T04:00:00Z".parse().unwrap());
    let patch = patch(
        &before,
        "network.example.com",
        &update,
        ResourceApi::V1,
        &later,
    );
    let entry = patch.unwrap()["status"]["devices"][0].take();
    let stood = &before["status"]["devices"][0];
    assert_eq!(entry["networkData"], stood["networkData"]);
    assert_eq!(entry["data"], stood["data"]);
    let shown = entry["conditions"].as_array().unwrap().iter().map(|c| {
        let text = |field: &str| c[field].as_str().unwrap().to_owned();
        [
            text("type"),
            text("status"),
            text("reason"),
            text("message"),
        ]
        .join(" ")
    });
    let placed = "True Attached net1 is in the pod and configured";
    let down = "False CarrierDown net1 has no carrier";
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            format!("Ready {down}"),
            format!("InterfaceAttached {placed}"),
            format!("InterfaceConfigured {placed}"),
            format!("LinkUp {down}"),
            format!("Healthy {down}"),
        ]
    );
    let since = |index: usize| entry["conditions"][index]["lastTransitionTime"].clone();
    assert_eq!((since(0), since(1)), (json!(later), json!(NOW)));
}

#[test]
fn the_health_of_a_device_joins_what_waits_to_be_written() {
    let mut registry =
        network_driver_common::metrics::registry(network_driver_common::bus::Component::DraPlugin);
    let metrics = Metrics::new(&mut registry);
    let queue = StatusQueue::new(metrics.clone());
    let mut record = crate::fixture::record("c-1", &["eth1"]);
    record.sandbox = Some("s1".parse().unwrap());
    queue.show(update(attached(&["10.0.0.1/24"])));
    queue.health_changed(&record, &HealthBook::new(metrics));
    let waiting = futures::FutureExt::now_or_never(queue.queue.next()).unwrap();
    let state = &waiting.work.devices[0].state;
    assert!(matches!(state, DeviceState::Attached(_)), "{state:?}");
}

#[test]
fn news_of_a_device_are_linked_to_the_trace_that_a_report_is_part_of() {
    use opentelemetry::trace::{TraceContextExt, TracerProvider};
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::layer::SubscriberExt;

    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let report = update(attached(&[]));
    let news = StatusUpdate {
        since: None,
        ..report.clone()
    };
    let trace = |update: &StatusUpdate| {
        let span = info_span!(parent: None, "claim.status");
        update.place(&span);
        let context = span.context();
        context.span().span_context().trace_id().to_string()
    };
    assert_eq!(trace(&report), "0af7651916cd43dd8448eb211c80319c");
    assert_ne!(trace(&news), trace(&report));
}
