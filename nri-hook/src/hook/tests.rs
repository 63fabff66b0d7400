//! The hook's rules, over devices that are only a list.

mod model;
mod netns;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::Snapshot;
use network_driver_netlink::{Netns, NetnsId};
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Answer;
use network_driver_proto::bus::report::Event as Reported;
use network_driver_proto::bus::{ClaimRef, Order, RefusalClass};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::links::{MarkedLink, Presence};
use crate::nri::{Container, Pod, PodEvents};
use crate::testing::{
    FakeDevices, FakeState, Outcome, claim, hook_in, interface, pod, record, request,
};

/// A hook in a directory of its own, with a namespace that looks like a pod's.
struct Node {
    hook: Arc<Hook<FakeDevices>>,
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self::with_home(None)
    }

    fn with_home(home: Option<NetnsId>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hook = Arc::new(hook_in(dir.path(), home));
        Self { hook, dir }
    }

    /// A sandbox whose namespace is there.
    fn pod(&self, sandbox: &str, uid: &str) -> Pod {
        let path = self.netns(sandbox);
        if !path.exists() {
            symlink("/proc/self/ns/net", &path).unwrap();
        }
        pod(sandbox, uid, path.to_str())
    }

    fn netns(&self, sandbox: &str) -> PathBuf {
        self.dir.path().join(sandbox)
    }

    async fn run(&self, sandbox: &str, uid: &str) -> Result<(), String> {
        self.hook
            .run_pod_sandbox(self.pod(sandbox, uid), request(2000))
            .await
    }

    async fn stop(&self, sandbox: &str, uid: &str) {
        self.hook
            .stop_pod_sandbox(pod(sandbox, uid, None), request(2000))
            .await;
    }

    async fn create(&self, sandbox: &str, uid: &str) -> Result<(), String> {
        let container = Container {
            id: format!("{sandbox}-main"),
            pod: None,
            sandbox: sandbox.parse().ok(),
            name: "main".into(),
            env: vec![format!("{}=net1", crate::gate::variable(&claim(uid)))],
        };
        self.hook.create_container(container, request(2000)).await
    }

    async fn order(&self, order: Kind) -> Answer {
        let traceparent = String::new();
        self.hook
            .obey(Order {
                id: 1,
                traceparent,
                order: Some(order),
            })
            .await
    }

    async fn release(&self, uid: &str) -> Answer {
        self.order(Kind::Release(ClaimRef {
            claim_uid: uid.into(),
        }))
        .await
    }

    fn defined(&self) -> Vec<String> {
        self.hook
            .cdi
            .defined()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn log(&self) -> Vec<String> {
        self.hook.devices.log()
    }

    fn is_attached(&self, uid: &str, sandbox: &str) -> bool {
        self.hook
            .sandboxes
            .is_attached(&claim(uid), &sandbox.parse().unwrap())
    }

    /// The newest report of each claim as `<claim> <event>`.
    fn reports(&self) -> Vec<String> {
        let reports = self.hook.reports.after(0).into_iter().map(|report| {
            let event = match report.event.unwrap() {
                Reported::Attached(_) => "attached in",
                Reported::Detached(_) => "detached from",
                Reported::Failed(_) => "failed in",
                Reported::LeftBehind(_) => "left behind",
            };
            format!("{} {event} {}", report.claim_uid, report.sandbox_id)
        });
        reports.collect()
    }

    /// Catches up in the background until the condition holds.
    async fn catch_up_until(&self, what: &str, holds: impl Fn() -> bool) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&self.hook).catch_up(stop.clone()));
        self.hook.catch_up_soon();
        let begun = Instant::now();
        while !holds() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "not reached: {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}

fn marked(uid: &str) -> MarkedLink {
    MarkedLink {
        name: "net1".parse().unwrap(),
        claim: claim(uid),
        device: record(uid, &[]).attachments[0].device.name.clone(),
        home_name: "eth2".parse().unwrap(),
    }
}

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
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
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
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
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
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
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
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
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

/// What the waiting reports say is not home as it was.
fn told(node: &Node) -> Vec<String> {
    let reports = node.hook.reports.after(0).into_iter();
    let devices = reports.flat_map(|report| match report.event.unwrap() {
        Reported::Attached(_) => Vec::new(),
        Reported::Detached(detached) => detached.quarantined,
        Reported::Failed(failed) => failed.quarantined,
        Reported::LeftBehind(left) => left.quarantined,
    });
    devices.map(|device| device.reason).collect()
}

#[tokio::test]
async fn a_device_that_is_away_is_reported_at_the_second_look_and_what_lasts_at_once() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
    let stuck = |state: &mut FakeState| state.away = BTreeSet::from([claim("c")]);
    node.hook.devices.set(stuck);
    node.stop("s1", "p").await;
    assert_eq!(node.reports(), ["c attached in s1"], "no second look yet");
    assert!(matches!(node.release("c").await, Answer::Refused(_)));
    assert_eq!(told(&node), ["device eth2 is stuck"]);

    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
    node.hook.devices.set(|state| {
        stuck(state);
        state.bent = BTreeSet::from([claim("c")]);
    });
    node.stop("s1", "p").await;
    assert_eq!(told(&node), ["device eth2 is bent"]);
    node.hook.devices.set(|state| state.away.clear());
    assert!(matches!(node.release("c").await, Answer::Released(_)));
    assert_eq!(told(&node), ["device eth2 is bent"], "the report holds all");
}

