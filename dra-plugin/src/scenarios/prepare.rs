use network_driver_proto::bus::Record;
use network_driver_proto::dra_v1alpha3::node_client::NodeClient as AlphaClient;
use network_driver_proto::dra_v1beta1::dra_plugin_client::DraPluginClient as BetaClient;
use network_driver_proto::{dra_v1alpha3, dra_v1beta1};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::fixture::record;
use crate::store::{Change, Contents};
use crate::testing::{Node, claim, dial, until};

#[tokio::test]
async fn a_claim_is_checked_then_kept_then_committed_then_answered() {
    let node = Node::start().await;
    let hook = node.hook().await;
    let parameters = json!({"interface": {"name": "net1", "mtu": 1400}});
    node.api.allocate("c-1", &["eth1", "eth2"], None);
    node.api.allocate("c-2", &["eth3"], Some(parameters));
    let answers = node.prepare(&["c-1", "c-2"]).await;
    let devices = &answers["c-1"].devices;
    let names: Vec<_> = devices.iter().map(|d| d.device_name.as_str()).collect();
    assert_eq!(names, ["eth1", "eth2"]);
    for device in devices {
        assert_eq!(device.request_names, ["nic"], "the subrequest is cut");
        assert_eq!(device.pool_name, "node-1");
        assert_eq!(device.cdi_device_ids, ["network.example.com/claim=c-1"]);
    }
    assert!(answers["c-2"].error.is_empty(), "{}", answers["c-2"].error);
    let state = hook.state();
    for uid in ["c-1", "c-2"] {
        let of_claim = state.orders.iter().filter(|order| order.ends_with(uid));
        let of_claim: Vec<_> = of_claim.collect();
        assert_eq!(
            of_claim,
            [&format!("check {uid}"), &format!("commit {uid}")]
        );
    }
    let committed = state.commits.iter().find(|r| r.claim_uid == "c-2").unwrap();
    assert_eq!(committed.pod_uids, ["p-c-2"]);
    assert!(committed.attachments[0].snapshot.is_some());
    assert_eq!(committed.attachments[0].config.as_ref().unwrap().mtu, 1400);
    let kept: usize = node
        .store
        .commits
        .lock()
        .unwrap()
        .iter()
        .map(Vec::len)
        .sum();
    assert_eq!(kept, 2);
}

/// Claims of one call, each with the error of its answer.
const ANSWERS: [(&str, &str); 9] = [
    ("good", ""),
    ("elsewhere", ""),
    (
        "bad-config",
        "invalid configuration: interface.mtu: MTU 1 must be 68 to 65535",
    ),
    (
        "replaced",
        "the claim was replaced: asked for UID replaced, found other",
    ),
    ("unallocated", "the claim is not allocated"),
    (
        "away",
        "device eth9 is not on node node-1, or no longer offered (see `discovery links` there)",
    ),
    (
        "admin",
        "device eth1 is allocated with adminAccess, which this driver does not support: remove adminAccess from the \
         request",
    ),
    (
        "missing",
        "read the claim: claim default/missing does not exist",
    ),
    (
        "no/uid",
        "the kubelet asked for a claim with an impossible UID: claim UID \"no/uid\" must be 1 to 63 characters of \
         letters, digits and '-'",
    ),
];

#[tokio::test]
async fn one_answer_for_each_claim_whatever_becomes_of_the_others() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    assert!(node.prepare(&[]).await.is_empty());
    for uid in [
        "good",
        "bad-config",
        "replaced",
        "unallocated",
        "elsewhere",
        "away",
        "admin",
    ] {
        node.api.allocate(uid, &["eth1"], None);
    }
    node.api.allocate(
        "bad-config",
        &["eth2"],
        Some(json!({"interface": {"mtu": 1}})),
    );
    node.api.allocate("away", &["eth9"], None);
    let change = |uid: &str, change: &dyn Fn(&mut Value)| {
        change(node.api.state().claims.get_mut(uid).unwrap());
    };
    change("replaced", &|c| c["metadata"]["uid"] = json!("other"));
    change("unallocated", &|c| c["status"]["allocation"] = Value::Null);
    let result = |c: &mut Value, field: &str, value: Value| {
        c["status"]["allocation"]["devices"]["results"][0][field] = value;
    };
    change("elsewhere", &|c| {
        result(c, "driver", json!("other.example.com"));
    });
    change("admin", &|c| result(c, "adminAccess", json!(true)));
    let asked = ANSWERS.map(|(uid, _)| uid);
    let answers = node.prepare(&asked).await;
    assert_eq!(answers.len(), asked.len());
    for (uid, error) in ANSWERS {
        assert_eq!(answers[uid].error, error, "{uid}");
    }
    assert_eq!(answers["good"].devices.len(), 1);
    assert!(answers["elsewhere"].devices.is_empty());
}

