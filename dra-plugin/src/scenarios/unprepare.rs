use std::sync::atomic::Ordering;
use std::time::Duration;

use network_driver_common::model::ClaimRef;
use network_driver_proto::bus::{QuarantinedDevice, Released};

use crate::store::Contents;
use crate::testing::{Node, until};

#[tokio::test]
async fn a_claim_that_was_never_prepared_is_unprepared_at_once() {
    let node = Node::start().await;
    node.unprepare("c-1").await.unwrap();
    node.unprepare("no/uid").await.unwrap();
}

#[tokio::test]
async fn the_record_goes_once_the_hook_has_released_every_device() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    // The claim may be gone by then.
    node.api.state().claims.clear();
    hook.state().hold.insert("release");
    let (done, ()) = tokio::join!(node.unprepare("c-1"), async {
        until("the release is asked for", || !hook.state().held.is_empty()).await;
        assert_eq!(node.driver.book.records().len(), 1);
        hook.let_go();
    });
    done.unwrap();
    assert!(node.driver.book.records().is_empty());
    node.unprepare("c-1").await.unwrap();
    let orders = hook.state().orders.clone();
    // The second time without a record: the hook may know more.
    let released = "release c-1";
    assert_eq!(orders, ["check c-1", "commit c-1", released, released]);
}

#[tokio::test]
async fn a_hook_that_was_given_the_record_while_it_was_being_removed_is_asked_too() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    node.store.slow.store(true, Ordering::SeqCst);
    let (done, next) = tokio::join!(node.unprepare("c-1"), async {
        until("the release is answered", || {
            hook.state().orders.ends_with(&["release c-1".into()])
        })
        .await;
        let next = node.hook().await;
        until("it has the records", || next.state().synced).await;
        assert_eq!(next.state().records.len(), 1);
        node.store.slow.store(false, Ordering::SeqCst);
        next
    });
    done.unwrap();
    assert_eq!(next.state().orders, ["release c-1"]);
}

#[tokio::test]
async fn after_records_were_lost_only_the_hook_can_tell_that_a_claim_has_nothing_in_a_pod() {
    let lost = Contents {
        incomplete: true,
        ..Contents::default()
    };
    let node = Node::start_with(lost, "boot-1").await;
    let error = node.unprepare("c-1").await.unwrap_err();
    assert!(error.contains("no session with dra-plugin"), "{error}");
    let hook = node.hook().await;
    hook.state().released = Released {
        quarantined: vec![QuarantinedDevice {
            device: "eth1".to_owned(),
            reason: "its name is taken at home".to_owned(),
            lost: false,
        }],
    };
    node.unprepare("c-1").await.unwrap();
    assert_eq!(hook.state().orders, ["release c-1"]);
    assert_eq!(node.driver.book.quarantined().len(), 1);
    // What a hook has in pods it gives back as it connects.
    drop(hook);
    until("the session is gone", || node.driver.hook.ready().is_err()).await;
    node.unprepare("c-2").await.unwrap();
}

#[tokio::test]
async fn without_a_session_the_record_stays_and_the_kubelet_has_to_come_again() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    drop(hook);
    until("the session is gone", || node.driver.hook.ready().is_err()).await;
    let error = node.unprepare("c-1").await.unwrap_err();
    assert!(error.contains("no session with dra-plugin"), "{error}");
    assert_eq!(node.driver.book.records().len(), 1);
    // The runtime need not be connected for links to come home.
    let hook = node.hook().await;
    hook.ready(false, "the runtime restarts");
    until("the hook is not ready", || {
        node.driver.hook.ready().is_err()
    })
    .await;
    node.unprepare("c-1").await.unwrap();
    assert!(node.driver.book.records().is_empty());
}

#[tokio::test]
async fn a_session_that_ends_while_a_release_runs_fails_it_at_once() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    hook.state().hold.insert("release");
    let (done, ()) = tokio::join!(node.unprepare("c-1"), async move {
        until("the release is asked for", || !hook.state().held.is_empty()).await;
        drop(hook);
    });
    let error = done.unwrap_err();
    assert_eq!(
        error,
        "the connection to the hook on node node-1 was lost; will retry"
    );
}

#[tokio::test]
async fn a_prepare_that_still_runs_is_given_up_and_a_later_one_is_ordinary() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    hook.state().hold.insert("check");
    let (prepared, unprepared) = tokio::join!(node.prepare_one("c-1"), async {
        until("the claim is checked", || !hook.state().held.is_empty()).await;
        node.unprepare("c-1").await
    });
    assert_eq!(
        prepared.unwrap_err(),
        "preparing was given up because the claim is being unprepared"
    );
    unprepared.unwrap();
    assert!(node.driver.book.records().is_empty());
    until("the check is taken back", || {
        hook.state().orders.contains(&"abandon c-1".to_owned())
    })
    .await;
    hook.let_go();
    node.prepare_one("c-1").await.unwrap();
    assert_eq!(node.driver.book.records().len(), 1);
}

#[tokio::test]
async fn a_prepare_given_up_while_its_record_is_committed_leaves_no_record() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    hook.state().hold.insert("commit");
    let (prepared, unprepared) = tokio::join!(node.prepare_one("c-1"), async {
        until("the record is committed", || !hook.state().held.is_empty()).await;
        node.unprepare("c-1").await
    });
    assert!(prepared.is_err());
    unprepared.unwrap();
    assert!(node.driver.book.records().is_empty());
    assert!(hook.state().orders.contains(&"release c-1".to_owned()));
}

#[tokio::test]
async fn only_its_uid_tells_which_claim_is_unprepared() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    // The claim that had the name before.
    let earlier = ClaimRef {
        namespace: "default".into(),
        name: "c-1".into(),
        uid: "c-0".parse().unwrap(),
    };
    let deadline = Duration::from_secs(5);
    node.driver.unprepare(&earlier, deadline).await.unwrap();
    assert_eq!(node.driver.book.records().len(), 1);
    let orders = hook.state().orders.clone();
    assert_eq!(orders, ["check c-1", "commit c-1", "release c-0"]);
}
