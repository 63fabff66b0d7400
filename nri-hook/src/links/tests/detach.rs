//! The way home: exactly as before, or told.

use network_driver_common::model::{
    InterfaceConfig, RouteOptions, SandboxId, SnapshotAddress, SnapshotNeighbor, SnapshotRoute,
};
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkChange, LinkKind, NewLink};

use super::super::Plight;
use super::node::{Node, address, config, full_config, link_in, neighbor, route};

/// A link with everything that can be put back.
fn adorn(node: &Node, name: &[u8]) {
    let index = node.link(name).index;
    let mut socket = node.home.socket().unwrap();
    for altname in [
        &b"enp65s16f0np0"[..],
        b"a-much-longer-name-than-15-bytes",
        b"\xfe\xff",
    ] {
        socket.add_altname(index, altname).unwrap();
    }
    let addresses = [
        address("10.1.0.1/24"),
        address("10.1.0.9/24"),
        SnapshotAddress {
            label: b"eth1:0".to_vec(),
            broadcast: Some("10.3.0.255".parse().unwrap()),
            ..address("10.3.0.1/24")
        },
        SnapshotAddress {
            scope: 253,
            ..address("169.254.7.1/16")
        },
        SnapshotAddress {
            peer: Some("10.4.0.2".parse().unwrap()),
            ..address("10.4.0.1/32")
        },
        SnapshotAddress {
            preferred_lifetime: 4000,
            valid_lifetime: 5000,
            ..address("10.5.0.1/24")
        },
        SnapshotAddress {
            flags: 0x200, // IFA_F_NOPREFIXROUTE
            protocol: 17,
            ..address("10.6.0.1/24")
        },
        SnapshotAddress {
            metric: 77,
            ..address("10.7.0.1/24")
        },
        address("fd01::1/64"),
        SnapshotAddress {
            flags: 0x12, // IFA_F_NODAD | IFA_F_HOMEADDRESS
            metric: 55,
            ..address("fd04::1/64")
        },
        SnapshotAddress {
            flags: 0x100, // IFA_F_MANAGETEMPADDR
            protocol: 18,
            ..address("fd05::1/64")
        },
        SnapshotAddress {
            flags: 0x200,
            ..address("fd01::2/64")
        },
        SnapshotAddress {
            preferred_lifetime: 4000,
            valid_lifetime: 5000,
            flags: 0,
            ..address("fd03::1/64")
        },
        address("fe80::7/64"),
    ];
    for address in addresses {
        node.add_address(name, &address);
    }
    adorn_with_ways(node, name);
    node.change(name, |change| {
        change.mtu = Some(1450);
        change.alias = Some(b"rack 4, port \xfe".to_vec());
    });
}

/// As attributes within `RTA_METRICS`: a locked MTU of 1300 and a window of 1000.
const ROUTE_METRICS: &[u8] =
    b"\x08\0\x01\0\x04\0\0\0\x08\0\x02\0\x14\x05\0\0\x08\0\x03\0\xe8\x03\0\0";

/// Routes and neighbours of all sorts.
fn adorn_with_ways(node: &Node, name: &[u8]) {
    let routes = [
        route("10.77.0.0/16", "10.1.0.250", 254),
        route("10.78.0.0/16", "", 254),
        SnapshotRoute {
            metric: 50,
            preferred_source: Some("10.3.0.1".parse().unwrap()),
            ..route("10.77.0.0/16", "10.3.0.250", 1000)
        },
        SnapshotRoute {
            onlink: true,
            ..route("10.79.0.0/16", "172.31.0.1", 254)
        },
        SnapshotRoute {
            options: RouteOptions {
                tos: 0x10,
                realms: 5,
                metrics: ROUTE_METRICS.to_vec(),
                ..RouteOptions::default()
            },
            ..route("10.80.0.0/16", "10.1.0.250", 254)
        },
        SnapshotRoute {
            options: RouteOptions {
                preference: 3, // low
                metrics: ROUTE_METRICS.to_vec(),
                ..RouteOptions::default()
            },
            ..route("fd79::/48", "fd01::250", 254)
        },
        route("fd77::/48", "fd01::250", 254),
        SnapshotRoute {
            preferred_source: Some("fd01::1".parse().unwrap()),
            ..route("fd78::/48", "", 1000)
        },
    ];
    for route in routes {
        node.add_route(name, &route);
    }
    let neighbors = [
        neighbor("10.1.0.250"),
        SnapshotNeighbor {
            flags: 0x80, // NTF_ROUTER
            protocol: 17,
            ..neighbor("fd01::250")
        },
        SnapshotNeighbor {
            flags: 0x10, // NTF_EXT_LEARNED
            ..neighbor("10.66.0.1")
        },
    ];
    for neighbor in neighbors {
        node.add_neighbor(name, &neighbor);
    }
}

