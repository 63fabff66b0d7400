//! Pods that come and go: attach, detach, the gate.

use super::*;

#[tokio::test]
async fn a_pod_without_a_record_is_left_alone() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["other"]));
    node.hook.records.check(record("d", &["p"]));
    node.run("s1", "p").await.unwrap();
    let host = pod("s2", "host", None);
    node.hook
        .run_pod_sandbox(host, request(2000))
        .await
        .unwrap();
    node.stop("s1", "p").await;
    assert!(node.log().is_empty());
    assert!(node.reports().is_empty());
}

#[tokio::test]
async fn a_pod_without_a_record_costs_next_to_nothing() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["other"]));
    let begun = Instant::now();
    for _ in 0..1000 {
        node.hook
            .run_pod_sandbox(pod("s1", "p", Some("/n")), request(2000))
            .await
            .unwrap();
        node.stop("s1", "p").await;
    }
    // Of a budget of 0.15 ms, and for both events of an optimised build.
    let each = begun.elapsed() / 1000;
    assert!(each < Duration::from_micros(150), "{each:?}");
}

#[tokio::test]
async fn claims_are_attached_at_once_then_defined_reported_and_let_through_the_gate() {
    let node = Node::new();
    for uid in ["a", "b"] {
        node.hook.records.commit(record(uid, &["p"]));
        assert!(node.create("s1", uid).await.is_err(), "not yet there");
    }
    node.run("s1", "p").await.unwrap();
    assert_eq!(node.log(), ["attach a+b"]);
    assert_eq!(node.defined(), ["a", "b"]);
    assert_eq!(node.reports(), ["a attached in s1", "b attached in s1"]);
    node.create("s1", "a").await.unwrap();
    let refused = node.create("s2", "a").await.unwrap_err();
    assert!(
        refused.contains("claim default/claim-a is not attached"),
        "{refused}"
    );
    assert!(refused.contains("in pod default/pod-p"), "{refused}");
    node.run("s1", "p").await.unwrap();
    assert!(node.log().is_empty(), "the same event twice");
}

#[tokio::test]
async fn a_stop_brings_everything_home_and_repeating_it_does_nothing() {
    let node = Node::lent().await;
    node.log();
    for _ in 0..2 {
        node.stop("s1", "p").await;
    }
    assert_eq!(node.log(), ["detach c from pod"]);
    assert!(node.defined().is_empty());
    assert_eq!(node.reports(), ["c detached from s1"]);
    assert!(node.create("s1", "c").await.is_err());
    assert!(node.hook.sandboxes.held().is_empty());
}

#[tokio::test]
async fn a_failed_attach_refuses_the_sandbox_with_a_sentence_and_leaves_nothing() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.hook
        .devices
        .set(|state| state.outcome = Outcome::Fails);
    let error = node.run("s1", "p").await.unwrap_err();
    assert!(error.starts_with("claim default/claim-c: "), "{error}");
    assert!(node.defined().is_empty());
    assert_eq!(node.reports(), ["c failed in s1"]);
    node.hook
        .devices
        .set(|state| state.outcome = Outcome::Works);
    node.run("s2", "p").await.unwrap();
    assert!(node.is_attached("c", "s2"));
    assert!(!node.hook.sandboxes.is_known(&"s1".parse().unwrap()));
}

#[tokio::test]
async fn a_pod_on_the_nodes_network_with_a_record_is_refused() {
    let here = Netns::current().unwrap().id();
    for (node, path) in [
        (Node::new(), None),
        (Node::with_home(Some(here)), Some("s1")),
    ] {
        node.hook.records.commit(record("c", &["p"]));
        let pod = match path {
            Some(sandbox) => node.pod(sandbox, "p"),
            None => pod("s1", "p", None),
        };
        let error = node
            .hook
            .run_pod_sandbox(pod, request(2000))
            .await
            .unwrap_err();
        assert!(error.contains("hostNetwork"), "{error}");
        assert!(node.log().is_empty());
        assert_eq!(node.reports(), ["c failed in s1"]);
    }
}

