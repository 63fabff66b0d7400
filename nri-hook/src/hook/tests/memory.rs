//! After a restart, or a loss of what was known: what is there decides.

use super::*;

#[tokio::test]
async fn a_link_that_was_moved_and_not_marked_is_looked_for_in_its_pods_sandbox() {
    let node = Node::new();
    node.hook.take_records(vec![record("c", &["p"])]);
    node.hook
        .devices
        .set(|state| state.kept = vec![record("c", &["p"])]);
    node.hook
        .synchronize(vec![node.pod("s0", "q"), node.pod("s1", "p")])
        .await;
    assert!(node.create("s1", "c").await.is_err());
    assert!(matches!(node.release("c").await, Answer::Released(_)));
    assert_eq!(node.log(), ["detach c from pod"]);
}

#[tokio::test]
async fn a_list_that_lacks_an_attached_claim_is_answered_by_a_report() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
    let id = node.hook.reports.after(0)[0].id;
    node.hook.reports.acknowledge(id);
    node.hook.take_records(Vec::<Record>::new());
    assert_eq!(node.reports(), ["c attached in s1"]);
    assert!(node.is_attached("c", "s1"));
    node.log();
    node.stop("s1", "p").await;
    assert_eq!(node.log(), ["detach c from pod"]);
}

#[tokio::test]
async fn a_list_that_agrees_is_not_answered() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
    node.hook.reports.acknowledge(1);
    let mut told = record("c", &["p"]);
    told.sandbox = Some("s1".parse().unwrap());
    node.hook.take_records(vec![told]);
    assert!(node.reports().is_empty());
}

#[tokio::test]
async fn after_a_restart_what_is_whole_is_adopted_and_untouched() {
    let node = Node::new();
    let mut told = record("c", &["p"]);
    told.sandbox = Some("s1".parse().unwrap());
    node.hook.take_records(vec![told]);
    node.hook
        .cdi
        .define(&record("c", &["p"]), &[interface("net1")])
        .unwrap();
    node.hook
        .devices
        .set(|state| state.marked = vec![marked("c")]);
    node.hook
        .synchronize(vec![node.pod("s1", "p"), pod("gone", "q", Some("/gone"))])
        .await;
    assert!(node.create("s1", "c").await.is_ok());
    assert_eq!(node.defined(), ["c"]);
    assert!(node.reports().is_empty(), "dra-plugin knows");
    assert_eq!(node.hook.sandboxes.count(), 1, "the stopped one is ignored");
    node.stop("s1", "p").await;
    assert_eq!(node.log(), ["detach c from pod"]);
}

#[tokio::test]
async fn a_forged_mark_gives_a_pod_nothing() {
    let node = Node::new();
    node.hook.take_records(vec![record("c", &["p"])]);
    node.hook
        .devices
        .set(|state| state.marked = vec![marked("c")]);
    node.hook
        .synchronize(vec![node.pod("s1", "stranger")])
        .await;
    assert!(node.create("s1", "c").await.is_err());
    assert!(node.hook.sandboxes.held().is_empty());
    assert!(node.log().is_empty(), "nothing is moved");
}

