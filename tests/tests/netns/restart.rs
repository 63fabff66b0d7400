//! Daemons and the runtime killed while a pod holds a device: nothing changes, and the end works.

use network_driver_common::bus::Component;
use network_driver_tests::cluster::PATIENCE;
use network_driver_tests::invariants::{AtRest, Rest};
use network_driver_tests::wait::until_true;

use crate::{FAR_1, cluster};

async fn a_restart_changes_nothing(component: Component) {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let before = AtRest::of(&cluster).unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    // The last thing that the kernel adds by itself.
    let settled = || {
        let state = pod.state().unwrap().to_string();
        let own = |l: &str| l.starts_with("route fe80::") && l.contains("/128 table 255 over net1");
        state.lines().any(own)
    };
    until_true("the pod's own IPv6 route", PATIENCE, settled)
        .await
        .unwrap();
    let during = (
        pod.state().unwrap(),
        cluster.home().unwrap(),
        cluster.api.slices(),
        cluster.cdi_files(),
    );
    cluster.restart_daemon(component).await.unwrap();
    let after = (
        pod.state().unwrap(),
        cluster.home().unwrap(),
        cluster.api.slices(),
        cluster.cdi_files(),
    );
    assert_eq!(during, after);
    pod.ping(FAR_1).await.unwrap();
    before.holds_meanwhile(&cluster).unwrap();
    pod.end().await.unwrap();
    assert_eq!(before.holds(&cluster).await.unwrap(), Rest::Whole);
    let next = cluster.pod("next", &[&claim]);
    next.start().await.unwrap();
    next.end().await.unwrap();
    assert_eq!(before.holds(&cluster).await.unwrap(), Rest::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_restart_of_discovery_changes_nothing() {
    a_restart_changes_nothing(Component::Discovery).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_restart_of_dra_plugin_changes_nothing() {
    a_restart_changes_nothing(Component::DraPlugin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_restart_of_nri_hook_changes_nothing() {
    a_restart_changes_nothing(Component::NriHook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_all_daemons_killed_and_started_the_other_way_round_change_nothing() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let slices = cluster.api.slices();
    for component in [
        Component::Discovery,
        Component::DraPlugin,
        Component::NriHook,
    ] {
        cluster.kill_daemon(component).unwrap();
    }
    for component in [
        Component::NriHook,
        Component::DraPlugin,
        Component::Discovery,
    ] {
        cluster.start_daemon(component).unwrap();
    }
    cluster.runtime.synchronised(2, PATIENCE).await.unwrap();
    cluster.ready().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    assert_eq!(cluster.api.slices(), slices);
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_daemons_end_well_when_asked_and_leave_no_socket() {
    let cluster = cluster(&["eth1"]).await;
    for component in [
        Component::NriHook,
        Component::DraPlugin,
        Component::Discovery,
    ] {
        cluster.stop_daemon(component).unwrap();
        let socket = network_driver_common::bus::socket_path(&cluster.bus_dir(), component);
        assert!(
            !socket.exists(),
            "{} left {}",
            component.as_str(),
            socket.display()
        );
    }
    let registry = cluster.kubelet.root().join("plugins_registry");
    assert_eq!(std::fs::read_dir(registry).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_second_dra_plugin_is_refused_and_the_first_works_on() {
    let cluster = cluster(&["eth1"]).await;
    let code = cluster.second_process(Component::DraPlugin).await.unwrap();
    assert_eq!(code, Some(4), "{}", cluster.log(Component::DraPlugin));
    let claim = cluster.claim("nic").device("eth1").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_an_unprepare_without_the_hook_is_an_error_until_it_is_back() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    cluster.kill_daemon(Component::NriHook).unwrap();
    let refused = cluster
        .unprepare_claim(&claim)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("hook"), "{refused}");
    pod.ping(FAR_1).await.unwrap();
    cluster.start_daemon(Component::NriHook).unwrap();
    cluster.runtime.synchronised(2, PATIENCE).await.unwrap();
    cluster.ready().await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_link_that_died_with_its_pod_while_the_hook_was_away_does_not_hold_up_the_unprepare()
 {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    cluster.kill_daemon(Component::NriHook).unwrap();
    pod.stop().await.unwrap();
    cluster.start_daemon(Component::NriHook).unwrap();
    cluster.runtime.synchronised(2, PATIENCE).await.unwrap();
    cluster.ready().await.unwrap();
    pod.unprepare().await.unwrap();
    assert_eq!(cluster.links_at_home().unwrap(), ["eth2"]);
    assert!(cluster.cdi_files().is_empty());
    let other = cluster.claim("other").device("eth2").create();
    let next = cluster.pod("next", &[&other]);
    next.start().await.unwrap();
    next.end().await.unwrap();
}
