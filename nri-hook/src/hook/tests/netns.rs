//! The hook over real links, in namespaces made for it.

use network_driver_common::model::{
    Attachment, DeviceName, IfName, LinkIdentity, Record as ModelRecord,
};
use network_driver_netlink::testing::Namespace;

use super::*;
use crate::links::Links;

/// A node with one cable, and the hook on it.
struct RealNode {
    home: Namespace,
    far: Namespace,
    hook: Hook<Links>,
    _dir: tempfile::TempDir,
}

impl RealNode {
    fn new() -> Self {
        let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        home.veth("eth1", &far, "far1").unwrap();
        home.add_address("eth1", "10.1.0.1/24".parse().unwrap())
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let driver = "network.example.com".parse().unwrap();
        let state = dir.path().join("state");
        let links = Links::new(home.netns().clone(), driver, state).unwrap();
        let driver = "network.example.com".parse().unwrap();
        let cdi = cdi::Directory::new(dir.path().join("cdi"), driver, None).unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let hook = Hook::new(Arc::new(links), cdi, metrics, "boot".into());
        Self {
            home,
            far,
            hook,
            _dir: dir,
        }
    }

    /// The record of a claim for the cable, as it would be prepared: checked, then made durable with its snapshot.
    async fn prepare(&self, uid: &str, pods: &[&str]) {
        let mut wanted = record(uid, pods);
        let attachment = &mut wanted.attachments[0];
        let link = self.home.link("eth1").unwrap();
        let identity = LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: link.hardware_address,
            home_name: "eth1".parse().unwrap(),
        };
        let device = Arc::make_mut(&mut attachment.device);
        device.name = DeviceName::of(&identity);
        device.identity = identity;
        device.interface = "eth1".parse().unwrap();
        attachment.config.name = Some("net1".parse().unwrap());
        let order = |order| Order {
            id: 1,
            traceparent: String::new(),
            order: Some(order),
        };
        let answer = self.hook.obey(order(Kind::Check((&wanted).into()))).await;
        let Answer::Checked(checked) = answer else {
            panic!("{answer:?}")
        };
        let snapshot = Snapshot::try_from(&checked.snapshots[0]).unwrap();
        let [Attachment { snapshot: kept, .. }] = &mut wanted.attachments[..] else {
            panic!("one attachment")
        };
        *kept = Some(snapshot);
        let committed: ModelRecord = wanted;
        let answer = self
            .hook
            .obey(order(Kind::Commit((&committed).into())))
            .await;
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }
}

fn in_namespace(sandbox: &str, uid: &str, namespace: &Namespace) -> Pod {
    pod(sandbox, uid, namespace.netns().path().to_str())
}

fn names(namespace: &Namespace) -> Vec<String> {
    let names = namespace.link_names().unwrap();
    names.iter().map(IfName::to_string).collect()
}

#[tokio::test]
async fn netns_a_pod_gets_its_interface_and_home_gets_it_back_as_it_was() {
    let node = RealNode::new();
    let before = node.home.state().unwrap();
    node.prepare("c", &["p"]).await;
    for sandbox in ["s1", "s2"] {
        let place = Namespace::new().unwrap();
        let made = in_namespace(sandbox, "p", &place);
        node.hook
            .run_pod_sandbox(made.clone(), request(2000))
            .await
            .unwrap();
        assert_eq!(names(&place), ["net1"], "{sandbox}");
        assert!(node.hook.sandboxes.is_attached(&claim("c"), &made.sandbox));
        node.hook.stop_pod_sandbox(made, request(2000)).await;
        assert!(names(&place).is_empty(), "{sandbox}");
        node.home
            .wait_for_state(&before, Duration::from_secs(5))
            .unwrap();
    }
}

#[tokio::test]
async fn netns_the_nodes_own_namespace_is_no_place_for_a_claim() {
    let node = RealNode::new();
    node.prepare("c", &["p"]).await;
    let made = in_namespace("s1", "p", &node.home);
    let error = node
        .hook
        .run_pod_sandbox(made, request(2000))
        .await
        .unwrap_err();
    assert!(error.contains("hostNetwork"), "{error}");
    assert_eq!(names(&node.home), ["eth1"]);
}

#[tokio::test]
async fn netns_a_new_life_finds_what_the_last_one_attached() {
    let mut node = RealNode::new();
    let before = node.home.state().unwrap();
    node.prepare("c", &["p"]).await;
    let place = Namespace::new().unwrap();
    let made = in_namespace("s1", "p", &place);
    node.hook
        .run_pod_sandbox(made.clone(), request(2000))
        .await
        .unwrap();
    let mut told = ModelRecord::clone(&node.hook.records.committed(&claim("c")).unwrap());
    told.sandbox = Some("s1".parse().unwrap());

    let metrics = Metrics::new(&mut Registry::default());
    let devices = Arc::clone(&node.hook.devices);
    node.hook = Hook::new(devices, node.hook.cdi.clone(), metrics, "boot".into());
    node.hook.take_records(complete(&[told]));
    node.hook.synchronize(vec![made.clone()]).await;
    assert!(node.hook.sandboxes.is_attached(&claim("c"), &made.sandbox));
    assert_eq!(names(&place), ["net1"], "untouched");

    let order = Kind::Release(ClaimRef {
        claim_uid: "c".into(),
    });
    let order = Order {
        id: 1,
        traceparent: String::new(),
        order: Some(order),
    };
    let answer = node.hook.obey(order).await;
    assert!(matches!(answer, Answer::Released(_)), "{answer:?}");
    node.home
        .wait_for_state(&before, Duration::from_secs(5))
        .unwrap();
}

#[tokio::test]
async fn netns_a_device_that_is_taken_from_its_pod_is_missed_and_found_again() {
    let mut node = RealNode::new();
    node.far.set_up("far1", true).unwrap();
    node.prepare("c", &["p"]).await;
    let place = Namespace::new().unwrap();
    let made = in_namespace("s1", "p", &place);
    let hook = Arc::new(std::mem::replace(&mut node.hook, RealNode::new().hook));
    let stop = CancellationToken::new();
    let reconciling = tokio::spawn(Arc::clone(&hook).reconcile(stop.clone()));
    hook.run_pod_sandbox(made.clone(), request(2000))
        .await
        .unwrap();
    let health = async |reason: &str| {
        let told = || {
            let health = hook.health.after(0).1;
            health.first().is_some_and(|device| device.reason == reason)
        };
        let seen = async {
            while !told() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(5), seen).await;
        assert!(seen.is_ok(), "{reason:?}: {:?}", hook.health.after(0));
    };
    let whole = || hook.sandboxes.is_attached(&claim("c"), &made.sandbox);
    health("").await;
    assert!(whole());

    let elsewhere = Namespace::new().unwrap();
    let bring = |from: &Namespace, to: &Namespace| {
        let index = from.link("net1").unwrap().index;
        let name = "net1".parse().unwrap();
        let mut socket = from.socket().unwrap();
        socket.move_link(index, to.netns(), &name).unwrap();
    };
    bring(&place, &elsewhere);
    health("DeviceGone").await;
    assert!(!whole());
    bring(&elsewhere, &place);
    place.set_up("net1", true).unwrap();
    health("").await;
    assert!(whole());

    node.far.set_up("far1", false).unwrap();
    health("CarrierDown").await;
    assert!(whole(), "it is there");
    stop.cancel();
    reconciling.await.unwrap().unwrap();
}
