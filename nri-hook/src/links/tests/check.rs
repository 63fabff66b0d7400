//! What is refused when a claim is prepared, and what is noted of a link that is not.

use network_driver_common::model::{
    InterfaceConfig, LinkParameter, Protected, SettableFlags, SnapshotRoute,
};
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{Link, LinkKind, NewLink};
use network_driver_proto::bus::RefusalClass;

use super::node::{DRIVER, Node, address, config, full_config, neighbor, route};
use crate::links::check::{check_config, check_record};
use crate::links::home::Home;

/// Class, reason and message of a refusal.
fn refused(
    node: &Node,
    devices: &[(&[u8], InterfaceConfig)],
    protected: &Protected,
) -> (RefusalClass, &'static str, String) {
    let record = node.record("uid-1", devices);
    let refusal = node.links.check(&record, protected).unwrap_err();
    (refusal.class, refusal.reason, refusal.message)
}

#[test]
fn netns_a_snapshot_holds_what_someone_set_and_nothing_else() {
    let node = Node::new(&[b"eth1"]);
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_address(b"eth1", &address("fd01::1/64"));
    node.add_route(b"eth1", &route("10.77.0.0/16", "10.1.0.9", 100));
    node.change(b"eth1", |change| change.alias = Some(b"mine".to_vec()));
    let before = node.settled();
    let record = node.record("uid-1", &[(b"eth1", full_config("net1"))]);
    let snapshots = node.links.check(&record, &Protected::default()).unwrap();
    let [snapshot] = &snapshots[..] else {
        panic!("{snapshots:?}")
    };
    assert_eq!(snapshot.name.to_string(), "eth1");
    assert!(snapshot.up);
    assert_eq!(snapshot.alias, b"mine");
    let addresses: Vec<_> = snapshot
        .addresses
        .iter()
        .map(|a| a.address.to_string())
        .collect();
    assert_eq!(addresses, ["10.1.0.1/24", "fd01::1/64"]);
    assert!(snapshot.addresses.iter().all(|a| a.label.is_empty()));
    assert_eq!(snapshot.routes, [route("10.77.0.0/16", "10.1.0.9", 100)]);
    assert_eq!(snapshot.flags, Some(SettableFlags::from_bits(0x1000)));
    assert_eq!(snapshot.parameters.get(&LinkParameter::Group), Some(&0));
    assert_eq!(
        snapshot.features.get(&"rx-gro".parse().unwrap()),
        Some(&false)
    );
    node.assert_same(&before);
}

#[test]
fn netns_a_device_that_is_not_there_is_refused() {
    let node = Node::new(&[b"eth1"]);
    let record = node.record("uid-1", &[(b"eth1", full_config("net1"))]);
    let index = node.link(b"eth1").index;
    node.home.socket().unwrap().delete_link(index).unwrap();
    let refusal = node
        .links
        .check(&record, &Protected::default())
        .unwrap_err();
    assert_eq!(refusal.reason, "DeviceNotFound");
    assert_eq!(refusal.class, RefusalClass::Retry);
    let start = "device eth1 is not on the node: no link is eth1 (veth ";
    assert!(refusal.message.starts_with(start), "{}", refusal.message);
}

#[test]
fn netns_what_carries_the_nodes_traffic_is_refused_at_check_and_at_attach() {
    let node = Node::new(&[b"eth1", b"eth2", b"eth3"]);
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_address(b"eth2", &address("10.2.0.1/24"));
    node.add_address(b"eth3", &address("10.3.0.1/24"));
    let prepared = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.add_route(b"eth1", &route("0.0.0.0/0", "10.1.0.9", 100));
    let protected = Protected {
        destinations: ["10.2.0.77".parse().unwrap()].into(),
        interfaces: ["eth3".parse().unwrap()].into(),
    };
    for (name, why) in [
        (
            &b"eth1"[..],
            "(interface eth1) must stay on the node: it carries the default route",
        ),
        (
            b"eth2",
            "(interface eth2) must stay on the node: it is the way to 10.2.0.77",
        ),
        (
            b"eth3",
            "(interface eth3) must stay on the node: it is protected by configuration",
        ),
    ] {
        let (class, reason, message) = refused(&node, &[(name, full_config("net1"))], &protected);
        assert_eq!((class, reason), (RefusalClass::User, "DeviceProtected"));
        assert!(message.ends_with(why), "{message}");
    }
    let before = node.settled();
    let pod = Namespace::new().unwrap();
    let error = node.attach(&[prepared], &pod).unwrap_err();
    assert_eq!(error.reason(), "DeviceProtected");
    assert!(pod.link_names().unwrap().is_empty());
    node.assert_same(&before);
}

