use std::sync::atomic::Ordering;
use std::time::Duration;

use network_driver_common::model::ClaimUid;
use network_driver_proto::bus::report::Event;
use network_driver_proto::bus::{
    AttachFailed, Attached, AttachedInterface, Detached, GivenBack, PodRef, Report,
};
use serde_json::json;

use crate::fixture::record;
use crate::store::Contents;
use crate::testing::{FakeHook, Node, until};

pub(super) fn report(id: u64, sandbox: &str, event: Event) -> Report {
    Report {
        id,
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        claim_uid: "c-1".into(),
        pod: Some(PodRef {
            namespace: "default".into(),
            name: "pod".into(),
            uid: "p-c-1".into(),
        }),
        sandbox_id: sandbox.into(),
        unix_nanos: 1,
        event: Some(event),
    }
}

pub(super) fn attached() -> Event {
    Event::Attached(Attached {
        interfaces: vec![AttachedInterface {
            device: "eth1".into(),
            name: b"net1".to_vec(),
            hardware_address: vec![2, 0, 0, 0, 0, 1],
            addresses: vec!["10.0.0.1/24".into()],
            mtu: 1400,
            home_name: b"eth1".to_vec(),
        }],
        duration_micros: 1,
    })
}

pub(super) async fn prepared() -> (Node, FakeHook) {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    (node, hook)
}

fn sandbox(node: &Node) -> Option<String> {
    let records = node.driver.book.records();
    records[0].sandbox.as_ref().map(ToString::to_string)
}

pub(super) async fn acknowledged(hook: &FakeHook, id: u64) {
    until("the report is acknowledged", || {
        hook.state().acks.contains(&id)
    })
    .await;
}