/// Asks by `$client` and compares with what v1 answers.
macro_rules! same_answers {
    ($client:ty, $version:ident) => {{
        let node = Node::start().await;
        let _hook = node.hook().await;
        node.api.allocate("c-1", &["eth1"], None);
        let newer = node.prepare(&["c-1", "missing"]).await;
        let mut client = <$client>::new(dial(&node.paths.dra).await);
        let asked = |uid: &str| $version::Claim {
            namespace: "default".into(),
            uid: uid.into(),
            name: uid.into(),
        };
        let request = $version::NodePrepareResourcesRequest {
            claims: vec![asked("c-1"), asked("missing")],
        };
        let older = client.node_prepare_resources(request).await.unwrap();
        let older = older.into_inner().claims;
        assert_eq!(older.len(), newer.len());
        for (uid, older) in older {
            let newer = &newer[&uid];
            assert_eq!(older.error, newer.error);
            assert_eq!(older.devices.len(), newer.devices.len());
            for (older, newer) in older.devices.iter().zip(&newer.devices) {
                assert_eq!(older.request_names, newer.request_names);
                assert_eq!(older.pool_name, newer.pool_name);
                assert_eq!(older.device_name, newer.device_name);
                assert_eq!(older.cdi_device_ids, newer.cdi_device_ids);
            }
        }
        let request = $version::NodeUnprepareResourcesRequest {
            claims: vec![asked("c-1")],
        };
        let answer = client.node_unprepare_resources(request).await.unwrap();
        assert_eq!(answer.into_inner().claims["c-1"].error, "");
        assert!(node.driver.book.records().is_empty());
    }};
}

#[tokio::test]
async fn v1beta1_gives_the_same_answer_as_v1() {
    same_answers!(BetaClient<Channel>, dra_v1beta1);
}

#[tokio::test]
async fn v1alpha3_gives_the_same_answer_as_v1() {
    same_answers!(AlphaClient<Channel>, dra_v1alpha3);
}

#[tokio::test]
async fn prepare_again_gives_the_same_answer_without_another_write() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    let first = node.prepare(&["c-1"]).await;
    for _ in 0..3 {
        assert_eq!(node.prepare(&["c-1"]).await, first);
    }
    assert_eq!(node.store.commits.lock().unwrap().len(), 1);
    let orders = hook.state().orders.clone();
    let checks = orders.iter().filter(|order| order.starts_with("check"));
    assert_eq!(checks.count(), 1);
    // A pod that has come since is in the record, and with the hook.
    let pod = json!({"resource": "pods", "name": "b", "uid": "p-2"});
    let mut pods = node.api.state().claims["c-1"]["status"]["reservedFor"].clone();
    pods.as_array_mut().unwrap().push(pod);
    node.api.state().claims.get_mut("c-1").unwrap()["status"]["reservedFor"] = pods;
    assert_eq!(node.prepare(&["c-1"]).await, first);
    let committed = hook.state().commits.last().unwrap().clone();
    assert_eq!(committed.pod_uids, ["p-2", "p-c-1"]);
}

#[tokio::test]
async fn after_a_reboot_the_links_are_looked_at_anew() {
    let mut before = record("c-1", &["eth1"]);
    before.sandbox = Some("old".parse().unwrap());
    let contents = Contents {
        records: vec![before.clone()],
        ..Contents::default()
    };
    let node = Node::start_with(contents, "boot-2").await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    assert_eq!(node.prepare_one("c-1").await.unwrap(), ["eth1"]);
    assert_eq!(hook.state().orders, ["check c-1", "commit c-1"]);
    // Where the devices are is the hook's to say: it may have served a sandbox of this boot already.
    let record = node.driver.book.records()[0].clone();
    assert_eq!(
        (record.boot_id.as_str(), &record.sandbox),
        ("boot-2", &before.sandbox)
    );
}

