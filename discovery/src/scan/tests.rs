//! The loop against a real kernel, in namespaces of its own.

use std::time::Duration;

use network_driver_common::health::Health;
use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::Protected;
use network_driver_netlink::LinkChange;
use network_driver_netlink::testing::Namespace;
use tokio::task::JoinHandle;

use super::*;
use crate::attribute::providers;
use crate::filter::{Offer, filters};
use crate::inventory::{InUse, Rules};

/// Longest wait for the inventory to show something.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running scanner of a home namespace.
struct Home {
    near: Namespace,
    far: Namespace,
    sysfs: tempfile::TempDir,
    view: watch::Receiver<Option<Arc<View>>>,
    in_use: watch::Sender<Option<Arc<Holdings>>>,
    destinations: watch::Sender<BTreeSet<IpAddr>>,
    shutdown: CancellationToken,
    health: Health,
    task: JoinHandle<Result<(), ScanError>>,
}

impl Home {
    /// Home with these links, each with its other end far away, all up.
    fn new(names: &[String]) -> Self {
        Self::hearing(names, |home| {
            Monitor::open_in(home.netns(), &GROUPS).unwrap()
        })
    }

    /// The same, with this ear for the kernel's events.
    fn hearing(names: &[String], ear: impl FnOnce(&Namespace) -> Monitor) -> Self {
        let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        for name in names {
            add(&home, &far, name);
        }
        let kinds = vec!["veth".to_owned()];
        let offer = Offer {
            kinds: kinds.clone(),
            ..Offer::default()
        };
        let rules = Rules {
            filters: filters(&"network.example.com".parse().unwrap(), offer),
            providers: Arc::new(providers()),
            kinds,
        };
        let inventory = Inventory::new(rules, Protected::default());
        let metrics = Metrics::new(&mut Registry::default());
        let sysfs = tempfile::tempdir().unwrap();
        let scanner = Scanner::new(inventory, Sysfs::new(sysfs.path()), metrics).unwrap();
        let (view_sent, view) = watch::channel(None);
        let (in_use, in_use_seen) = watch::channel(None);
        let (destinations, destinations_seen) = watch::channel(BTreeSet::new());
        let health = Health::default();
        let wires = Wires {
            in_use: in_use_seen,
            destinations: destinations_seen,
            view: view_sent,
            health: health.part("netlink"),
        };
        let shutdown = CancellationToken::new();
        let scanner = scanner.in_netns(home.netns()).unwrap();
        let task = tokio::spawn(scanner.follow(ear(&home), wires, shutdown.clone()));
        Self {
            near: home,
            far,
            sysfs,
            view,
            in_use,
            destinations,
            shutdown,
            health,
            task,
        }
    }

    /// Waits until the view is as wanted.
    async fn wait(&mut self, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let seen = self
            .view
            .wait_for(|view| view.as_deref().is_some_and(&wanted));
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|_| panic!("waited in vain for {what}"))
            .unwrap()
            .clone()
            .unwrap()
    }

    /// What the file `speed` of a link says from now on.
    fn set_speed(&self, link: &str, speed: &str) {
        let files = self.sysfs.path().join("class/net").join(link);
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("speed"), speed).unwrap();
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn add(home: &Namespace, far: &Namespace, name: &str) {
    home.veth(name, far, name).unwrap();
    home.set_up(name, true).unwrap();
    far.set_up(name, true).unwrap();
}

fn names(view: &View) -> Vec<String> {
    let mut names: Vec<String> = view.devices().map(|d| d.name.to_string()).collect();
    names.sort_unstable();
    names
}

fn has(view: &View, name: &str) -> bool {
    view.devices().any(|device| device.name.as_str() == name)
}

fn said(view: &View, device: &str, attribute: &str) -> Option<String> {
    let device = view.devices().find(|found| found.name.as_str() == device)?;
    let value = device.attributes.get(&attribute.parse().unwrap());
    value.map(ToString::to_string)
}

