//! A device that does not work in its pod: told to the kubelet, to discovery, in the claim's status and as an event.

use std::time::Duration;

use network_driver_proto::bus::Detached;
use network_driver_proto::bus::report::Event;
use network_driver_proto::health_v1::dra_resource_health_client::DraResourceHealthClient;
use network_driver_proto::health_v1::{
    HealthStatus, NodeWatchResourcesRequest, NodeWatchResourcesResponse,
};
use serde_json::Value;
use tonic::Streaming;

use super::pods::{acknowledged, attached, prepared, report};
use crate::testing::{FakeHook, Node, dial, until};

async fn running() -> (Node, FakeHook) {
    let (node, hook) = prepared().await;
    hook.report(report(1, "s1", attached()));
    acknowledged(&hook, 1).await;
    (node, hook)
}

/// What discovery was told last of eth1: why it does not work, and since which second.
fn told(node: &Node) -> Option<(String, i64)> {
    let list = node.discovery.newest.lock().unwrap();
    let fault = list.devices.first()?.fault.clone()?;
    Some((fault.reason, fault.since_unix_nanos / 1_000_000_000))
}

/// Status and reason of a condition in the newest status that was written.
fn condition(node: &Node, kind: &str) -> Option<(String, String)> {
    let state = node.api.state();
    let (_, patch) = state.patches.last()?;
    let conditions = patch["status"]["devices"][0]["conditions"].as_array()?;
    let condition = conditions.iter().find(|c| c["type"] == kind)?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some((text(&condition["status"]), text(&condition["reason"])))
}

async fn shows(node: &Node, kind: &str, status: &str, reason: &str) {
    let want = Some((status.to_owned(), reason.to_owned()));
    until("the condition is so", || condition(node, kind) == want).await;
}

async fn kubelet(node: &Node) -> Streaming<NodeWatchResourcesResponse> {
    let mut client = DraResourceHealthClient::new(dial(&node.paths.dra).await);
    let stream = client
        .node_watch_resources(NodeWatchResourcesRequest {})
        .await;
    stream.unwrap().into_inner()
}

async fn until_kubelet_hears(
    stream: &mut Streaming<NodeWatchResourcesResponse>,
    want: HealthStatus,
) {
    let hear = async {
        loop {
            let report = stream.message().await.unwrap().unwrap();
            let mut devices = report.devices.iter();
            let eth1 = devices.find(|d| d.device.as_ref().unwrap().device_name == "eth1");
            if eth1.unwrap().health() == want {
                return;
            }
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(5), hear).await;
    heard.unwrap_or_else(|_| panic!("the kubelet does not hear within 5 s: {want:?}"));
}

#[tokio::test]
async fn a_lost_carrier_is_told_everywhere_and_taken_back_when_it_returns() {
    let (node, hook) = running().await;
    let mut stream = kubelet(&node).await;
    hook.health("eth1", Some(("CarrierDown", 7)));
    until_kubelet_hears(&mut stream, HealthStatus::Unhealthy).await;
    let down = Some(("CarrierDown".to_owned(), 7));
    until("discovery knows", || told(&node) == down).await;
    for kind in ["Ready", "LinkUp", "Healthy"] {
        shows(&node, kind, "False", "CarrierDown").await;
    }
    shows(&node, "InterfaceAttached", "True", "Attached").await;
    hook.health("eth1", None);
    until_kubelet_hears(&mut stream, HealthStatus::Healthy).await;
    until("discovery knows", || told(&node).is_none()).await;
    for kind in ["Ready", "LinkUp", "Healthy"] {
        shows(&node, kind, "True", "Attached").await;
    }
    let events = node.api.state().events.clone();
    let lost = events.iter().any(|(_, reason)| reason == "InterfaceLost");
    assert!(!lost, "a carrier may come back: {events:?}");
}

#[tokio::test]
async fn a_device_that_is_gone_is_told_to_its_pod_and_claim_once() {
    let (node, hook) = running().await;
    hook.health("eth1", Some(("DeviceGone", 7)));
    hook.health("eth1", Some(("DeviceGone", 7)));
    for kind in ["Ready", "InterfaceAttached", "LinkUp", "Healthy"] {
        shows(&node, kind, "False", "DeviceGone").await;
    }
    let lost = |kind: &str| (kind.to_owned(), "InterfaceLost".to_owned());
    for kind in ["Pod", "ResourceClaim"] {
        until("the event is written", || {
            node.api.state().events.contains(&lost(kind))
        })
        .await;
    }
    // A later report is handled after what was said before it.
    hook.report(report(2, "s1", attached()));
    acknowledged(&hook, 2).await;
    let events = node.api.state().events.clone();
    assert_eq!(events.iter().filter(|e| **e == lost("Pod")).count(), 1);
    assert!(
        told(&node).is_some(),
        "the same sandbox reported again hides nothing"
    );
}

#[tokio::test]
async fn what_was_said_of_a_device_ends_with_its_stay_in_the_pod() {
    let (node, hook) = running().await;
    hook.health("eth1", Some(("CarrierDown", 7)));
    until("discovery knows", || told(&node).is_some()).await;
    // The session with discovery goes on while the hook is away, and so does what the hook said last.
    drop(hook);
    until("the hook is gone", || node.driver.hook.ready().is_err()).await;
    assert!(told(&node).is_some());
    let hook = node.hook().await;
    hook.report(report(2, "s1", Event::Detached(Detached::default())));
    acknowledged(&hook, 2).await;
    until("discovery knows", || told(&node).is_none()).await;
}

#[tokio::test]
async fn a_device_that_the_claim_does_not_hold_is_not_believed() {
    let (node, hook) = running().await;
    hook.health("eth2", Some(("DeviceGone", 7)));
    hook.health("no/device", Some(("DeviceGone", 7)));
    hook.report(report(2, "s1", attached()));
    acknowledged(&hook, 2).await;
    assert_eq!(node.driver.health.of(&"eth2".parse().unwrap()), None);
}