#[tokio::test]
async fn after_a_restart_what_is_half_done_is_made_anew() {
    let node = Node::new();
    node.hook.take_records(vec![record("c", &["p"])]);
    node.hook
        .devices
        .set(|state| state.marked = vec![marked("c")]);
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    assert!(node.create("s1", "c").await.is_err());
    node.catch_up_until("attached again", || node.is_attached("c", "s1"))
        .await;
    assert_eq!(node.log(), ["detach c from pod", "attach c"]);
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_read_is_left_alone() {
    let node = Node::new();
    let mut told = record("c", &["p"]);
    told.sandbox = Some("s1".parse().unwrap());
    node.hook.take_records(vec![told]);
    node.hook.devices.set(|state| state.unreadable = true);
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    assert!(node.create("s1", "c").await.is_err(), "nobody knows");
    assert!(node.hook.sandboxes.held().is_empty());
    assert_eq!(node.hook.sandboxes.count(), 0);
    node.hook.devices.set(|state| state.unreadable = false);
    node.hook.cdi.define(&record("c", &["p"]), &[]).unwrap();
    node.hook
        .devices
        .set(|state| state.marked = vec![marked("c")]);
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    assert!(node.create("s1", "c").await.is_ok());
    assert!(node.log().is_empty());
}

#[tokio::test]
async fn ids_behind_which_nothing_stands_are_removed() {
    let node = Node::new();
    node.hook.cdi.define(&record("old", &[]), &[]).unwrap();
    node.hook.synchronize(Vec::new()).await;
    assert!(node.defined().is_empty());
}

#[tokio::test]
async fn a_claim_that_should_be_attached_and_is_nowhere_is_brought_home() {
    let node = Node::new();
    let mut told = record("c", &["p"]);
    told.sandbox = Some("s1".parse().unwrap());
    node.hook.take_records(vec![told]);
    node.hook.synchronize(Vec::new()).await;
    node.catch_up_until("home", || node.hook.sandboxes.held().is_empty())
        .await;
    assert_eq!(node.log(), ["detach c from anywhere"]);
    assert_eq!(node.reports(), ["c detached from s1"]);
}

#[tokio::test]
async fn a_sandbox_is_over_when_its_namespace_is_gone_not_when_the_list_lacks_it() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
    node.log();
    node.hook.synchronize(Vec::new()).await;
    assert!(node.is_attached("c", "s1"));
    fs::remove_file(node.netns("s1")).unwrap();
    node.hook.synchronize(Vec::new()).await;
    node.catch_up_until("home", || node.hook.sandboxes.held().is_empty())
        .await;
    assert_eq!(node.log(), ["detach c from pod"]);
}

/// The claims whose records the hook gives back to dra-plugin.
fn given_back(hook: &Hook<FakeDevices>) -> Vec<String> {
    let reports = hook.reports.after(0).into_iter();
    let records = reports.filter_map(|report| match report.event {
        Some(Reported::Attached(attached)) => attached.record,
        _ => None,
    });
    records.map(|record| record.claim_uid).collect()
}

#[tokio::test]
async fn a_record_that_dra_plugin_has_lost_is_given_back() {
    let node = Node::new();
    node.hook.take_records(vec![record("c", &["p"])]);
    node.run("s1", "p").await.unwrap();
    assert!(given_back(&node.hook).is_empty());
    node.hook.take_records(Vec::<Record>::new());
    assert_eq!(given_back(&node.hook), ["c"]);
    assert!(node.create("s1", "c").await.is_ok(), "the pod goes on");
}

#[tokio::test]
async fn after_both_lost_their_memory_what_the_node_remembers_is_adopted() {
    let node = Node::new();
    node.hook.cdi.define(&record("c", &["p"]), &[]).unwrap();
    node.hook.devices.set(|state| {
        state.marked = vec![marked("c")];
        state.kept = vec![record("c", &["p"])];
    });
    node.hook.take_records(Vec::<Record>::new());
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    assert!(node.create("s1", "c").await.is_ok());
    assert_eq!(given_back(&node.hook), ["c"]);
    node.stop("s1", "p").await;
    assert_eq!(node.log(), ["detach c from pod"]);
}

#[tokio::test]
async fn what_only_the_node_remembers_and_no_sandbox_has_is_brought_home() {
    let node = Node::new();
    node.hook
        .devices
        .set(|state| state.kept = vec![record("c", &["p"])]);
    node.hook.take_records(Vec::<Record>::new());
    node.hook.synchronize(Vec::new()).await;
    assert_eq!(node.log(), ["detach c from anywhere"]);
    assert!(node.hook.records.all().is_empty());
    // A claim that dra-plugin knows is its to release.
    node.hook.take_records(vec![record("c", &["p"])]);
    node.hook.synchronize(Vec::new()).await;
    assert!(node.log().is_empty());
}