fn reason(view: &View, link: &str) -> Option<String> {
    let link = view.links.iter().find(|l| l.name.as_str() == Some(link))?;
    match &link.offered {
        crate::inventory::Offered::As(_) => None,
        crate::inventory::Offered::No { reason, .. } => Some(reason.clone()),
    }
}

#[tokio::test]
async fn netns_what_happens_to_a_link_is_in_the_inventory_soon() {
    let mut node = Home::new(&["nic0".to_owned()]);
    let view = node.wait("the first link", |view| has(view, "nic0")).await;
    assert_eq!(names(&view), ["nic0"]);
    assert!(node.health.is_ready());
    assert_eq!(reason(&view, "lo").as_deref(), Some("is the loopback link"));

    add(&node.near, &node.far, "nic1");
    node.wait("a new link", |view| has(view, "nic1")).await;

    node.near
        .add_address("nic1", "10.7.0.1/24".parse().unwrap())
        .unwrap();
    node.wait("an address", |view| {
        said(view, "nic1", "ipv4").as_deref() == Some("10.7.0.1/24")
    })
    .await;

    let index = node.near.link("nic1").unwrap().index;
    let change = LinkChange {
        mtu: Some(1400),
        ..LinkChange::default()
    };
    let mut socket = node.near.socket().unwrap();
    socket.change_link(index, &change).unwrap();
    node.wait("an MTU", |view| {
        said(view, "nic1", "mtu").as_deref() == Some("1400")
    })
    .await;

    node.far.set_up("nic1", false).unwrap();
    let view = node.wait("a lost carrier", |view| !has(view, "nic1")).await;
    let why = "has no carrier (see --offer-down)";
    assert_eq!(reason(&view, "nic1").as_deref(), Some(why));

    socket.delete_link(index).unwrap();
    node.wait("a link that is gone", |view| view.links.len() == 2)
        .await;
    node.stop().await;
}

#[tokio::test]
async fn netns_the_files_of_a_new_link_are_read_and_again_when_its_carrier_comes() {
    let mut node = Home::new(&[]);
    node.wait("the first look", |view| view.links.len() == 1)
        .await;
    node.set_speed("nic0", "25000");
    add(&node.near, &node.far, "nic0");
    let speed = |view: &View| said(view, "nic0", "speed");
    node.wait("the speed", |view| speed(view).as_deref() == Some("25000"))
        .await;

    node.far.set_up("nic0", false).unwrap();
    node.wait("a lost carrier", |view| !has(view, "nic0")).await;
    node.set_speed("nic0", "10000");
    node.far.set_up("nic0", true).unwrap();
    node.wait("the new speed", |view| {
        speed(view).as_deref() == Some("10000")
    })
    .await;
    node.stop().await;
}

#[tokio::test]
async fn netns_a_link_that_a_pod_holds_keeps_its_entry_while_it_is_away() {
    let mut node = Home::new(&["nic0".to_owned()]);
    let view = node.wait("the link", |view| has(view, "nic0")).await;
    let device = Arc::clone(view.devices().next().unwrap());
    let used = InUse {
        device: Arc::clone(&device),
        claim: "c-1".parse().unwrap(),
        fault: None,
    };
    let holdings = Holdings {
        in_use: Arc::new([(used.device.name.clone(), used)].into()),
        quarantined: Vec::new(),
    };
    node.in_use.send_replace(Some(Arc::new(holdings)));
    node.wait("the list of devices in use", |view| view.in_use_known)
        .await;

    let pod = Namespace::new().unwrap();
    let index = node.near.link("nic0").unwrap().index;
    let name = "net1".parse().unwrap();
    let mut socket = node.near.socket().unwrap();
    socket.move_link(index, pod.netns(), &name).unwrap();
    let view = node
        .wait("the link to leave", |view| view.links.len() == 1)
        .await;
    assert_eq!(view.devices().next(), Some(&device));

    let index = pod.link("net1").unwrap().index;
    let mut socket = pod.socket().unwrap();
    let name = "nic0".parse().unwrap();
    socket.move_link(index, node.near.netns(), &name).unwrap();
    node.near.set_up("nic0", true).unwrap();
    node.in_use.send_replace(Some(Arc::default()));
    let view = node
        .wait("the link to be offered anew", |view| {
            view.in_use.is_empty() && has(view, "nic0")
        })
        .await;
    assert_eq!(view.links.len(), 2);
    node.stop().await;
}

