//! Each kind of container runtime, and the ends that they give to a pod.

use network_driver_common::bus::Component;
use network_driver_tests::cluster::{Cluster, PATIENCE, Setup};
use network_driver_tests::runtime::Style;

use crate::{FAR_1, cluster};

async fn a_pods_life(style: Style) {
    a_pods_life_in(Setup::default().style(style)).await;
}

async fn a_pods_life_in(setup: Setup) {
    let cluster = Cluster::start(setup.nics(&["eth1"])).await.unwrap();
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    pod.run().await.unwrap();
    pod.create_container().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
    assert_eq!(
        cluster.runtime.registrations(),
        1,
        "{:?}",
        cluster.runtime.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_containerd_1_7_with_bare_stops_is_served() {
    let old = Setup::default().style(Style::CONTAINERD_1_7_20);
    a_pods_life_in(old.cdi_confirmed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_containerd_2_2_with_state_changes_is_served() {
    a_pods_life(Style::CONTAINERD_2_2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_containerd_2_4_with_calls_of_their_own_is_served() {
    a_pods_life(Style::CONTAINERD_2_4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_cri_o_which_removes_the_netns_before_the_stop_is_served() {
    a_pods_life(Style::CRIO_1_36).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_container_waits_while_its_claim_is_not_attached() {
    for style in [Style::CONTAINERD_2_4, Style::CRIO_1_36] {
        let cluster = Cluster::start(Setup::default().nics(&["eth1"]).style(style))
            .await
            .unwrap();
        let claim = cluster
            .claim("nic")
            .device("eth1")
            .interface("net1", "10.1.1.2/24")
            .create();
        let (pod, stranger) = (
            cluster.pod("web", &[&claim]),
            cluster.pod("stranger", &[&claim]),
        );
        pod.prepare().await.unwrap();
        stranger.run().await.unwrap();
        let ids = [claim.cdi_id()];
        let undefined = cluster
            .runtime
            .create_container(&stranger.sandbox_id(), &ids)
            .await
            .unwrap_err();
        assert!(
            undefined.to_string().contains("unresolvable CDI devices"),
            "{undefined}"
        );
        pod.run().await.unwrap();
        pod.create_container().await.unwrap();
        let elsewhere = cluster
            .runtime
            .create_container(&stranger.sandbox_id(), &ids)
            .await
            .unwrap_err();
        assert!(
            !elsewhere.to_string().contains("unresolvable"),
            "{elsewhere}"
        );
        pod.end().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_remove_without_a_stop_brings_the_device_home() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.remove().await.unwrap();
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_after_a_restart_of_the_runtime_no_stop_comes_and_unprepare_brings_the_device_home() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let during = pod.state().unwrap();
    cluster.runtime.restart().await.unwrap();
    cluster.runtime.synchronised(2, PATIENCE).await.unwrap();
    cluster.ready().await.unwrap();
    assert_eq!(pod.state().unwrap(), during);
    pod.stop().await.unwrap();
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();
    pod.remove().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_pods_told_in_parts_are_all_known_after_a_restart_of_the_hook() {
    let setup = Setup::default()
        .nics(&["eth1"])
        .style(Style::CONTAINERD_2_2);
    let cluster = Cluster::start(setup).await.unwrap();
    let before = cluster.home().unwrap();
    for name in ["a", "b", "c"] {
        cluster.pod(name, &[]).start().await.unwrap();
    }
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    cluster.restart_daemon(Component::NriHook).await.unwrap();
    pod.create_container().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_sandbox_made_while_the_hook_was_away_starts_nothing_until_it_is_attached() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    cluster.kill_daemon(Component::NriHook).unwrap();
    pod.run().await.unwrap();
    let waits = pod.create_container().await.unwrap_err().to_string();
    assert!(waits.contains("unresolvable CDI devices"), "{waits}");
    cluster.start_daemon(Component::NriHook).unwrap();
    pod.create_container_in_time().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_garbage_from_the_runtime_costs_the_hook_a_connection_and_no_more() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let during = pod.state().unwrap();
    let endless = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    let no_ttrpc = [
        0, 0, 0, 1, 0, 0, 0, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 9, 9,
    ];
    let mut connections = 1_usize;
    for garbage in [&endless[..], &no_ttrpc[..]] {
        cluster.runtime.send_garbage(garbage).await;
        connections = connections.saturating_add(1);
        cluster
            .runtime
            .synchronised(connections, PATIENCE)
            .await
            .unwrap();
    }
    // A frame for nobody is skipped.
    cluster
        .runtime
        .send_garbage(&[0, 0, 0, 77, 0, 0, 0, 2, 1, 2])
        .await;
    cluster.ready().await.unwrap();
    assert_eq!(pod.state().unwrap(), during);
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
    assert_eq!(cluster.runtime.registrations(), connections);
}
