//! What dra-plugin orders.

use super::*;

#[tokio::test]
async fn a_check_answers_with_snapshots_and_attaches_nothing() {
    let node = Node::new();
    let answer = node.order(Kind::Check((&record("c", &["p"])).into())).await;
    let Answer::Checked(checked) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(checked.snapshots[0].name, b"e-c");
    node.run("s1", "p").await.unwrap();
    assert!(node.log().is_empty());
    node.order(Kind::Commit((&record("c", &["p"])).into()))
        .await;
    node.catch_up_until("attached late", || node.is_attached("c", "s1"))
        .await;
}

#[tokio::test]
async fn an_abandon_waits_for_the_check_that_it_takes_back() {
    let node = Node::new();
    let turn = node.hook.turns.take(&BTreeSet::from([claim("c")])).await;
    let abandon = node.order(Kind::Abandon(ClaimRef {
        claim_uid: "c".into(),
    }));
    let check = async {
        node.hook.records.check(record("c", &["p"]));
        drop(turn);
    };
    tokio::join!(abandon, check);
    assert!(node.hook.records.all().is_empty());
}

#[tokio::test]
async fn a_refused_check_carries_class_reason_and_sentence() {
    let node = Node::new();
    node.hook
        .devices
        .set(|state| state.outcome = Outcome::Fails);
    let answer = node.order(Kind::Check((&record("c", &["p"])).into())).await;
    let Answer::Refused(refused) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(refused.class, i32::from(RefusalClass::Retry));
    assert_eq!(
        (refused.reason.as_str(), refused.message.as_str()),
        ("DeviceNotFound", "no such link")
    );
    let broken = node
        .order(Kind::Check(network_driver_proto::bus::Record::default()))
        .await;
    assert!(matches!(broken, Answer::Refused(_)));
}

#[tokio::test]
async fn a_release_brings_everything_home_and_forgets_the_claim() {
    let node = Node::lent().await;
    node.log();
    for _ in 0..2 {
        let answer = node.release("c").await;
        let Answer::Released(released) = answer else {
            panic!("{answer:?}")
        };
        assert!(released.quarantined.is_empty());
    }
    assert_eq!(node.log(), ["detach c from pod"]);
    assert!(node.hook.records.all().is_empty());
    assert!(matches!(node.release("unknown").await, Answer::Released(_)));
}

#[tokio::test]
async fn a_release_is_refused_while_a_device_is_away() {
    let node = Node::lent().await;
    node.hook
        .devices
        .set(|state| state.away = BTreeSet::from([claim("c")]));
    let answer = node.release("c").await;
    let Answer::Refused(refused) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(refused.message, "device eth2 is stuck");
    assert!(!node.is_attached("c", "s1"), "the gate is closed");
    assert!(
        node.hook
            .sandboxes
            .holding(&claim("c"))
            .unwrap()
            .netns
            .is_some(),
        "held"
    );
    node.hook.devices.set(|state| state.away.clear());
    assert!(matches!(node.release("c").await, Answer::Released(_)));
    assert!(node.hook.sandboxes.held().is_empty());
}

#[tokio::test]
async fn a_release_waits_until_it_is_known_where_an_earlier_life_left_the_devices() {
    let node = Node::new();
    node.list(&[record("c", &["p"]), record("home", &["q"])]);
    node.hook.cdi.define(&record("c", &["p"]), &[]).unwrap();
    node.hook.devices.set(|state| {
        state.marked = vec![marked("c")];
        state.kept = vec![record("c", &["p"])];
    });
    let answer = node.release("c").await;
    let Answer::Refused(refused) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(refused.class(), RefusalClass::Retry);
    assert!(node.log().is_empty(), "nothing is looked for in vain");
    assert_eq!(node.defined(), ["c"]);
    assert!(matches!(node.release("home").await, Answer::Released(_)));
    node.log();
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    assert!(matches!(node.release("c").await, Answer::Released(_)));
    assert_eq!(node.log(), ["detach c from pod"]);
}
