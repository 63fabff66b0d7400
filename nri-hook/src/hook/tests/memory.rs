//! After a restart, or a loss of what was known: what is there decides.

use super::*;

#[tokio::test]
async fn a_link_that_was_moved_and_not_marked_is_looked_for_in_its_pods_sandbox() {
    let node = Node::new();
    node.list(&[record("c", &["p"])]);
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
    let node = Node::lent().await;
    let id = node.hook.reports.after(0)[0].id;
    node.hook.reports.acknowledge(id);
    node.list(&[]);
    assert_eq!(node.reports(), ["c given back "]);
    assert!(node.is_attached("c", "s1"));
    node.log();
    node.stop("s1", "p").await;
    assert_eq!(node.log(), ["detach c from pod"]);
}

#[tokio::test]
async fn a_list_that_agrees_is_not_answered() {
    let node = Node::lent().await;
    node.hook.reports.acknowledge(1);
    let mut told = record("c", &["p"]);
    told.sandbox = Some("s1".parse().unwrap());
    node.list(&[told]);
    assert!(node.reports().is_empty());
}

#[tokio::test]
async fn after_a_restart_what_is_whole_is_adopted_and_untouched() {
    let node = Node::new();
    let mut told = record("c", &["p"]);
    told.sandbox = Some("s1".parse().unwrap());
    node.list(&[told]);
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
    node.list(&[record("c", &["p"])]);
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
    node.list(&[record("c", &["p"])]);
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
    node.list(&[told]);
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
    node.list(&[told]);
    node.hook.synchronize(Vec::new()).await;
    node.catch_up_until("home", || node.hook.sandboxes.held().is_empty())
        .await;
    assert_eq!(node.log(), ["detach c from anywhere"]);
    assert_eq!(node.reports(), ["c detached from s1"]);
}

#[tokio::test]
async fn a_sandbox_is_over_when_its_namespace_is_gone_not_when_the_list_lacks_it() {
    let node = Node::lent().await;
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
        Some(Reported::GivenBack(given_back)) => given_back.record,
        _ => None,
    });
    records.map(|record| record.claim_uid).collect()
}

#[tokio::test]
async fn a_record_that_dra_plugin_has_lost_is_given_back() {
    let node = Node::new();
    node.list(&[record("c", &["p"])]);
    node.run("s1", "p").await.unwrap();
    assert!(given_back(&node.hook).is_empty());
    node.list(&[]);
    assert_eq!(given_back(&node.hook), ["c"]);
    assert!(node.create("s1", "c").await.is_ok(), "the pod goes on");
}

#[tokio::test]
async fn of_an_incomplete_list_every_record_is_given_back() {
    let node = Node::new();
    node.hook.records.commit(record("out", &["p"]));
    node.hook.records.commit(record("prepared", &["q"]));
    node.hook.records.commit(record("leaving", &["r"]));
    node.hook.records.check(record("checked", &["s"]));
    for (sandbox, pod) in [("s1", "p"), ("s2", "r")] {
        node.run(sandbox, pod).await.unwrap();
    }
    node.hook.sandboxes.leave(&claim("leaving"));
    node.hook.take_records(List {
        incomplete: true,
        ..List::default()
    });
    let mut all = given_back(&node.hook);
    all.sort();
    assert_eq!(all, ["leaving", "out", "prepared"]);
    assert!(
        !node.hook.records.knows(&claim("checked")),
        "it was never durable"
    );
    node.release("prepared").await;
    let mut all = given_back(&node.hook);
    all.sort();
    assert_eq!(all, ["leaving", "out"], "it is unprepared");
    // A list that lacks nothing means what it says: only what is in a pod stays.
    node.list(&[]);
    assert_eq!(given_back(&node.hook), ["out"]);
    assert!(!node.hook.records.knows(&claim("leaving")));
}

#[tokio::test]
async fn after_both_lost_their_memory_what_the_node_remembers_is_adopted() {
    let node = Node::new();
    node.hook.cdi.define(&record("c", &["p"]), &[]).unwrap();
    node.hook.devices.set(|state| {
        state.marked = vec![marked("c")];
        state.kept = vec![record("c", &["p"])];
    });
    node.list(&[]);
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
    node.list(&[]);
    node.hook.synchronize(Vec::new()).await;
    assert_eq!(node.log(), ["detach c from anywhere"]);
    assert!(node.hook.records.all().is_empty());
    // A claim that dra-plugin knows is its to release.
    node.list(&[record("c", &["p"])]);
    node.hook.synchronize(Vec::new()).await;
    assert!(node.log().is_empty());
}

/// Node and dra-plugin say that claim c of pod p is in sandbox s1.
fn remembered_in_s1() -> Node {
    let node = Node::new();
    let mut attached = record("c", &["p"]);
    attached.sandbox = Some("s1".parse().unwrap());
    node.hook
        .devices
        .set(|state| state.kept = vec![attached.clone()]);
    node.list(&[attached]);
    node
}

#[tokio::test]
async fn a_pod_that_took_the_mark_away_keeps_its_device() {
    let node = remembered_in_s1();
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    node.hook.look(&mut catch_up::Failures::new()).await;
    assert!(node.log().is_empty(), "nothing is taken from it");
    node.hook.look_at(&claim("c")).await;
    node.create("s1", "c").await.unwrap();
    let names = fs::read_dir(node.dir.path().join("cdi")).unwrap();
    assert_eq!(names.count(), 1, "its id is defined again");
}

#[tokio::test]
async fn a_sandbox_made_while_nobody_looked_is_served_though_the_id_of_the_one_before_is_there() {
    let node = remembered_in_s1();
    node.hook.cdi.define(&record("c", &["p"]), &[]).unwrap();
    node.hook.synchronize(vec![node.pod("s2", "p")]).await;
    assert!(node.create("s2", "c").await.is_err());
    node.hook.devices.set(|state| state.kept.clear());
    node.catch_up_until("the claim in its new sandbox", || {
        node.is_attached("c", "s2")
    })
    .await;
    node.create("s2", "c").await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_cannot_be_looked_at_is_not_over() {
    let node = Node::lent().await;
    let (path, pod) = (node.netns("s1"), node.pod("s1", "p"));
    fs::remove_file(&path).unwrap();
    // What too many open files are told as is hard to have here; this is no sign of an end either.
    symlink("/proc/self/ns/net/x", &path).unwrap();
    node.hook.look_at(&claim("c")).await;
    node.hook.synchronize(vec![pod]).await;
    node.hook.look(&mut catch_up::Failures::new()).await;
    node.create("s1", "c").await.unwrap();
    fs::remove_file(&path).unwrap();
    node.hook.look_at(&claim("c")).await;
    node.create("s1", "c").await.unwrap_err();
}