#[tokio::test]
async fn a_namespace_that_is_none_is_refused() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    let file = node.dir.path().join("plain");
    fs::write(&file, "").unwrap();
    let pod = pod("s1", "p", file.to_str());
    assert!(node.hook.run_pod_sandbox(pod, request(2000)).await.is_err());
    assert!(node.log().is_empty());
}

#[tokio::test]
async fn an_id_that_cannot_be_defined_undoes_the_attach() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    fs::write(node.dir.path().join("cdi"), "no directory").unwrap();
    let error = node.run("s1", "p").await.unwrap_err();
    assert!(error.contains("CDI id cannot be defined"), "{error}");
    assert_eq!(node.log(), ["attach c", "detach c from pod"]);
    assert!(node.hook.sandboxes.held().is_empty());
}

#[tokio::test]
async fn a_panic_below_is_an_error_and_the_next_pod_is_served() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.hook
        .devices
        .set(|state| state.outcome = Outcome::PanicsOnce);
    assert!(node.run("s1", "p").await.is_err());
    // The poisoned fake is no part of the hook.
    node.hook.devices.state.clear_poison();
    node.run("s2", "p").await.unwrap();
}

#[tokio::test]
async fn a_second_pod_of_a_claim_waits_and_is_attached_after_the_first() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p", "q"]));
    node.run("s1", "p").await.unwrap();
    node.run("s2", "q").await.unwrap();
    assert!(node.create("s2", "c").await.is_err());
    assert!(node.create("s1", "c").await.is_ok());
    assert_eq!(node.log(), ["attach c"]);
    node.stop("s1", "p").await;
    node.catch_up_until("attached late", || node.is_attached("c", "s2"))
        .await;
    assert!(node.create("s2", "c").await.is_ok());
    node.stop("s1", "p").await;
    assert!(
        node.is_attached("c", "s2"),
        "a late stop of the other sandbox"
    );
}

#[tokio::test]
async fn a_pods_new_sandbox_takes_over_and_a_late_stop_of_the_old_one_changes_nothing() {
    let node = Node::lent().await;
    node.run("s2", "p").await.unwrap();
    assert_eq!(node.log(), ["attach c", "detach c from pod", "attach c"]);
    node.stop("s1", "p").await;
    assert!(node.log().is_empty());
    assert!(node.is_attached("c", "s2"));
    assert_eq!(node.defined(), ["c"]);
}

#[tokio::test]
async fn a_list_takes_nothing_from_the_sandbox_that_has_it_whatever_its_order() {
    let node = Node::new();
    node.hook.records.commit(record("a", &["p"]));
    node.run("s1", "p").await.unwrap();
    node.run("s2", "p").await.unwrap();
    // The earlier one has not been stopped yet.
    let listed = vec![node.pod("s2", "p"), node.pod("s1", "p")];
    node.hook.synchronize(listed).await;
    node.log();
    node.hook.look(&mut HashMap::new()).await;
    assert_eq!(node.log(), [""; 0]);
    assert!(node.is_attached("a", "s2"));
}