#[test]
fn netns_a_port_of_a_bridge_is_refused() {
    let node = Node::new(&[b"eth1"]);
    let bridge = NewLink::new("br0".parse().unwrap(), LinkKind::Bridge);
    node.home.socket().unwrap().create_link(&bridge).unwrap();
    let master = node.link(b"br0").index;
    node.change(b"eth1", |change| change.master = Some(master));
    let devices = [(&b"eth1"[..], full_config("net1"))];
    let (class, reason, message) = refused(&node, &devices, &Protected::default());
    assert_eq!((class, reason), (RefusalClass::User, "DeviceInUse"));
    assert_eq!(
        message,
        "device eth1 (interface eth1) is a port of br0; take it out first"
    );
}

#[test]
fn netns_a_wish_that_cannot_come_true_is_refused() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    let index = node.link(b"eth2").index;
    node.home
        .socket()
        .unwrap()
        .add_altname(index, b"second")
        .unwrap();
    let one = |config| vec![(&b"eth1"[..], config)];
    let two = |first, second| vec![(&b"eth1"[..], first), (&b"eth2"[..], second)];
    let named = |name| config(name, None, &[], &[]);
    let v6_on = |mtu| config("", Some(mtu), &["fd01::1/64"], &[]);
    let cases = [
        (
            one(v6_on(1000)),
            "InvalidConfiguration",
            "device eth1 (interface eth1): address fd01::1/64 needs an MTU of at least 1280, not 1000",
        ),
        (
            one(named("net%d")),
            "InvalidConfiguration",
            "device eth1 (interface eth1): interface name net%d contains '%', a pattern to the kernel",
        ),
        (
            one(config("", None, &[], &["10.0.0.0/8 via fd01::1"])),
            "InvalidConfiguration",
            "device eth1 (interface eth1): the route to 10.0.0.0/8 has a gateway of the other address family",
        ),
        (
            two(named("net1"), named("net1")),
            "InterfaceNameConflict",
            "interface name net1 of device eth2 is taken by device eth1",
        ),
        (
            two(named("second"), named("net1")),
            "InterfaceNameConflict",
            "interface name second of device eth2 is taken by device eth1",
        ),
    ];
    for (devices, reason, message) in cases {
        let found = refused(&node, &devices, &Protected::default());
        assert_eq!(found, (RefusalClass::User, reason, message.to_owned()));
    }
}

#[test]
fn netns_an_mtu_that_the_link_cannot_have_is_refused() {
    let node = Node::new(&[b"eth1"]);
    let link = Link {
        min_mtu: Some(576),
        max_mtu: Some(9000),
        ..node.link(b"eth1")
    };
    let unlimited = Link {
        min_mtu: None,
        max_mtu: Some(0),
        ..link.clone()
    };
    let check = |mtu: u64, link: &Link| {
        let wish = config("", Some(mtu), &[], &[]);
        let record = node.record("uid-1", &[(b"eth1", wish)]);
        let checked = check_config(&record.attachments[0], link, "it");
        checked.map_err(|refusal| refusal.message)
    };
    for mtu in [576, 9000] {
        assert_eq!(check(mtu, &link), Ok(()));
    }
    for mtu in [575, 9001] {
        let why = format!("it: MTU {mtu} is not within 576 to 9000");
        assert_eq!(check(mtu, &link), Err(why));
        assert_eq!(check(mtu, &unlimited), Ok(()));
    }
}

#[test]
fn netns_a_claim_that_is_away_keeps_its_snapshot() {
    let node = Node::new(&[b"eth1"]);
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let again = node.links.check(&record, &Protected::default()).unwrap();
    assert_eq!(Some(&again[0]), record.attachments[0].snapshot.as_ref());

    let mut other = record.clone();
    other.claim.uid = "uid-2".parse().unwrap();
    let refusal = node.links.check(&other, &Protected::default()).unwrap_err();
    assert_eq!(refusal.reason, "DeviceNotFound");
}

#[test]
fn netns_a_link_that_was_not_put_back_is_not_lent_again() {
    let node = Node::new(&[b"eth1"]);
    node.change(b"eth1", |change| {
        let mark = b"network.example.com/1 claim=uid-0 device=eth1 home=eth1";
        change.alias = Some(mark.to_vec());
    });
    let devices = [(&b"eth1"[..], full_config("net1"))];
    let (class, reason, message) = refused(&node, &devices, &Protected::default());
    assert_eq!((class, reason), (RefusalClass::Retry, "DeviceInUse"));
    assert_eq!(
        message,
        "device eth1 (interface eth1) was not put back after claim uid-0"
    );
}

