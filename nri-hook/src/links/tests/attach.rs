//! Into the pod: what arrives, and that a failure leaves nothing behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use network_driver_common::model::{InterfaceConfig, Protected};
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkKind, NewLink, Socket};

use super::node::{DRIVER, Node, address, config, full_config, in_time, link_in, route};
use crate::links::attach::Departure;
use crate::links::configure::{self, Configurator, ConfigureError, Interface, Seen};

#[test]
fn netns_an_interface_arrives_as_it_was_wished() {
    let node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let attached = node.attach(&[record], &pod).unwrap();

    let [claim] = &attached[..] else {
        panic!("{attached:?}")
    };
    let [interface] = &claim.interfaces[..] else {
        panic!("{claim:?}")
    };
    assert_eq!(claim.claim.as_str(), "uid-1");
    assert_eq!(interface.name.to_string(), "net1");
    assert_eq!(interface.home_name.to_string(), "eth1");
    assert_eq!(interface.mtu, 1400);
    let addresses: Vec<_> = interface
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(addresses, ["10.9.0.2/24", "10.9.0.3/24", "fd09::2/64"]);

    let link = link_in(&pod, b"net1").unwrap();
    assert!(link.flags.up());
    assert_eq!(
        link.alias.escape_ascii().to_string(),
        "network.example.com/1 claim=uid-1 device=eth1 home=eth1"
    );
    let state = pod.state().unwrap().to_string();
    for line in [
        "address net1 10.9.0.2/24 scope 0 flags 0x80 broadcast 10.9.0.255",
        "address net1 fd09::2/64 scope 0 flags 0x82",
        "route 10.200.0.0/16 table 254 over net1 via 10.9.0.1",
        "route 10.201.0.0/16 table 254 over net1",
        "route fd99::/48 table 254 over net1 via fd09::1",
    ] {
        assert!(state.contains(line), "{line} is not in\n{state}");
    }
    assert!(node.home.link_names().unwrap().is_empty());
}

#[test]
fn netns_without_a_wish_an_interface_keeps_its_name_and_mtu() {
    let node = Node::new(&[b"eth1"]);
    node.change(b"eth1", |change| change.mtu = Some(1450));
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", InterfaceConfig::default())]);
    node.attach(&[record], &pod).unwrap();
    let link = link_in(&pod, b"eth1").unwrap();
    assert!(link.flags.up());
    assert_eq!(link.mtu, 1450);
}