#[tokio::test]
async fn an_attach_is_kept_then_acknowledged_and_shown_in_the_claims_status() {
    let (node, hook) = prepared().await;
    hook.report(report(7, "s1", attached()));
    acknowledged(&hook, 7).await;
    assert_eq!(sandbox(&node).as_deref(), Some("s1"));
    until("the status is written", || {
        !node.api.state().patches.is_empty()
    })
    .await;
    let (query, patch) = node.api.state().patches[0].clone();
    assert!(
        query.contains("fieldManager=network.example.com") && query.contains("force=true"),
        "{query}"
    );
    assert_eq!(patch["metadata"]["uid"], "c-1");
    let devices = patch["status"]["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0]["networkData"]["ips"], json!(["10.0.0.1/24"]));
    assert_eq!(
        devices[0]["data"]["traceId"],
        "0af7651916cd43dd8448eb211c80319c"
    );
    let event = ("Pod".to_owned(), "InterfaceAttached".to_owned());
    until("the event is written", || {
        node.api.state().events.contains(&event)
    })
    .await;
}

#[tokio::test]
async fn a_status_that_is_forbidden_stops_nothing_and_is_written_once_it_is_allowed() {
    let (node, hook) = prepared().await;
    let message = "cannot associated-node:patch resourceclaims/driver";
    node.api.state().refuse_patch = Some((403, message.into()));
    let reads = node.api.state().reads;
    hook.report(report(1, "s1", attached()));
    acknowledged(&hook, 1).await;
    until("the write was tried", || node.api.state().reads > reads).await;
    node.api.state().refuse_patch = None;
    until("the status is written", || {
        !node.api.state().patches.is_empty()
    })
    .await;
}

#[tokio::test]
async fn the_status_of_a_deallocated_claim_is_dropped() {
    let (node, hook) = prepared().await;
    let reads = node.api.state().reads;
    let claim = json!({"metadata": {"name": "c-1", "uid": "c-1"}, "status": {}});
    node.api.state().claims.insert("c-1".into(), claim);
    hook.report(report(1, "s1", attached()));
    acknowledged(&hook, 1).await;
    until("the claim was read", || node.api.state().reads > reads).await;
    node.api.allocate("c-2", &["eth2"], None);
    node.prepare_one("c-2").await.unwrap();
    assert!(node.api.state().patches.is_empty());
}

#[tokio::test]
async fn a_report_that_cannot_be_kept_is_not_acknowledged() {
    let (node, hook) = prepared().await;
    node.store.refuse.store(true, Ordering::SeqCst);
    hook.report(report(1, "s1", attached()));
    let unknown = Report {
        claim_uid: "unknown".into(),
        ..report(2, "s1", attached())
    };
    hook.report(unknown);
    acknowledged(&hook, 2).await;
    assert!(!hook.state().acks.contains(&1));
    assert_eq!(sandbox(&node), None);
    node.store.refuse.store(false, Ordering::SeqCst);
    hook.report(report(1, "s1", attached()));
    acknowledged(&hook, 1).await;
}

#[tokio::test]
async fn a_late_detach_of_an_earlier_sandbox_hides_nothing() {
    let (node, hook) = prepared().await;
    hook.report(report(1, "s1", attached()));
    hook.report(report(2, "s2", attached()));
    hook.report(report(3, "s1", Event::Detached(Detached::default())));
    acknowledged(&hook, 3).await;
    assert_eq!(sandbox(&node).as_deref(), Some("s2"));
    hook.report(report(4, "s2", Event::Detached(Detached::default())));
    acknowledged(&hook, 4).await;
    assert_eq!(sandbox(&node), None);
}

#[tokio::test]
async fn after_a_detach_without_an_unprepare_the_claims_next_pod_is_found() {
    let (node, hook) = prepared().await;
    hook.report(report(1, "s1", attached()));
    acknowledged(&hook, 1).await;
    let pod = json!([{"resource": "pods", "name": "next", "uid": "p-next"}]);
    node.api.state().claims.get_mut("c-1").unwrap()["status"]["reservedFor"] = pod;
    hook.report(report(2, "s1", Event::Detached(Detached::default())));
    let found = || {
        hook.state()
            .commits
            .last()
            .is_some_and(|r| r.pod_uids == ["p-next"])
    };
    until("the hook knows the next pod", found).await;
    let record = node.driver.book.records()[0].clone();
    assert_eq!(record.pods.first().unwrap().as_str(), "p-next");
}

#[tokio::test]
async fn a_pod_that_comes_while_the_first_got_nothing_is_found() {
    let (node, hook) = prepared().await;
    let pods = json!([{"resource": "pods", "uid": "p-c-1"}, {"resource": "pods", "uid": "p-next"}]);
    node.api.state().claims.get_mut("c-1").unwrap()["status"]["reservedFor"] = pods;
    assert_eq!(node.driver.ask_round(None), None, "one claim is one round");
    let found = || {
        let state = hook.state();
        let last = state.commits.last();
        last.is_some_and(|record| record.pod_uids.contains(&"p-next".to_owned()))
    };
    until("the hook knows the next pod", found).await;
    // What is in a pod needs no asking.
    hook.report(report(1, "s1", attached()));
    acknowledged(&hook, 1).await;
    let commits = hook.state().commits.len();
    node.driver.ask_round(None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hook.state().commits.len(), commits);
}

#[tokio::test]
async fn claims_that_wait_are_asked_for_some_at_a_time() {
    let waiting = (0..20).map(|n| record(&format!("c-{n:02}"), &[]));
    let contents = Contents {
        records: waiting.collect(),
        ..Contents::default()
    };
    let node = Node::start_with(contents, "boot-1").await;
    let first = node.driver.ask_round(None);
    assert_eq!(first.as_ref().map(ClaimUid::as_str), Some("c-15"));
    assert_eq!(node.driver.ask_round(first.as_ref()), None);
}

#[tokio::test]
async fn a_failed_attach_is_told_to_the_pod_and_its_pods_are_read_again() {
    let (node, hook) = prepared().await;
    let pods = json!([
        {"resource": "pods", "uid": "p-c-1"}, {"resource": "pods", "uid": "p-late"},
    ]);
    node.api.state().claims.get_mut("c-1").unwrap()["status"]["reservedFor"] = pods;
    let failed = Event::Failed(AttachFailed {
        reason: "InterfaceNameConflict".into(),
        message: "net1 exists in the pod".into(),
        quarantined: Vec::new(),
    });
    hook.report(report(1, "s1", failed));
    acknowledged(&hook, 1).await;
    let event = ("Pod".to_owned(), "InterfaceNameConflict".to_owned());
    until("the event is written", || {
        node.api.state().events.contains(&event)
    })
    .await;
    until("the status is written", || {
        !node.api.state().patches.is_empty()
    })
    .await;
    let patch = node.api.state().patches[0].1.clone();
    let ready = &patch["status"]["devices"][0]["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"]),
        (&json!("Ready"), &json!("False"))
    );
    let found = || {
        hook.state()
            .commits
            .last()
            .is_some_and(|r| r.pod_uids.len() == 2)
    };
    until("the hook knows the late pod", found).await;
}

