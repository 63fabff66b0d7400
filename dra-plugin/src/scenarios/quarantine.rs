//! A device that could not be brought home as it was: offered to nobody, prepared for nobody, until it is released.

use network_driver_common::bus::{self, Component};
use network_driver_proto::bus::claims_client::ClaimsClient;
use network_driver_proto::bus::report::Event;
use network_driver_proto::bus::{
    AttachFailed, Detached, LeftBehind, QuarantinedDevice, ReleaseQuarantineRequest, Released,
};
use tonic::Code;

use super::pods::{acknowledged, attached, prepared, report};
use crate::quarantine::{SETTLED, Unwell};
use crate::store::{Change, Contents};
use crate::testing::{Node, until};

fn bent() -> Vec<QuarantinedDevice> {
    vec![QuarantinedDevice {
        device: "eth1".into(),
        reason: "device eth1 is home, but not as it was".into(),
        lost: false,
    }]
}

/// What `dra-plugin quarantine release eth1` asks for.
async fn release(node: &Node) -> Result<(), tonic::Status> {
    let channel = bus::channel(node.dir.path(), Component::DraPlugin);
    let device = "eth1".to_owned();
    let released = ClaimsClient::new(channel)
        .release_quarantine(ReleaseQuarantineRequest { device })
        .await;
    released.map(drop)
}

async fn told(node: &Node, kind: &str, reason: &str) {
    let event = (kind.to_owned(), reason.to_owned());
    until("the event is written", || {
        node.api.state().events.contains(&event)
    })
    .await;
}

/// Waits until discovery was told which devices are in quarantine.
async fn discovery_knows(node: &Node, want: &[&str]) {
    until("discovery knows the quarantine", || {
        let list = node.discovery.newest.lock().unwrap();
        list.quarantined
            .iter()
            .map(|q| q.device.as_str())
            .eq(want.iter().copied())
    })
    .await;
}