#[tokio::test]
async fn netns_the_way_out_is_protected_as_soon_as_it_is_one() {
    let mut node = Home::new(&["nic0".to_owned(), "nic1".to_owned()]);
    node.wait("both links", |view| names(view).len() == 2).await;
    node.near
        .add_address("nic0", "10.7.0.1/24".parse().unwrap())
        .unwrap();
    let server: IpAddr = "10.7.0.9".parse().unwrap();
    node.destinations.send_replace([server].into());
    let view = node
        .wait("the way to the API server", |view| !has(view, "nic0"))
        .await;
    let why = "is the way to 10.7.0.9";
    assert_eq!(reason(&view, "nic0").as_deref(), Some(why));
    assert!(has(&view, "nic1"));

    let index = node.near.link("nic1").unwrap().index;
    let route = default_route();
    let mut socket = node.near.socket().unwrap();
    socket.add_route(index, &route).unwrap();
    let view = node
        .wait("a default route", |view| !has(view, "nic1"))
        .await;
    let why = "carries the default route";
    assert_eq!(reason(&view, "nic1").as_deref(), Some(why));

    socket.delete_route(index, &route).unwrap();
    node.wait("the default route to go", |view| has(view, "nic1"))
        .await;
    node.stop().await;
}

fn default_route() -> network_driver_common::model::SnapshotRoute {
    network_driver_common::model::SnapshotRoute {
        destination: "0.0.0.0/0".parse().unwrap(),
        gateway: None,
        preferred_source: None,
        table: 254,
        protocol: 4,
        // RT_SCOPE_LINK: a route without a gateway.
        scope: 253,
        kind: 1,
        metric: 0,
        onlink: false,
        options: network_driver_common::model::RouteOptions::default(),
    }
}

#[tokio::test]
async fn netns_three_hundred_links_are_seen_however_fast_they_come() {
    let all: Vec<String> = (0..300).map(|n| format!("nic{n:03}")).collect();
    let mut node = Home::new(&all[..150]);
    node.wait("half of the links", |view| names(view).len() == 150)
        .await;
    for name in &all[150..] {
        add(&node.near, &node.far, name);
    }
    let view = node
        .wait("all links", |view| names(view).len() == 300)
        .await;
    assert_eq!(names(&view), all);
    node.stop().await;
}

#[tokio::test]
async fn netns_what_happened_while_events_were_lost_is_seen_all_the_same() {
    let cramped = |home: &Namespace| home.cramped_monitor(&GROUPS).unwrap();
    let mut node = Home::hearing(&["nic0".to_owned()], cramped);
    node.wait("the first link", |view| has(view, "nic0")).await;
    // On this one thread nothing is read meanwhile: there is room for the first of these events only.
    let index = node.near.link("lo").unwrap().index;
    let mut socket = node.near.socket().unwrap();
    for mtu in 1300..1400 {
        let change = LinkChange {
            mtu: Some(mtu),
            ..LinkChange::default()
        };
        socket.change_link(index, &change).unwrap();
    }
    add(&node.near, &node.far, "nic1");
    let view = node.wait("the link added last", |view| has(view, "nic1"));
    assert_eq!(names(&*view.await), ["nic0", "nic1"]);
    node.stop().await;
}

#[tokio::test]
async fn netns_a_link_of_any_name_is_offered() {
    let mut node = Home::new(&["a_b.c".to_owned(), "fifteen-bytes-x".to_owned()]);
    let view = node.wait("both links", |view| names(view).len() == 2).await;
    assert_eq!(names(&view), ["fifteen-bytes-x", "x--615f622e63"]);
    node.stop().await;
}