#[test]
fn netns_two_claims_with_three_devices_arrive_together_and_leave_one_by_one() {
    let node = Node::new(&[b"eth1", b"eth2", b"eth3"]);
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    // Names are exchanged: what is taken at home need not be taken in the pod.
    let first = node.prepared(
        "uid-1",
        &[
            (b"eth1", config("eth2", None, &["10.1.0.1/24"], &[])),
            (b"eth2", config("eth1", None, &["10.2.0.1/24"], &[])),
        ],
    );
    let second = node.prepared("uid-2", &[(b"eth3", full_config("net1"))]);
    let attached = node.attach(&[first.clone(), second.clone()], &pod).unwrap();
    let names: Vec<Vec<_>> = attached
        .iter()
        .map(|claim| {
            claim
                .interfaces
                .iter()
                .map(|i| i.name.to_string())
                .collect()
        })
        .collect();
    assert_eq!(names, [vec!["eth2", "eth1"], vec!["net1"]]);

    assert_eq!(node.detach(&first, Some(&pod)), []);
    assert!(link_in(&pod, b"net1").is_some());
    assert_eq!(node.detach(&second, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_name_that_the_pod_has_is_refused_before_anything_moves() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    pod.veth("net1", &node.far, "farpod").unwrap();
    let records = [
        node.prepared("uid-1", &[(b"eth1", config("net0", None, &[], &[]))]),
        node.prepared("uid-2", &[(b"eth2", config("net1", None, &[], &[]))]),
    ];
    let pod_before = pod.state().unwrap();
    let error = node.attach(&records, &pod).unwrap_err();
    assert_eq!(error.reason(), "InterfaceNameConflict");
    assert_eq!(
        error.message(),
        "interface name net1 of device eth2 is taken in the pod"
    );
    assert_eq!(error.quarantined, []);
    assert_eq!(pod.state().unwrap(), pod_before);
    node.assert_same(&before);
}

#[test]
fn netns_a_pod_in_the_home_namespace_is_refused() {
    let node = Node::new(&[b"eth1"]);
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let before = node.settled();
    let error = node.attach(&[record], &node.home).unwrap_err();
    assert_eq!(error.reason(), "HostNetworkNotSupported");
    node.assert_same(&before);
}

/// Fails for one interface, or finds fault with it.
struct Saboteur {
    /// How many calls go well before.
    good: AtomicUsize,
    verify: bool,
}

impl Configurator for Saboteur {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let left = self.good.load(Ordering::Relaxed);
        if self.verify || left > 0 {
            self.good.store(left.saturating_sub(1), Ordering::Relaxed);
            return Ok(());
        }
        let no_such_parent = NewLink::new(
            interface.name.clone(),
            LinkKind::Vlan {
                parent: 4_000_000,
                id: 1,
            },
        );
        socket
            .create_link(&no_such_parent)
            .map_err(ConfigureError::new("sabotage"))
    }

    fn verify(&self, _: &Interface<'_>, _: &Seen) -> Option<String> {
        self.verify.then(|| "is sabotaged".to_owned())
    }
}

#[test]
fn netns_whichever_step_fails_home_is_as_before() {
    let mut node = Node::new(&[b"eth1", b"eth2"]);
    node.change(b"eth2", |change| change.alias = Some(b"second".to_vec()));
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_address(b"eth1", &address("fd01::1/64"));
    node.add_route(b"eth1", &route("10.77.0.0/16", "10.1.0.9", 100));
    let before = node.settled();
    let records = [
        node.prepared("uid-1", &[(b"eth1", full_config("net1"))]),
        node.prepared(
            "uid-2",
            &[(b"eth2", config("net2", None, &["10.8.0.1/24"], &[]))],
        ),
    ];
    let steps = configure::all().len();
    for position in 0..=steps {
        for (good, verify) in [(0, false), (1, false), (0, true)] {
            let mut configurators = configure::all();
            let good = AtomicUsize::new(good);
            configurators.insert(position, Box::new(Saboteur { good, verify }));
            node.links.configurators = configurators;
            let pod = Namespace::new().unwrap();
            let pod_before = pod.state().unwrap();
            let error = node.attach(&records, &pod).unwrap_err();
            assert_eq!(error.reason(), "InterfaceAttachFailed");
            assert_eq!(error.quarantined, [], "step {position}");
            assert!(error.message().contains("sabotage"), "{}", error.message());
            assert_eq!(pod.state().unwrap(), pod_before);
            node.assert_same(&before);
        }
    }
    node.links.configurators = configure::all();
    let pod = Namespace::new().unwrap();
    node.attach(&records, &pod).unwrap();
}

#[test]
fn netns_what_the_kernel_refuses_is_told_and_undone() {
    let node = Node::new(&[b"eth1"]);
    let before = node.settled();
    let refused = [
        (
            config(
                "net1",
                None,
                &["10.9.0.2/24"],
                &["10.7.0.0/16 via 10.8.0.1"],
            ),
            "add the route to 10.7.0.0/16 via 10.8.0.1: ",
        ),
        (
            config("net1", None, &["224.0.0.1/24", "ff02::1/64"], &[]),
            "add address ff02::1/64: ",
        ),
    ];
    for (config, why) in refused {
        let record = node.prepared("uid-1", &[(b"eth1", config)]);
        let pod = Namespace::new().unwrap();
        let error = node.attach(&[record], &pod).unwrap_err();
        let message = error.message();
        let start = format!("configure interface net1 of device eth1: {why}");
        assert!(message.starts_with(&start), "{message}");
        node.assert_same(&before);
    }
}

#[test]
fn netns_a_route_that_the_pod_has_already_is_refused() {
    let node = Node::new(&[b"eth1"]);
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    pod.veth("eth0", &node.far, "farpod").unwrap();
    pod.set_up("eth0", true).unwrap();
    pod.add_address("eth0", "10.244.0.2/24".parse().unwrap())
        .unwrap();
    let index = pod.link("eth0").unwrap().index;
    let default = route("0.0.0.0/0", "10.244.0.1", 254);
    pod.socket().unwrap().add_route(index, &default).unwrap();
    let wish = config("net1", None, &["10.9.0.2/24"], &["0.0.0.0/0 via 10.9.0.1"]);
    let record = node.prepared("uid-1", &[(b"eth1", wish)]);
    let error = node.attach(&[record], &pod).unwrap_err();
    assert_eq!(
        error.message(),
        "interface net1 of device eth1 cannot have the route to 0.0.0.0/0 via 10.9.0.1: the pod has another one to there"
    );
    node.assert_same(&before);
}

#[test]
fn netns_with_the_deadline_passed_nothing_is_touched() {
    let node = Node::new(&[b"eth1"]);
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod = Namespace::new().unwrap();
    let now = Instant::now();
    let attached = node
        .links
        .attach(&[record], pod.netns(), &Protected::default(), now);
    assert_eq!(attached.unwrap_err().reason(), "AttachDeadlineExceeded");
    node.assert_same(&before);
}

/// Takes all the time there is.
struct Dawdler(Instant);

impl Configurator for Dawdler {
    fn apply(&self, _: &mut Socket, _: &Interface<'_>) -> Result<(), ConfigureError> {
        while Instant::now() < self.0 {
            std::thread::park_timeout(self.0.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn verify(&self, _: &Interface<'_>, _: &Seen) -> Option<String> {
        None
    }
}

#[test]
fn netns_when_time_runs_out_on_the_way_everything_is_undone() {
    let mut node = Node::new(&[b"eth1"]);
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod = Namespace::new().unwrap();
    let deadline = in_time(1);
    node.links
        .configurators
        .insert(3, Box::new(Dawdler(deadline)));
    let attached = node
        .links
        .attach(&[record], pod.netns(), &Protected::default(), deadline);
    let error = attached.unwrap_err();
    assert_eq!(error.reason(), "AttachDeadlineExceeded");
    assert_eq!(error.message(), "no time left to configure interface net1");
    assert_eq!(error.quarantined, []);
    node.assert_same(&before);
}

#[test]
fn netns_what_is_asked_of_either_namespace_ends_with_the_time_too() {
    let mut node = Node::new(&[b"eth1"]);
    let before = node.settled();
    let (pod, protected) = (Namespace::new().unwrap(), Protected::default());
    let (driver, now) = (DRIVER.parse().unwrap(), Instant::now());
    let prepared = Departure::prepare(&driver, node.home.netns(), pod.netns(), &protected, now);
    let failure = prepared.err().unwrap();
    assert_eq!(failure.to_string(), "read the node's network");
    assert_eq!(failure.reason(), "AttachDeadlineExceeded");

    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let deadline = in_time(1);
    node.links.configurators.push(Box::new(Dawdler(deadline)));
    let attached = node
        .links
        .attach(&[record], pod.netns(), &protected, deadline);
    let error = attached.unwrap_err();
    assert_eq!(error.to_string(), "read the pod's network");
    assert_eq!(error.reason(), "AttachDeadlineExceeded");
    node.assert_same(&before);
}

#[test]
fn netns_an_attach_after_a_crash_begins_by_bringing_home() {
    let mut node = Node::new(&[b"eth1", b"eth2"]);
    let before = node.settled();
    let record = node.prepared(
        "uid-1",
        &[
            (b"eth1", full_config("net1")),
            (b"eth2", config("net2", None, &[], &[])),
        ],
    );
    let pod = Namespace::new().unwrap();
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    node.restart();
    // As a crash after the first of two moves leaves it: one link away and without its mark.
    let index = pod.link("net2").unwrap().index;
    let mut socket = pod.socket().unwrap();
    let name = "eth2".parse().unwrap();
    socket.move_link(index, node.home.netns(), &name).unwrap();
    node.change(b"eth2", |change| change.alias = Some(Vec::new()));
    let net1 = pod.link("net1").unwrap().index;
    let no_alias = network_driver_netlink::LinkChange {
        alias: Some(Vec::new()),
        ..Default::default()
    };
    socket.change_link(net1, &no_alias).unwrap();

    let attached = node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(attached[0].interfaces.len(), 2);
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_marked_links_are_found_after_a_restart() {
    let mut node = Node::new(&[b"a_b.c", b"\xff\xfe0123456789abc"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared(
        "uid-1",
        &[
            (b"a_b.c", config("net1", None, &[], &[])),
            (b"\xff\xfe0123456789abc", config("net2", None, &[], &[])),
        ],
    );
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    node.restart();
    let mut found = node.links.find_attached(pod.netns()).unwrap();
    found.sort_by_key(|link| link.name.clone());
    let names: Vec<_> = found
        .iter()
        .map(|link| (link.name.to_string(), link.home_name.as_bytes()))
        .collect();
    assert_eq!(
        names,
        [
            ("net1".to_owned(), &b"a_b.c"[..]),
            ("net2".to_owned(), &b"\xff\xfe0123456789abc"[..]),
        ]
    );
    for (link, attachment) in found.iter().zip(&record.attachments) {
        assert_eq!(link.claim, record.claim.uid);
        assert_eq!(link.device, attachment.device.name);
    }
    assert_eq!(node.links.find_attached(node.far.netns()).unwrap(), []);
}

#[test]
fn netns_a_name_taken_in_the_last_moment_is_told_and_undone() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    node.add_address(b"eth2", &address("10.1.0.1/24"));
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let records = [node.prepared(
        "uid-1",
        &[
            (b"eth1", full_config("net1")),
            (b"eth2", config("net2", None, &[], &[])),
        ],
    )];
    let driver = DRIVER.parse().unwrap();
    let protected = Protected::default();
    let (home, pod_netns) = (node.home.netns(), pod.netns());
    let mut departure =
        Departure::prepare(&driver, home, pod_netns, &protected, in_time(30)).unwrap();
    let trips = departure.plan(&records).unwrap();
    let refreshed = departure.refreshed(&records[0], &trips);
    node.links.state.write(&refreshed).unwrap();
    let taker = NewLink::new("net2".parse().unwrap(), LinkKind::Bridge);
    pod.socket().unwrap().create_link(&taker).unwrap();

    let failure = departure
        .run(&trips, pod_netns, &configure::all())
        .unwrap_err();
    let start = "move device eth2 (interface eth2) into the pod as net2";
    assert!(failure.to_string().starts_with(start), "{failure}");
    // The kernel has moved it all the same, and nothing says yet whose it is.
    assert!(link_in(&pod, b"eth2").is_some());
    assert_eq!(node.links.undo(&records, pod_netns), []);
    assert_eq!(pod.link_names().unwrap(), ["net2".parse().unwrap()]);
    node.assert_same(&before);
}

#[test]
fn netns_a_link_whose_index_is_taken_in_the_pod_is_told_from_its_holder() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let last = node.link(b"eth2").index;
    for number in 0..last {
        let name = format!("pod{number}");
        pod.veth(&name, &node.far, &format!("far-{name}")).unwrap();
    }
    let index = node.link(b"eth1").index;
    assert!(pod.socket().unwrap().link(index).unwrap().is_some());
    let pod_before = pod.state().unwrap();
    let record = node.prepared(
        "uid-1",
        &[
            (b"eth1", full_config("net1")),
            (b"eth2", config("net2", None, &["10.8.0.1/24"], &[])),
        ],
    );
    let attached = node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let names: Vec<_> = attached[0]
        .interfaces
        .iter()
        .map(|interface| (interface.name.to_string(), interface.home_name.to_string()))
        .collect();
    let pair = |name: &str, home: &str| (name.to_owned(), home.to_owned());
    assert_eq!(names, [pair("net1", "eth1"), pair("net2", "eth2")]);
    assert_ne!(pod.link("net1").unwrap().index, index);
    assert_eq!(node.detach(&record, Some(&pod)), []);
    assert_eq!(pod.state().unwrap(), pod_before);
    node.assert_same(&before);
}

#[test]
fn netns_an_index_that_is_another_links_is_found_out_before_that_is_touched() {
    let node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    pod.veth("net1", &node.far, "far1").unwrap();
    pod.veth("eth0", &node.far, "far2").unwrap();
    let record = node.record("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod_before = pod.state().unwrap();
    let driver = DRIVER.parse().unwrap();
    let name = "net1".parse().unwrap();
    let home_name = "eth1".parse().unwrap();
    let interface = Interface {
        driver: &driver,
        claim: &record.claim.uid,
        attachment: &record.attachments[0],
        home_name: &home_name,
        name: &name,
        link: pod.link("eth0").unwrap(),
    };
    let mark = configure::all().remove(0);
    let marked = mark.apply(&mut pod.socket().unwrap(), &interface);
    assert!(marked.is_err());
    assert_eq!(pod.state().unwrap(), pod_before);
}