#[tokio::test]
async fn a_look_at_what_is_away_is_repeated_after_a_while() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
    node.hook
        .devices
        .set(|state| state.away = BTreeSet::from([claim("c")]));
    node.stop("s1", "p").await;
    node.log();
    let begun = Instant::now();
    node.catch_up_until("a second look", || !told(&node).is_empty())
        .await;
    assert!(begun.elapsed() > Duration::from_millis(800));
    assert_eq!(node.log(), ["detach c from pod"]);
}

#[tokio::test]
async fn a_pod_that_waits_for_a_device_that_is_quarantined_is_refused_with_the_reason() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p", "q"]));
    node.run("s1", "p").await.unwrap();
    node.run("s2", "q").await.unwrap();
    node.hook
        .devices
        .set(|state| state.bent = BTreeSet::from([claim("c")]));
    node.stop("s1", "p").await;
    node.log();
    let why = "the claim has a device in quarantine: device eth2 is bent";
    let refused = || {
        let reports = node.hook.reports.after(0);
        reports.iter().any(|report| match &report.event {
            Some(Reported::Failed(failed)) => {
                failed.reason == "DeviceQuarantined" && failed.message == why
            }
            _ => false,
        })
    };
    node.catch_up_until("the waiting pod is refused", refused)
        .await;
    assert!(node.log().is_empty(), "nothing was moved");
    let error = node.run("s3", "q").await.unwrap_err();
    assert!(error.ends_with(why), "{error}");
    // A new preparation is another matter: dra-plugin has let it pass.
    let mut again = record("c", &["q"]);
    again.prepared += Duration::from_secs(1);
    node.hook.records.commit(again);
    node.run("s4", "q").await.unwrap();
}

#[tokio::test]
async fn what_the_undo_of_an_undefined_id_quarantines_is_reported() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    fs::write(node.dir.path().join("cdi"), "no directory").unwrap();
    node.hook
        .devices
        .set(|state| state.bent = BTreeSet::from([claim("c")]));
    node.run("s1", "p").await.unwrap_err();
    assert_eq!(told(&node), ["device eth2 is bent"]);
    let error = node.run("s2", "p").await.unwrap_err();
    assert!(error.ends_with("device eth2 is bent"), "{error}");
}

#[tokio::test]
async fn a_mark_at_home_that_nobody_knows_is_reported_once() {
    let node = Node::new();
    node.hook
        .devices
        .set(|state| state.left_behind = vec![marked("lost"), marked("known"), marked("kept")]);
    node.hook
        .devices
        .set(|state| state.kept = vec![record("kept", &["p"])]);
    node.hook.look_for_left_behind().await;
    assert!(told(&node).is_empty(), "before anything is known");
    node.hook
        .take_records(vec![record("known", &["p"]), record("kept", &["p"])]);
    node.hook.synchronize(Vec::new()).await;
    let device = marked("lost").device;
    let why = format!(
        "device {device} is home as net1 with the mark of claim lost, of which nothing is known: it was not put back; \
         when its link is right, take the mark away (ip link set net1 alias \"\")"
    );
    assert_eq!(told(&node), [why]);
    let [report] = &node.hook.reports.after(0)[..] else {
        panic!("one report")
    };
    assert_eq!(
        (report.claim_uid.as_str(), report.sandbox_id.as_str()),
        ("lost", "")
    );
    node.hook.reports.acknowledge(report.id);
    node.hook.look_for_left_behind().await;
    node.hook.synchronize(Vec::new()).await;
    assert!(told(&node).is_empty(), "told once");
}

#[tokio::test]
async fn a_release_waits_until_it_is_known_where_an_earlier_life_left_the_devices() {
    let node = Node::new();
    node.hook
        .take_records(vec![record("c", &["p"]), record("home", &["q"])]);
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
    node.hook.take_records(Vec::new());
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

#[tokio::test]
async fn a_pod_that_ran_bare_is_attached_late() {
    let node = Node::new();
    node.hook.take_records(vec![record("c", &["p"])]);
    node.hook
        .synchronize(vec![node.pod("s1", "p"), pod("s2", "host", None)])
        .await;
    node.catch_up_until("attached late", || node.is_attached("c", "s1"))
        .await;
    assert_eq!(node.reports(), ["c attached in s1"]);
}

#[tokio::test]
async fn the_dump_shows_what_is_where() {
    let node = Node::new();
    node.hook.records.commit(record("c", &["p"]));
    node.run("s1", "p").await.unwrap();
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
    node.hook.take_records(vec![record("c", &["p"])]);
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
    node.hook.take_records(vec![record("c", &["p"])]);
    node.run("s1", "p").await.unwrap();
    node.hook.cdi.remove(&claim("c")).unwrap();
    node.hook.look_at(&claim("c")).await;
    assert_eq!(node.defined(), ["c"]);
    node.stop("s1", "p").await;
    node.hook.look_at(&claim("c")).await;
    assert!(node.defined().is_empty(), "nothing stands behind it");
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
    node.hook.take_records(Vec::new());
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
    node.hook.take_records(Vec::new());
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
    node.hook.take_records(Vec::new());
    node.hook.synchronize(Vec::new()).await;
    assert_eq!(node.log(), ["detach c from anywhere"]);
    assert!(node.hook.records.all().is_empty());
    // A claim that dra-plugin knows is its to release.
    node.hook.take_records(vec![record("c", &["p"])]);
    node.hook.synchronize(Vec::new()).await;
    assert!(node.log().is_empty());
}