#[tokio::test]
async fn a_device_that_cannot_come_home_is_prepared_for_nobody_until_an_operator_releases_it() {
    let (node, hook) = prepared().await;
    hook.state().released = Released {
        quarantined: bent(),
    };
    node.unprepare("c-1").await.unwrap();
    told(&node, "Node", "DeviceQuarantined").await;
    discovery_knows(&node, &["eth1"]).await;
    let identity = node.discovery.newest.lock().unwrap().quarantined[0]
        .identity
        .clone();
    assert!(identity.is_some(), "the link is known under any name");
    node.api.allocate("c-2", &["eth1"], None);
    for _ in 0..2 {
        let error = node.prepare_one("c-2").await.unwrap_err();
        assert_eq!(
            error,
            "device eth1 of node node-1 is in quarantine: device eth1 is home, but not as it was; put its link right on \
             the node, then run `dra-plugin quarantine release eth1` there"
        );
    }
    told(&node, "ResourceClaim", "DeviceQuarantined").await;
    assert!(node.driver.book.records().is_empty());
    assert!(!hook.state().orders.contains(&"check c-2".to_owned()));
    release(&node).await.unwrap();
    told(&node, "Node", "DeviceReleased").await;
    discovery_knows(&node, &[]).await;
    assert_eq!(node.prepare_one("c-2").await.unwrap(), ["eth1"]);
    assert_eq!(release(&node).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_link_that_was_left_behind_is_quarantined_once_and_stays_out_until_it_is_released() {
    let (node, hook) = prepared().await;
    let left = |device: &str, reason: &str| {
        let quarantined = vec![QuarantinedDevice {
            device: device.into(),
            reason: reason.into(),
            lost: false,
        }];
        Event::LeftBehind(LeftBehind { quarantined })
    };
    let mut report = report(1, "", left("eth9", "device eth9 is home with a mark"));
    report.claim_uid = "c-lost".into();
    report.pod = None;
    hook.report(report.clone());
    acknowledged(&hook, 1).await;
    told(&node, "Node", "DeviceQuarantined").await;
    discovery_knows(&node, &["eth9"]).await;
    // Again, in other words: what is known of it holds.
    report.id = 2;
    report.event = Some(left("eth9", "other words"));
    hook.report(report);
    acknowledged(&hook, 2).await;
    let quarantined = node.driver.book.quarantined();
    let kept: Vec<_> = quarantined.values().map(|q| q.reason.as_str()).collect();
    assert_eq!(kept, ["device eth9 is home with a mark"]);
    let events = node.api.state().events.clone();
    let of_node = events.iter().filter(|event| event.1 == "DeviceQuarantined");
    assert_eq!(of_node.count(), 1);
}

#[tokio::test]
async fn a_device_that_is_lost_is_free_again_once_there_is_such_a_link() {
    let (node, hook) = prepared().await;
    hook.state().released = Released {
        quarantined: vec![QuarantinedDevice {
            device: "eth1".into(),
            reason: "device eth1 is lost".into(),
            lost: true,
        }],
    };
    node.unprepare("c-1").await.unwrap();
    told(&node, "Node", "InterfaceLost").await;
    node.api.allocate("c-2", &["eth1"], None);
    let error = node.prepare_one("c-2").await.unwrap_err();
    let want = "device eth1 of node node-1 is gone: device eth1 is lost; will retry";
    assert_eq!(error, want);
    // Discovery may hide what is bent, and has to look out for what is gone.
    discovery_knows(&node, &[]).await;
    node.discovery.offer(&["eth2"]);
    until("the inventory is known", || {
        node.driver.inventory.names().len() == 1
    })
    .await;
    tokio::time::sleep(SETTLED).await;
    assert_eq!(node.driver.book.quarantined().len(), 1, "it is not there");
    node.discovery.offer(&["eth1", "eth2"]);
    told(&node, "Node", "DeviceReleased").await;
    assert!(node.driver.book.quarantined().is_empty());
    assert_eq!(node.prepare_one("c-2").await.unwrap(), ["eth1"]);
}

#[tokio::test]
async fn a_lost_device_that_comes_home_bent_after_all_stays_in_quarantine() {
    let (node, hook) = prepared().await;
    let unwell = |reason: &str, lost| QuarantinedDevice {
        device: "eth1".into(),
        reason: reason.into(),
        lost,
    };
    hook.state().released = Released {
        quarantined: vec![unwell("device eth1 is lost", true)],
    };
    node.unprepare("c-1").await.unwrap();
    let quarantined = vec![unwell("device eth1 is home with a mark", false)];
    let mut report = report(1, "", Event::LeftBehind(LeftBehind { quarantined }));
    report.pod = None;
    hook.report(report);
    acknowledged(&hook, 1).await;
    discovery_knows(&node, &["eth1"]).await;
    told(&node, "Node", "DeviceQuarantined").await;
}

#[tokio::test]
async fn a_quarantine_survives_a_restart_and_prepares_before_discovery_is_heard() {
    let (node, hook) = prepared().await;
    hook.state().released = Released {
        quarantined: bent(),
    };
    node.unprepare("c-1").await.unwrap();
    let commits = node.store.commits.lock().unwrap().concat();
    let quarantined = commits.iter().filter_map(|change| match change {
        Change::Quarantine(quarantine) => Some((**quarantine).clone()),
        _ => None,
    });
    let contents = Contents {
        quarantined: quarantined.collect(),
        ..Contents::default()
    };
    drop((node, hook));
    let node = Node::start_with(contents, "boot-2").await;
    let _hook = node.hook().await;
    discovery_knows(&node, &["eth1"]).await;
    node.api.allocate("c-2", &["eth1"], None);
    assert!(
        node.prepare_one("c-2")
            .await
            .unwrap_err()
            .contains("is in quarantine")
    );
}

#[tokio::test]
async fn a_detach_that_leaves_a_device_broken_quarantines_it_while_its_claim_still_holds_it() {
    let (node, hook) = prepared().await;
    hook.report(report(1, "s1", attached()));
    let detached = Event::Detached(Detached {
        quarantined: bent(),
    });
    hook.report(report(2, "s1", detached.clone()));
    acknowledged(&hook, 2).await;
    discovery_knows(&node, &["eth1"]).await;
    let fault = node.discovery.newest.lock().unwrap().devices[0]
        .fault
        .clone();
    assert_eq!(fault.unwrap().reason, "Quarantined");
    // A hook that begins anew is told which devices are bent.
    drop(hook);
    let hook = node.hook().await;
    assert_eq!(hook.state().quarantined, bent());
    // A later attach does not lift it, and the claim is not prepared again with it.
    hook.report(report(3, "s2", attached()));
    acknowledged(&hook, 3).await;
    assert_eq!(node.driver.book.quarantined().len(), 1);
    assert!(
        node.prepare_one("c-1")
            .await
            .unwrap_err()
            .contains("is in quarantine")
    );
    let held = release(&node).await.unwrap_err();
    assert_eq!(held.code(), Code::FailedPrecondition);
    assert!(held.message().contains("default/c-1"), "{held}");
    node.unprepare("c-1").await.unwrap();
    assert_eq!(
        node.driver.book.quarantined().len(),
        1,
        "it outlives the claim"
    );
    release(&node).await.unwrap();
}

#[tokio::test]
async fn what_the_undo_of_a_failed_attach_leaves_behind_is_quarantined_and_told_once() {
    let (node, hook) = prepared().await;
    let failed = Event::Failed(AttachFailed {
        reason: "InterfaceAttachFailed".into(),
        message: "configure interface net1".into(),
        quarantined: bent(),
    });
    hook.report(report(1, "s1", failed.clone()));
    hook.report(report(2, "s1", failed));
    acknowledged(&hook, 2).await;
    assert_eq!(node.driver.book.quarantined().len(), 1);
    told(&node, "Node", "DeviceQuarantined").await;
    until("the status is written", || {
        !node.api.state().patches.is_empty()
    })
    .await;
    let (_, patch) = node.api.state().patches[0].clone();
    let ready = &patch["status"]["devices"][0]["conditions"][0];
    assert_eq!(ready["reason"], "Quarantined");
    let events = node.api.state().events.clone();
    let of_node = events.iter().filter(|(kind, _)| kind == "Node").count();
    assert_eq!(of_node, 1, "{events:?}");
}

#[tokio::test]
async fn a_device_that_ends_in_quarantine_while_a_claim_is_checked_is_not_kept() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    hook.state().hold.insert("check");
    let (answer, ()) = tokio::join!(node.prepare_one("c-1"), async {
        until("the claim is checked", || !hook.state().held.is_empty()).await;
        let bent = vec![Unwell {
            device: "eth1".parse().unwrap(),
            reason: "bent".to_owned(),
            lost: false,
        }];
        let uid = "c-0".parse().unwrap();
        node.driver.book.quarantine(&uid, bent).await.unwrap();
        hook.let_go();
    });
    assert!(answer.unwrap_err().contains("is in quarantine: bent"));
    assert!(node.driver.book.records().is_empty());
}

#[tokio::test]
async fn each_device_in_quarantine_has_an_event_of_its_own() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1", "eth2"], None);
    node.prepare_one("c-1").await.unwrap();
    let mut both = bent();
    both.push(QuarantinedDevice {
        device: "eth2".into(),
        reason: "device eth2 is lost".into(),
        lost: false,
    });
    hook.state().released = Released { quarantined: both };
    node.unprepare("c-1").await.unwrap();
    until("both are told of", || {
        let events = node.api.state().events.clone();
        let told = events.iter().filter(|event| event.1 == "DeviceQuarantined");
        told.count() == 2
    })
    .await;
}

#[tokio::test]
async fn a_claim_whose_device_is_quarantined_while_it_is_prepared_is_refused() {
    let (node, hook) = prepared().await;
    hook.state().hold.insert("commit");
    let (prepared, ()) = tokio::join!(node.prepare_one("c-1"), async {
        until("the commit is sent", || !hook.state().held.is_empty()).await;
        let quarantined = bent();
        let detached = Event::Detached(Detached { quarantined });
        hook.report(report(1, "s1", detached));
        acknowledged(&hook, 1).await;
        hook.let_go();
    });
    let error = prepared.unwrap_err();
    assert!(error.contains("not as it was"), "{error}");
}
