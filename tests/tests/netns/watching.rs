//! What an operator sees: events, metrics, probes, and how little the API server is written to.

use std::time::Duration;

use network_driver_common::bus::Component;
use network_driver_tests::cluster::{Cluster, PATIENCE};
use network_driver_tests::wait::until_true;
use serde_json::Value;

use crate::cluster;

/// Whether an event with this reason about a pod has a note with all of these words.
fn told(cluster: &Cluster, pod: &str, reason: &str, words: &[&str]) -> bool {
    let says = |event: &Value| {
        let note = event["note"].as_str().unwrap_or_default();
        event["reason"] == reason
            && event
                .pointer("/regarding/name")
                .is_some_and(|name| name == pod)
            && words.iter().all(|word| note.contains(word))
    };
    cluster.api.events().iter().any(says)
}

/// The value of a metric without regard to the order of its labels.
fn metric(cluster: &Cluster, component: Component, name: &str, label: &str) -> f64 {
    let (status, text) = cluster.http(component, "/metrics").unwrap();
    assert_eq!(status, 200);
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no {name} {label} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_events_tell_of_an_attach_and_of_a_failed_one() {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let good = cluster
        .claim("good")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let bad = cluster
        .claim("bad")
        .device("eth2")
        .interface("eth0", "10.1.2.2/24")
        .create();
    let (web, broken) = (cluster.pod("web", &[&good]), cluster.pod("broken", &[&bad]));
    web.start().await.unwrap();
    broken.start().await.unwrap_err();
    let good_news = || told(&cluster, "web", "InterfaceAttached", &["net1", "good"]);
    until_true("the good news", PATIENCE, good_news)
        .await
        .unwrap();
    let bad_news = || {
        told(
            &cluster,
            "broken",
            "InterfaceNameConflict",
            &["eth2", "eth0"],
        )
    };
    until_true("the bad news", PATIENCE, bad_news)
        .await
        .unwrap();
    web.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_the_promised_metrics_count() {
    let cluster = cluster(&["eth1"]).await;
    let plugin = |name, label| metric(&cluster, Component::DraPlugin, name, label);
    let claim = cluster.claim("nic").device("eth1").create();
    let unknown = cluster.claim("unknown").device("eth9").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    cluster.pod("bad", &[&unknown]).prepare().await.unwrap_err();
    pod.end().await.unwrap();
    assert_eq!(
        plugin("network_driver_node_prepare_requests_total", "success").to_string(),
        "1"
    );
    assert_eq!(
        plugin("network_driver_node_prepare_requests_total", "error").to_string(),
        "1"
    );
    assert_eq!(
        plugin("network_driver_node_unprepare_requests_total", "success").to_string(),
        "1"
    );
    let published = metric(
        &cluster,
        Component::Discovery,
        "network_driver_published_devices",
        "",
    );
    assert_eq!(published.to_string(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_probes_mean_what_they_say() {
    let cluster = cluster(&["eth1"]).await;
    for component in [
        Component::Discovery,
        Component::DraPlugin,
        Component::NriHook,
    ] {
        assert_eq!(cluster.http(component, "/livez").unwrap().0, 200);
        let (status, parts) = cluster.http(component, "/readyz?verbose").unwrap();
        assert_eq!(status, 200, "{parts}");
    }
    cluster.stop_daemon(Component::NriHook).unwrap();
    let not_ready = || {
        cluster
            .http(Component::DraPlugin, "/readyz?verbose")
            .is_ok_and(|(s, _)| s == 503)
    };
    until_true("dra-plugin to miss the hook", PATIENCE, not_ready)
        .await
        .unwrap();
    let (_, parts) = cluster
        .http(Component::DraPlugin, "/readyz?verbose")
        .unwrap();
    assert!(parts.contains("hook"), "{parts}");
    assert_eq!(cluster.http(Component::DraPlugin, "/livez").unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_pods_life_writes_its_status_and_no_slice() {
    let cluster = cluster(&["eth1"]).await;
    let slices = cluster.api.writes("resourceslices");
    let claim = cluster.claim("nic").device("eth1").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let shown = || cluster.api.writes("resourceclaims/status") >= 1;
    until_true("the status", PATIENCE, shown).await.unwrap();
    // What the hook looks at a second later would be written by now.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(cluster.api.writes("resourceclaims/status"), 1);
    pod.end().await.unwrap();
    assert_eq!(cluster.api.writes("resourceslices"), slices);
}