#[test]
fn netns_a_link_comes_home_exactly_as_it_was() {
    let node = Node::with_duplicate_detection(&[b"eth1", b"eth2"]);
    adorn(&node, b"eth1");
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    for _ in 0..2 {
        let pod = Namespace::new().unwrap();
        node.attach(std::slice::from_ref(&record), &pod).unwrap();
        assert_eq!(node.detach(&record, Some(&pod)), []);
        node.assert_same(&before);
    }
}

#[test]
fn netns_what_home_looked_like_is_taken_when_the_link_leaves_not_when_it_was_prepared() {
    let node = Node::new(&[b"eth1"]);
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.change(b"eth1", |change| change.mtu = Some(1450));
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_link_that_was_down_comes_home_down() {
    let node = Node::new(&[b"eth1"]);
    node.change(b"eth1", |change| change.up = Some(false));
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_address(b"eth1", &address("fd01::1/64"));
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert!(link_in(&pod, b"net1").unwrap().flags.up());
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_permanent_neighbours_come_home_also_with_a_link_that_is_down() {
    let node = Node::new(&[b"eth1"]);
    node.change(b"eth1", |change| change.up = Some(false));
    node.add_neighbor(b"eth1", &neighbor("10.1.0.9"));
    node.add_neighbor(b"eth1", &neighbor("fd01::9"));
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let index = pod.link("net1").unwrap().index;
    let mut socket = pod.socket().unwrap();
    assert_eq!(
        socket
            .neighbors(Some(index))
            .unwrap()
            .iter()
            .filter(|n| n.permanent())
            .count(),
        0
    );
    socket.add_neighbor(index, &neighbor("10.9.0.9")).unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_settings_of_a_link_come_home_before_it_is_up() {
    let node = Node::new(&[b"eth1"]);
    node.change(b"eth1", |change| change.up = Some(false));
    node.set(b"eth1", "ipv4", "rp_filter", "2");
    node.set(b"eth1", "ipv4", "arp_ignore", "1");
    node.set(b"eth1", "ipv4", "forwarding", "1");
    node.set(b"eth1", "ipv6", "accept_ra", "0");
    node.set(b"eth1", "ipv6", "router_solicitation_interval", "7");
    node.set(b"eth1", "ipv6", "ioam6_id_wide", "4294967294");
    // With it, the kernel makes no link-local address when the link goes up.
    node.set(b"eth1", "ipv6", "addr_gen_mode", "1");
    node.change(b"eth1", |change| change.up = Some(true));
    node.add_address(b"eth1", &address("fd01::1/64"));
    let before = node.state();
    let text = before.0.to_string();
    assert!(text.contains("setting eth1 ipv6/accept_ra 0\n"), "{text}");
    assert!(!text.contains("address eth1 fe80"), "{text}");
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let away = pod.state().unwrap().to_string();
    assert!(away.contains("setting net1 ipv6/accept_ra 1\n"), "{away}");
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
    assert!(!node.state().0.to_string().contains("address eth1 fe80"));
}

#[test]
fn netns_a_link_without_ipv6_comes_home_without_it() {
    let node = Node::new(&[b"eth1"]);
    node.set(b"eth1", "ipv6", "disable_ipv6", "1");
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    let before = node.state();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
    assert!(!node.state().0.to_string().contains("address eth1 fe80"));
}

#[test]
fn netns_rules_that_name_a_link_work_again_when_it_is_home() {
    // They go by the name, and the kernel keeps them without the link: nothing has to be put back.
    let node = Node::new(&[b"eth1"]);
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_route(b"eth1", &route("10.77.0.0/16", "10.1.0.9", 100));
    let way = || node.home.gateway_over("eth1", "10.77.0.1".parse().unwrap());
    assert_eq!(way().unwrap(), None, "without a rule");
    node.home.add_rule("eth1", 100).unwrap();
    let gateway = "10.1.0.9".parse().ok();
    assert_eq!(way().unwrap(), gateway);
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
    assert_eq!(way().unwrap(), gateway);
    // Also when the kernel brought it home under another name.
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let index = pod.link("net1").unwrap().index;
    let fallen = "net1".parse().unwrap();
    let mut socket = pod.socket().unwrap();
    socket.move_link(index, node.home.netns(), &fallen).unwrap();
    assert_eq!(node.detach(&record, None), []);
    node.assert_same(&before);
    assert_eq!(way().unwrap(), gateway);
}

#[test]
fn netns_odd_names_come_home() {
    let names: [&[u8]; 4] = [b"a_b.c", b"0123456789abcde", b"\xff\xfe", "ü@!".as_bytes()];
    let node = Node::new(&names);
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let devices = names.map(|name| (name, InterfaceConfig::default()));
    let record = node.prepared("uid-1", &devices);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_what_the_pod_did_to_the_link_does_not_come_home() {
    let node = Node::new(&[b"eth1"]);
    adorn(&node, b"eth1");
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let index = pod.link("net1").unwrap().index;
    let mut socket = pod.socket().unwrap();
    let down = LinkChange {
        up: Some(false),
        ..LinkChange::default()
    };
    socket.change_link(index, &down).unwrap();
    let change = LinkChange {
        name: Some("mine".parse().unwrap()),
        mtu: Some(900),
        hardware_address: Some("02:00:00:00:00:99".parse().unwrap()),
        ..LinkChange::default()
    };
    socket.change_link(index, &change).unwrap();
    socket.delete_altname(index, b"enp65s16f0np0").unwrap();
    socket.add_altname(index, b"eth1").unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_second_detach_changes_nothing() {
    let node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    // Whoever changes the link at home from now on means it.
    node.change(b"eth1", |change| change.mtu = Some(1300));
    node.add_address(b"eth1", &address("10.6.0.1/24"));
    let before = node.settled();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    assert_eq!(node.detach(&record, None), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_claim_that_was_never_attached_is_home() {
    let node = Node::new(&[b"eth1"]);
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod = Namespace::new().unwrap();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    assert_eq!(node.detach(&record, None), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_link_that_died_with_its_pod_is_lost_and_told_once() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared(
        "uid-1",
        &[
            (b"eth1", full_config("net1")),
            (b"eth2", config("net2", None, &[], &[])),
        ],
    );
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let index = pod.link("net1").unwrap().index;
    pod.socket().unwrap().delete_link(index).unwrap();
    let quarantined = node.detach(&record, Some(&pod));
    let [lost] = &quarantined[..] else {
        panic!("{quarantined:?}")
    };
    assert_eq!(
        lost.reason,
        "device eth1 is lost: its link is neither in the pod nor on the node"
    );
    assert_eq!(lost.plight, Plight::Lost);
    assert!(link_in(&node.home, b"eth2").is_some());
    assert_eq!(node.detach(&record, None), []);
}

#[test]
fn netns_with_its_name_taken_a_link_comes_home_under_a_free_one() {
    let node = Node::new(&[b"eth1"]);
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let taker = NewLink::new("eth1".parse().unwrap(), LinkKind::Bridge);
    node.home.socket().unwrap().create_link(&taker).unwrap();

    let quarantined = node.detach(&record, Some(&pod));
    let names = node.home.link_names().unwrap();
    let [taker, ours] = &names[..] else {
        panic!("{names:?}")
    };
    assert_eq!(taker.to_string(), "eth1");
    assert!(ours.to_string().starts_with("nd-"), "{ours}");
    let [told] = &quarantined[..] else {
        panic!("{quarantined:?}")
    };
    assert_eq!(
        told.reason,
        format!(
            "device eth1 is home, but not as it was: eth1 is taken at home: it is called {ours} instead of eth1; when its \
             link is right, take the mark away (ip link set eth1 alias \"\")"
        )
    );
    assert_eq!(told.plight, Plight::Bent);
    let link = node.link(ours.as_bytes());
    assert!(link.flags.up());
    assert_eq!(link.mtu, 1500);
    assert!(
        node.home
            .state()
            .unwrap()
            .to_string()
            .contains("10.1.0.1/24")
    );
    // Should nobody have heard of it, or this process have died, the mark says so again, until it is right.
    let mut node = node;
    node.restart_without_state();
    assert_eq!(node.detach(&record, None), quarantined);
    let taker = node.link(b"eth1").index;
    node.home.socket().unwrap().delete_link(taker).unwrap();
    assert_eq!(node.detach(&record, None), []);
    assert_eq!(node.link(b"eth1").alias, b"");
}

#[test]
fn netns_an_alternative_name_that_is_taken_at_home_does_not_keep_a_link_away() {
    let node = Node::new(&[b"eth1"]);
    let index = node.link(b"eth1").index;
    node.home
        .socket()
        .unwrap()
        .add_altname(index, b"enp1s0")
        .unwrap();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let taker = NewLink::new("enp1s0".parse().unwrap(), LinkKind::Bridge);
    node.home.socket().unwrap().create_link(&taker).unwrap();

    let quarantined = node.detach(&record, Some(&pod));
    let [told] = &quarantined[..] else {
        panic!("{quarantined:?}")
    };
    let start = "device eth1 is home, but not as it was: it has other alternative names than before; put an alternative name back: ";
    assert!(told.reason.starts_with(start), "{}", told.reason);
    assert!(!node.link(b"eth1").alias.is_empty(), "it stays marked");
}

#[test]
fn netns_a_link_that_fell_home_by_itself_is_put_in_order() {
    let node = Node::new(&[b"eth1"]);
    adorn(&node, b"eth1");
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    // As the kernel does with hardware: down, bare, under the name it had in the pod.
    let index = pod.link("net1").unwrap().index;
    let name = "net1".parse().unwrap();
    let mut socket = pod.socket().unwrap();
    socket.move_link(index, node.home.netns(), &name).unwrap();
    assert_eq!(node.detach(&record, None), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_detach_after_a_restart_needs_only_the_mark_and_the_record() {
    let mut node = Node::new(&[b"eth1"]);
    adorn(&node, b"eth1");
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    node.restart_without_state();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_without_a_snapshot_a_link_comes_home_and_is_told() {
    let mut node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    let mut record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    node.restart_without_state();
    record.attachments[0].snapshot = None;
    let quarantined = node.detach(&record, Some(&pod));
    let [told] = &quarantined[..] else {
        panic!("{quarantined:?}")
    };
    assert_eq!(
        told.reason,
        "device eth1 is home as eth1, but nothing says what it looked like before"
    );
    assert!(link_in(&node.home, b"eth1").is_some());
}

#[test]
fn netns_a_detach_of_another_claim_leaves_the_link_in_its_pod() {
    let node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let mut other = record.clone();
    other.claim.uid = "uid-2".parse().unwrap();
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(node.detach(&other, Some(&pod)), []);
    assert!(link_in(&pod, b"net1").is_some());
    assert_eq!(node.detach(&record, Some(&pod)), []);
}

#[test]
fn netns_the_sandbox_that_was_whole_is_remembered_until_the_links_are_home() {
    let node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let claim = &record.claim.uid;
    let sandbox: SandboxId = "s1".parse().unwrap();
    let remembered = || {
        let kept = node.links.all_kept().into_iter();
        kept.map(|kept| kept.sandbox).collect::<Vec<_>>()
    };
    node.links.remember_whole(claim, &sandbox);
    assert_eq!(remembered(), [], "it is at home");
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(remembered(), [None]);
    node.links.remember_whole(claim, &sandbox);
    assert_eq!(remembered(), [Some(sandbox)]);
    assert_eq!(node.detach(&record, Some(&pod)), []);
    assert_eq!(remembered(), []);
}