#[tokio::test]
async fn a_record_without_snapshots_is_looked_at_before_it_is_answered() {
    let mut before = record("c-1", &["eth1"]);
    before.attachments[0].snapshot = None;
    let contents = Contents {
        records: vec![before],
        ..Contents::default()
    };
    let node = Node::start_with(contents, "boot-1").await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    assert_eq!(node.prepare_one("c-1").await.unwrap(), ["eth1"]);
    assert_eq!(hook.state().orders, ["check c-1", "commit c-1"]);
    let kept = node.driver.book.records()[0].clone();
    assert!(kept.attachments[0].snapshot.is_some());
}

#[tokio::test]
async fn a_claim_that_was_allocated_anew_is_not_answered_with_what_was_prepared() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    node.api.allocate("c-1", &["eth2"], None);
    let error = node.prepare_one("c-1").await.unwrap_err();
    assert!(error.contains("eth1"), "{error}");
    node.unprepare("c-1").await.unwrap();
    assert_eq!(node.prepare_one("c-1").await.unwrap(), ["eth2"]);
}

#[tokio::test]
async fn without_a_ready_hook_nothing_is_prepared_and_the_sentence_says_why() {
    let node = Node::start().await;
    node.api.allocate("c-1", &["eth1"], None);
    let error = node.prepare_one("c-1").await.unwrap_err();
    assert_eq!(
        error,
        "hook is not connected to the container runtime on node node-1: the hook has no session with dra-plugin (is \
         nri-hook running?); will retry"
    );
    let hook = node.hook().await;
    hook.ready(false, "NRI is not enabled");
    until("the hook is not ready", || {
        node.driver.hook.ready().is_err()
    })
    .await;
    let error = node.prepare_one("c-1").await.unwrap_err();
    assert_eq!(
        error,
        "hook is not connected to the container runtime on node node-1: NRI is not enabled; will retry"
    );
    assert!(node.driver.book.records().is_empty());
    hook.ready(true, "");
    until("the hook is ready", || node.driver.hook.ready().is_ok()).await;
    assert!(node.prepare_one("c-1").await.is_ok());
    let event = ("ResourceClaim".to_owned(), "NRINotConnected".to_owned());
    until("the event is written", || {
        node.api.state().events.contains(&event)
    })
    .await;
}

#[tokio::test]
async fn a_device_of_another_claim_is_refused_with_its_holder() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.api.allocate("c-2", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    let error = node.prepare_one("c-2").await.unwrap_err();
    let want = "device eth1 is in use by claim default/c-1 (UID c-1); will retry";
    assert_eq!(error, want);
    node.unprepare("c-1").await.unwrap();
    node.prepare_one("c-2").await.unwrap();
}

#[tokio::test]
async fn of_two_claims_that_race_for_a_device_one_gets_it() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.api.allocate("c-2", &["eth1"], None);
    hook.state().hold.insert("check");
    let (answers, ()) = tokio::join!(node.prepare(&["c-1", "c-2"]), async {
        until("both are checked", || hook.state().held.len() == 2).await;
        hook.let_go();
    });
    let failed: Vec<_> = answers.values().filter(|a| !a.error.is_empty()).collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0]
            .error
            .starts_with("device eth1 is in use by claim default/c-")
    );
    assert_eq!(node.driver.book.records().len(), 1);
    let abandoned = || hook.state().orders.iter().any(|o| o.starts_with("abandon"));
    until("the loser's check is taken back", abandoned).await;
}

#[tokio::test]
async fn a_refusal_of_the_hook_is_passed_on() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    let message = "eth1 carries the default route of the node";
    hook.state().refuse = Some(("DeviceProtected".into(), message.into()));
    assert_eq!(node.prepare_one("c-1").await.unwrap_err(), message);
    let event = ("ResourceClaim".to_owned(), "DeviceProtected".to_owned());
    until("the event is written", || {
        node.api.state().events.contains(&event)
    })
    .await;
    assert!(node.driver.book.records().is_empty());
}

#[tokio::test]
async fn a_full_disk_fails_the_claim_and_the_next_try_succeeds() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.store
        .refuse
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let error = node.prepare_one("c-1").await.unwrap_err();
    assert!(
        error.starts_with("keep the record of the claim: "),
        "{error}"
    );
    assert!(node.driver.book.records().is_empty());
    node.store
        .refuse
        .store(false, std::sync::atomic::Ordering::SeqCst);
    node.prepare_one("c-1").await.unwrap();
}

