use crate::fixture::record;
use crate::store::Contents;
use crate::testing::{FakeHook, Node, until};

#[tokio::test]
async fn a_session_begins_with_all_records_and_what_is_protected() {
    let records = (0..120).map(|n| record(&format!("c-{n}"), &[])).collect();
    let contents = Contents {
        records,
        ..Contents::default()
    };
    let node = Node::start_with(contents, "boot-1").await;
    let hook = node.hook().await;
    until("all records have come", || hook.state().synced).await;
    assert_eq!(hook.state().records.len(), 120);
    let protected = hook.state().protected.clone().unwrap();
    assert_eq!(protected.destinations, ["192.0.2.1"]);
}

#[tokio::test]
async fn a_newer_session_takes_over() {
    let node = Node::start().await;
    let older = node.hook().await;
    let newer = FakeHook::connect(node.dir.path()).await;
    until("the older session has ended", || older.state().ended).await;
    assert!(
        node.driver.hook.ready().is_err(),
        "the newer one has not said that it is ready"
    );
    newer.ready(true, "");
    until("the newer one is ready", || {
        node.driver.hook.ready().is_ok()
    })
    .await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    assert_eq!(newer.state().orders, ["check c-1", "commit c-1"]);
    assert!(older.state().orders.is_empty());
}

#[tokio::test]
async fn discovery_is_told_which_devices_are_in_use_and_told_again_after_each_change() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    let told = |want: &'static [&'static str]| {
        let lists = std::sync::Arc::clone(&node.discovery.in_use);
        move || {
            lists
                .lock()
                .unwrap()
                .last()
                .is_some_and(|list| *list == want)
        }
    };
    until("nothing is in use", told(&[])).await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    until("eth1 is in use", told(&["eth1"])).await;
    node.unprepare("c-1").await.unwrap();
    until("nothing is in use any more", told(&[])).await;
}

#[tokio::test]
async fn parts_are_ready_when_their_peers_are_there() {
    let node = Node::start().await;
    let reason = |name: &str| {
        let parts = node.health.parts();
        let part = parts.into_iter().find(|part| part.name == name).unwrap();
        part.reason
    };
    assert_eq!(reason("inventory"), None);
    assert!(reason("hook").unwrap().contains("no session"));
    let hook = node.hook().await;
    assert_eq!(reason("hook"), None);
    drop(hook);
    until("the hook is missed", || reason("hook").is_some()).await;
}
