//! What is not home as it was, or not yet.

use super::*;
use crate::links::{Plight, Quarantined};

/// What the waiting reports say is not home as it was.
fn told(node: &Node) -> Vec<String> {
    let reports = node.hook.reports.after(0).into_iter();
    let devices = reports.flat_map(|report| match report.event.unwrap() {
        Reported::Attached(_) | Reported::GivenBack(_) => Vec::new(),
        Reported::Detached(detached) => detached.quarantined,
        Reported::Failed(failed) => failed.quarantined,
        Reported::LeftBehind(left) => left.quarantined,
    });
    devices.map(|device| device.reason).collect()
}

#[tokio::test]
async fn a_device_that_is_away_is_reported_at_the_second_look_and_what_lasts_at_once() {
    let node = Node::lent().await;
    let stuck = |state: &mut FakeState| state.away = BTreeSet::from([claim("c")]);
    node.hook.devices.set(stuck);
    node.stop("s1", "p").await;
    assert_eq!(node.reports(), ["c attached in s1"], "no second look yet");
    assert!(matches!(node.release("c").await, Answer::Refused(_)));
    assert_eq!(told(&node), ["device eth2 is stuck"]);

    let node = Node::lent().await;
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
    let node = Node::lent().await;
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
    node.list(&[record("known", &["p"]), record("kept", &["p"])]);
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
async fn a_quarantine_that_dra_plugin_has_not_heard_of_holds_for_a_claim_prepared_anew() {
    let node = Node::lent().await;
    node.hook
        .devices
        .set(|state| state.bent = BTreeSet::from([claim("c")]));
    node.stop("s1", "p").await;
    let mut anew = record("c", &["p"]);
    anew.prepared += Duration::from_secs(1);
    node.order(Kind::Commit((&anew).into())).await;
    let refused = node.run("s2", "p").await.unwrap_err();
    assert!(refused.contains("device eth2 is bent"), "{refused}");
    anew.prepared += Duration::from_secs(1);
    node.list(&[anew.clone()]);
    assert!(node.run("s3", "p").await.is_err());
    // Once it has heard of it, what it prepares is well.
    for report in node.hook.reports.after(0) {
        node.hook.reports.acknowledge(report.id);
    }
    anew.prepared += Duration::from_secs(1);
    node.order(Kind::Commit((&anew).into())).await;
    node.run("s4", "p").await.unwrap();
}

#[tokio::test]
async fn a_claim_that_the_node_alone_remembers_gets_no_device_in_quarantine() {
    let node = Node::new();
    let kept = record("c", &["p"]);
    let quarantined = Quarantined {
        device: kept.attachments[0].device.name.clone(),
        reason: "device eth2 is bent".into(),
        plight: Plight::Bent,
    };
    node.hook.devices.set(|state| state.kept = vec![kept]);
    node.hook.take_records(List {
        quarantined: vec![quarantined],
        incomplete: true,
        ..List::default()
    });
    node.hook.synchronize(vec![node.pod("s1", "p")]).await;
    let refused = node.run("s2", "p").await.unwrap_err();
    assert!(refused.contains("device eth2 is bent"), "{refused}");
}