#[tokio::test]
async fn claims_do_not_wait_for_each_other_and_one_claim_takes_turns() {
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("slow", &["eth1"], None);
    node.api.allocate("quick", &["eth2"], None);
    hook.state().hold.insert("check");
    let slow = async { tokio::join!(node.prepare_one("slow"), node.prepare_one("slow")) };
    let others = async {
        until("the slow one is checked", || !hook.state().held.is_empty()).await;
        hook.state().hold.clear();
        node.prepare_one("quick").await.unwrap();
        let checks = hook.state().orders.clone();
        let slow = checks.iter().filter(|order| *order == "check slow").count();
        assert_eq!(slow, 1, "the second call for the claim waits");
        hook.let_go();
    };
    let ((first, second), ()) = tokio::join!(slow, others);
    assert_eq!(first.unwrap(), second.unwrap());
}

#[tokio::test]
async fn a_call_that_is_cut_off_anywhere_is_completed_by_the_next_and_undone_by_unprepare() {
    for step in ["read", "check", "commit"] {
        let node = Node::start().await;
        let hook = node.hook().await;
        node.api.allocate("c-1", &["eth1"], None);
        let gate = node.api.state().gate.clone();
        let reading = (step == "read").then(|| gate.try_lock_owned().unwrap());
        hook.state().hold.insert(step);
        let reached = || match step {
            "read" => node.api.state().asked > 0,
            _ => !hook.state().held.is_empty(),
        };
        tokio::select! {
            answer = node.prepare_one("c-1") => panic!("{step} is held: {answer:?}"),
            () = until("the step is reached", reached) => {}
        }
        if step == "check" {
            let abandoned = || hook.state().orders.iter().any(|o| o == "abandon c-1");
            until("the check is taken back", abandoned).await;
        }
        let records = node.driver.book.records().len();
        assert_eq!(records, usize::from(step == "commit"), "{step}");
        drop(reading);
        hook.let_go();
        assert_eq!(node.prepare_one("c-1").await.unwrap(), ["eth1"], "{step}");
        node.unprepare("c-1").await.unwrap();
        assert!(node.driver.book.records().is_empty(), "{step}");
    }
}

#[tokio::test]
async fn devices_that_are_known_are_prepared_while_discovery_is_away() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    node.discovery.stop();
    let away = || {
        let parts = node.health.parts();
        parts
            .iter()
            .any(|p| p.name == "inventory" && p.reason.is_some())
    };
    until("discovery is missed", away).await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
}

#[tokio::test]
async fn the_callers_deadline_ends_a_claim_with_a_sentence_of_its_own() {
    use network_driver_proto::dra_v1::NodePrepareResourcesRequest;
    use network_driver_proto::dra_v1::dra_plugin_client::DraPluginClient;
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    hook.state().hold.insert("check");
    let claims = vec![claim("c-1"), claim("missing")];
    let mut request = tonic::Request::new(NodePrepareResourcesRequest { claims });
    request.set_timeout(std::time::Duration::from_secs(2));
    let mut client = DraPluginClient::new(dial(&node.paths.dra).await);
    let answer = client.node_prepare_resources(request).await.unwrap();
    let answers = answer.into_inner().claims;
    let error = &answers["c-1"].error;
    assert_eq!(error, "preparing took longer than 1 s; will retry");
    assert!(answers["missing"].error.contains("does not exist"));
}

#[tokio::test]
async fn nothing_but_the_claim_is_asked_of_the_api_server() {
    let node = Node::start().await;
    let _hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    node.prepare_one("c-1").await.unwrap();
    let state = node.api.state();
    assert_eq!((state.reads, state.patches.len()), (1, 0));
}

#[tokio::test]
async fn the_largest_claim_is_prepared() {
    let node = Node::start().await;
    let hook = node.hook().await;
    let names: Vec<String> = (0..32).map(|n| format!("nic{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    node.discovery.offer(&names);
    until("the devices are known", || {
        node.driver.inventory.names().len() == 32
    })
    .await;
    node.api.allocate("c-1", &names, None);
    assert_eq!(node.prepare_one("c-1").await.unwrap().len(), 32);
    let records: Vec<Record> = hook.state().commits.clone();
    assert_eq!(records[0].attachments.len(), 32);
    let puts = node.store.commits.lock().unwrap().clone();
    assert!(matches!(puts[0][0], Change::Put(_)));
}