#[tokio::test]
async fn a_sandbox_that_ended_without_a_word_gives_way() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p", "q"]));
    node.run("s1", "p").await.unwrap();
    fs::remove_file(node.netns("s1")).unwrap();
    node.run("s2", "q").await.unwrap();
    assert!(node.is_attached("c", "s2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_an_attach_waits_and_then_detaches() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.hook.devices.set(|state| state.closed = true);
    let (run, stop) = tokio::join!(async { node.run("s1", "p").await }, async {
        while node.hook.devices.state.lock().unwrap().log.is_empty() {
            tokio::task::yield_now().await;
        }
        let stopping = node.stop("s1", "p");
        let open = async { node.hook.devices.set(|state| state.closed = false) };
        tokio::join!(stopping, open);
    });
    run.unwrap();
    let () = stop;
    assert_eq!(node.log(), ["attach c", "detach c from pod"]);
    assert!(node.hook.sandboxes.held().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_waits_for_its_turn_gives_up_in_time() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    let _turn = node.hook.turns.take(&BTreeSet::from([claim("c")])).await;
    let begun = Instant::now();
    let pod = node.pod("s1", "p");
    let error = node
        .hook
        .run_pod_sandbox(pod, request(200))
        .await
        .unwrap_err();
    assert!(error.contains("not done yet"), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_sandbox_that_has_ended_before_it_was_served_is_nothing_to_tell_its_pod() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    let pod = node.pod("s1", "p");
    fs::remove_file(node.netns("s1")).unwrap();
    let refused = node.hook.run_pod_sandbox(pod, request(2000)).await;
    assert!(refused.unwrap_err().contains("cannot be used"));
    assert!(node.reports().is_empty(), "{:?}", node.reports());
    // What is there and no namespace is a fault of the node's set-up.
    let pod = node.pod("s2", "p");
    fs::remove_file(node.netns("s2")).unwrap();
    fs::write(node.netns("s2"), "").unwrap();
    let refused = node.hook.run_pod_sandbox(pod, request(2000)).await;
    refused.unwrap_err();
    assert_eq!(node.reports(), ["c failed in s2"]);
}

#[tokio::test]
async fn a_killed_sandbox_in_the_list_does_not_stand_for_its_pod() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    let (alive, killed) = (node.pod("s2", "p"), pod("s1", "p", None));
    node.hook.synchronize(vec![alive, killed]).await;
    node.hook.look(&mut HashMap::new()).await;
    assert!(node.is_attached("c", "s2"));
}

#[tokio::test]
async fn a_pod_that_ran_bare_is_attached_late() {
    let node = Node::new();
    node.list(&[record("c", &["p"])]);
    node.hook
        .synchronize(vec![node.pod("s1", "p"), pod("s2", "host", None)])
        .await;
    node.catch_up_until("attached late", || node.is_attached("c", "s1"))
        .await;
    assert_eq!(node.reports(), ["c attached in s1"]);
}

#[tokio::test]
async fn the_dump_shows_what_is_where() {
    let node = Node::lent().await;
    let dump = node.hook.dump(&crate::nri::Phase::Joining);
    assert_eq!(dump.runtime, "joining");
    assert_eq!(
        (
            dump.attached[0].pod.as_str(),
            dump.attached[0].sandbox.as_str()
        ),
        ("default/pod-p", "s1")
    );
    assert_eq!(dump.records[0].devices, ["e-c"]);
    let names: BTreeMap<_, _> = dump
        .attached
        .iter()
        .map(|row| (&row.claim, &row.state))
        .collect();
    assert_eq!(names[&"default/claim-c".to_owned()], "attached");
    assert_eq!(node.hook.sandboxes.held(), HashSet::from([claim("c")]));
}

#[tokio::test]
async fn no_container_starts_while_a_device_is_gone_from_its_pod() {
    let node = Node::new();
    node.list(&[record("c", &["p"])]);
    node.run("s1", "p").await.unwrap();
    let claim = claim("c");
    for (presence, works) in [
        (Presence::Gone, false),
        (Presence::Here { carrier: true }, true),
    ] {
        node.hook
            .devices
            .set(|state| state.presence = Some(presence));
        node.hook.look_at(&claim).await;
        assert_eq!(node.create("s1", "c").await.is_ok(), works, "{presence:?}");
        assert_eq!(node.defined().is_empty(), !works, "{presence:?}");
        let health = node.hook.health.after(0).1;
        assert_eq!(health[0].healthy, works, "{health:?}");
    }
    node.hook
        .devices
        .set(|state| state.presence = Some(Presence::Here { carrier: false }));
    node.hook.look_at(&claim).await;
    assert_eq!(node.hook.health.after(0).1[0].reason, "CarrierDown");
    assert!(node.create("s1", "c").await.is_ok(), "it is there");
    node.stop("s1", "p").await;
    assert_eq!(node.hook.health.after(0).1, [], "it is home");
}

#[tokio::test]
async fn an_id_that_somebody_removed_is_defined_again() {
    let node = Node::new();
    node.list(&[record("c", &["p"])]);
    node.run("s1", "p").await.unwrap();
    node.hook.cdi.remove(&claim("c")).unwrap();
    node.hook.look_at(&claim("c")).await;
    assert_eq!(node.defined(), ["c"]);
    node.stop("s1", "p").await;
    node.hook.look_at(&claim("c")).await;
    assert!(node.defined().is_empty(), "nothing stands behind it");
}