/// A node whose records were lost.
async fn forgetful() -> Node {
    let lost = Contents {
        incomplete: true,
        ..Contents::default()
    };
    Node::start_with(lost, "boot-1").await
}

fn given_back(record: &network_driver_common::model::Record) -> Event {
    let record = Some(record.into());
    Event::GivenBack(GivenBack { record })
}

#[tokio::test]
async fn a_record_that_the_database_lost_is_put_back_from_what_the_hook_holds() {
    let (before, _hook) = prepared().await;
    let record = before.driver.book.records()[0].clone();
    let node = Node::start().await;
    let hook = node.hook().await;
    let mut attached = network_driver_common::model::Record::clone(&record);
    attached.sandbox = Some("s1".parse().unwrap());
    hook.report(report(1, "", given_back(&attached)));
    acknowledged(&hook, 1).await;
    hook.report(report(2, "", given_back(&record)));
    acknowledged(&hook, 2).await;
    assert_eq!(sandbox(&node).as_deref(), Some("s1"));
    let kept = node.driver.book.records();
    assert_eq!(kept[0].attachments, record.attachments);
    until("it is told", || {
        let event = ("Node".to_owned(), "StateRebuilt".to_owned());
        node.api.state().events.contains(&event)
    })
    .await;
    node.unprepare("c-1").await.unwrap();
    assert!(node.driver.book.records().is_empty());
}

#[tokio::test]
async fn after_records_were_lost_discovery_hears_of_devices_in_use_once_the_hook_has_told_of_them()
{
    let (before, _hook) = prepared().await;
    let record = before.driver.book.records()[0].clone();
    let node = forgetful().await;
    let lists = || node.discovery.in_use.lock().unwrap().clone();
    let hook = FakeHook::connect(node.dir.path()).await;
    hook.ready(false, "not yet synchronised");
    until("the inventory is known", || {
        !node.driver.inventory.names().is_empty()
    })
    .await;
    assert!(
        lists().is_empty(),
        "an empty list would withdraw the device"
    );
    hook.report(report(1, "", given_back(&record)));
    hook.ready(true, "");
    until("discovery is told", || !lists().is_empty()).await;
    assert_eq!(lists()[0], ["eth1"]);
}

#[tokio::test]
async fn a_lost_record_that_cannot_be_kept_again_is_asked_for_in_another_session() {
    let (before, _hook) = prepared().await;
    let record = before.driver.book.records()[0].clone();
    let node = forgetful().await;
    let hook = FakeHook::connect(node.dir.path()).await;
    node.store.refuse.store(true, Ordering::SeqCst);
    hook.report(report(1, "", given_back(&record)));
    hook.ready(true, "");
    until("the session ends", || hook.state().ended).await;
    assert!(!node.driver.knows_all());
    node.store.refuse.store(false, Ordering::SeqCst);
    let hook = FakeHook::connect(node.dir.path()).await;
    hook.report(report(1, "", given_back(&record)));
    hook.ready(true, "");
    until("all is known", || node.driver.knows_all()).await;
    assert_eq!(node.driver.book.records().len(), 1);
    until("and kept", || node.driver.book.is_whole()).await;
}