#[test]
fn netns_a_link_whose_address_is_the_source_of_a_route_over_another_is_refused() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_address(b"eth2", &address("10.2.0.1/24"));
    let way = SnapshotRoute {
        preferred_source: "10.1.0.1".parse().ok(),
        ..route("10.77.0.0/16", "10.2.0.9", 254)
    };
    node.add_route(b"eth2", &way);
    let devices = [(&b"eth1"[..], full_config("net1"))];
    let (class, reason, message) = refused(&node, &devices, &Protected::default());
    assert_eq!((class, reason), (RefusalClass::User, "DeviceInUse"));
    let why = "has the source address of the route to 10.77.0.0/16 via 10.2.0.9 of table 254 over another link, which could not be put back; remove that route first";
    assert!(message.ends_with(why), "{message}");
    // The link of the route may go, and with the address elsewhere too the first may.
    let record = node.record("uid-1", &[(b"eth2", full_config("net1"))]);
    node.links.check(&record, &Protected::default()).unwrap();
    node.add_address(b"eth2", &address("10.1.0.1/32"));
    let record = node.record("uid-1", &devices);
    node.links.check(&record, &Protected::default()).unwrap();
}

#[test]
fn netns_a_link_of_a_route_with_what_cannot_be_kept_is_refused_unless_the_kernel_made_it() {
    let node = Node::new(&[b"eth1"]);
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_route(b"eth1", &route("10.77.0.0/16", "10.1.0.9", 254));
    let record = node.record("uid-1", &[(b"eth1", full_config("net1"))]);
    let driver = DRIVER.parse().unwrap();
    let mut socket = node.home.socket().unwrap();
    let mut check = |protocol| {
        let mut home = Home::read(&mut socket, &Protected::default()).unwrap();
        // Read as if it had one: not every kernel can be asked for an encapsulation.
        for entry in &mut home.belongings.routes {
            if entry.route.protocol == protocol {
                entry.unkept = Some("an encapsulation");
            }
        }
        let checked = check_record(&home, &driver, &record);
        checked
            .map(|_| ())
            .map_err(|refusal| (refusal.reason, refusal.message))
    };
    assert_eq!(check(2), Ok(()), "RTPROT_KERNEL");
    let (reason, message) = check(4).unwrap_err();
    assert_eq!(reason, "DeviceInUse");
    assert_eq!(
        message,
        "device eth1 (interface eth1) has the route to 10.77.0.0/16 via 10.1.0.9 of table 254 with an encapsulation, which could not be put back; remove that route first"
    );
}

#[test]
fn netns_a_link_with_more_than_can_be_kept_is_refused() {
    let node = Node::new(&[b"eth1"]);
    let index = node.link(b"eth1").index;
    let mut socket = node.home.socket().unwrap();
    let record = node.record("uid-1", &[(b"eth1", full_config("net1"))]);
    let mut check = |last: u16| {
        let [high, low] = last.to_be_bytes();
        let one = neighbor(&format!("10.1.{high}.{low}"));
        socket.add_neighbor(index, &one).unwrap();
        node.links.check(&record, &Protected::default())
    };
    for last in 1..1000 {
        let one = neighbor(&format!("10.2.{}.{}", last / 256, last % 256));
        node.home
            .socket()
            .unwrap()
            .add_neighbor(index, &one)
            .unwrap();
    }
    check(1).unwrap();
    let refusal = check(2).unwrap_err();
    assert_eq!(refusal.reason, "DeviceInUse");
    assert_eq!(
        refusal.message,
        "device eth1 (interface eth1) has 1001 addresses, routes and permanent neighbours, of which at most 1000 can be put back; remove some first"
    );
}

#[test]
fn netns_a_link_of_a_route_with_several_next_hops_is_refused() {
    let node = Node::new(&[b"eth1", b"eth2"]);
    for (name, subnet) in [(&b"eth1"[..], "fd01"), (b"eth2", "fd02")] {
        node.add_address(name, &address(&format!("{subnet}::1/64")));
        node.add_route(name, &route("fd99::/48", &format!("{subnet}::9"), 254));
    }
    let devices = [(&b"eth2"[..], full_config("net1"))];
    let (class, reason, message) = refused(&node, &devices, &Protected::default());
    assert_eq!((class, reason), (RefusalClass::User, "DeviceInUse"));
    let why = "is one of several next hops of the route to fd99::/48, which could not be put back; remove that route first";
    assert!(message.ends_with(why), "{message}");
}
