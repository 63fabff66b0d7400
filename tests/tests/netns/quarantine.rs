//! A card that cannot come home as it was: offered to nobody until an operator has put it right and says so.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use network_driver_common::bus::Component;
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkChange, LinkKind, NewLink};
use network_driver_tests::cluster::{Cluster, PATIENCE, StartError};
use network_driver_tests::wait::until_true;
use serde_json::Value;

use crate::{FAR_1, cluster};

fn change(home: &Namespace, link: &str, change: &LinkChange) {
    let index = home.link(link).unwrap().index;
    let mut socket = home.socket().unwrap();
    socket.change_link(index, change).unwrap();
}

/// `ip link set LINK down; ip link set LINK name NAME; ip link set NAME up`
fn rename(home: &Namespace, link: &str, name: &str) {
    home.set_up(link, false).unwrap();
    let renamed = LinkChange {
        name: Some(name.parse().unwrap()),
        ..LinkChange::default()
    };
    change(home, link, &renamed);
    home.set_up(name, true).unwrap();
}

/// The name that the card came home under.
fn stranger(home: &Namespace) -> String {
    let names = home.link_names().unwrap();
    let mut names = names.iter().map(ToString::to_string);
    names.find(|name| name.starts_with("nd-")).unwrap()
}

async fn is_offered(cluster: &Cluster, devices: &[&str]) {
    let devices: BTreeSet<_> = devices.iter().map(|name| (*name).to_owned()).collect();
    cluster.published(&devices).await.unwrap();
}

async fn told(cluster: &Cluster, reason: &str) {
    let says = |event: &Value| {
        event["reason"] == reason
            && event
                .pointer("/regarding/kind")
                .is_some_and(|k| k == "Node")
    };
    let told = || cluster.api.events().iter().any(says);
    until_true(reason, PATIENCE, told).await.unwrap();
}

fn quarantined(cluster: &Cluster) -> Value {
    let list = ["quarantine", "list", "-o", "json"];
    let list = cluster.ask(Component::DraPlugin, &list).unwrap();
    serde_json::from_str(&list).unwrap()
}

/// What the reason says is to be done: `ip link set LINK alias "..."`
fn unmark(cluster: &Cluster, link: &str) {
    let list = quarantined(cluster);
    let reason = list.pointer("/0/reason").unwrap().to_string();
    let (_, alias) = reason.split_once(r#" alias \""#).unwrap();
    let (alias, _) = alias.split_once('\\').unwrap();
    let unmarked = LinkChange {
        alias: Some(alias.as_bytes().to_vec()),
        ..LinkChange::default()
    };
    change(cluster.node.home(), link, &unmarked);
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_card_whose_name_was_taken_is_offered_to_nobody_until_it_is_released() {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let (before, home) = (cluster.home().unwrap(), cluster.node.home());
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let usurper = NewLink::new("eth1".parse().unwrap(), LinkKind::Bridge);
    home.socket().unwrap().create_link(&usurper).unwrap();
    pod.end().await.unwrap();

    told(&cluster, "DeviceQuarantined").await;
    assert_eq!(quarantined(&cluster)[0]["device"], "eth1");
    is_offered(&cluster, &["eth2"]).await;
    let card = stranger(home);
    let links = cluster.ask(Component::Discovery, &["links"]).unwrap();
    let hidden = |line: &str| line.starts_with(&card) && line.contains("is in quarantine");
    assert!(links.lines().any(hidden), "{links}");
    let next = cluster.pod("next", &[&claim]);
    let Err(StartError::Prepare(refused)) = next.prepare().await else {
        panic!("a card in quarantine is prepared");
    };
    let cure = "run `dra-plugin quarantine release eth1` there";
    assert!(
        refused.contains("eth1 is taken at home") && refused.ends_with(cure),
        "{refused}"
    );

    // No restart lifts it, nor does any make the daemons write a slice.
    let writes = || cluster.api.writes("resourceslices");
    let written = writes();
    for component in [
        Component::DraPlugin,
        Component::Discovery,
        Component::NriHook,
    ] {
        cluster.restart_daemon(component).await.unwrap();
        is_offered(&cluster, &["eth2"]).await;
    }
    assert_eq!(quarantined(&cluster)[0]["device"], "eth1");
    assert_eq!(writes(), written);
    // With nothing to go by but what it sees, discovery waits for dra-plugin.
    for component in [Component::Discovery, Component::DraPlugin] {
        cluster.kill_daemon(component).unwrap();
    }
    cluster.api.wipe_slices();
    let (written, begun) = (writes(), Instant::now());
    cluster.start_daemon(Component::Discovery).unwrap();
    let seen = || cluster.ask(Component::Discovery, &["links"]).is_ok();
    until_true("the node to be read", PATIENCE, seen)
        .await
        .unwrap();
    cluster.start_daemon(Component::DraPlugin).unwrap();
    cluster.ready().await.unwrap();
    is_offered(&cluster, &["eth2"]).await;
    // It does so for ten seconds, in which a slow machine may not be ready.
    let waited = begun.elapsed() < Duration::from_secs(10);
    assert!(writes() == written.saturating_add(1) || !waited);

    // The operator puts it right. Only saying so makes it available again.
    let usurper = home.link("eth1").unwrap().index;
    home.socket().unwrap().delete_link(usurper).unwrap();
    rename(home, &card, "eth1");
    unmark(&cluster, "eth1");
    cluster.home_is(&before).await.unwrap();
    next.prepare().await.unwrap_err();
    is_offered(&cluster, &["eth2"]).await;
    let release = ["quarantine", "release", "eth1"];
    cluster.ask(Component::DraPlugin, &release).unwrap();
    told(&cluster, "DeviceReleased").await;
    is_offered(&cluster, &["eth1", "eth2"]).await;
    let again = cluster.ask(Component::DraPlugin, &release).unwrap_err();
    assert!(
        again
            .to_string()
            .contains("device eth1 is not in quarantine"),
        "{again}"
    );

    next.start().await.unwrap();
    next.ping(FAR_1).await.unwrap();
    next.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}
