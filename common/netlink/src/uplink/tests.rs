use network_driver_common::model::{HardwareAddress, RouteOptions, SnapshotAddress, SnapshotRoute};

use super::*;
use crate::{LinkFlags, OperState};

fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.parse().unwrap(),
        kind: None,
        slave_kind: None,
        flags: LinkFlags::from_bits(1),
        mtu: 1500,
        min_mtu: None,
        max_mtu: None,
        hardware_address: HardwareAddress::default(),
        permanent_address: None,
        alias: Vec::new(),
        altnames: Vec::new(),
        master: None,
        parent: None,
        parent_netnsid: None,
        vxlan_lower: None,
        operstate: OperState::Up,
        carrier: true,
        bus: None,
        netns_immutable: false,
        phys_port_name: None,
        phys_switch_id: None,
        hardware_type: 1,
    }
}

fn port(index: u32, name: &str, master: u32) -> Link {
    Link {
        master: Some(master),
        ..link(index, name)
    }
}

fn child(index: u32, name: &str, parent: u32) -> Link {
    Link {
        parent: Some(parent),
        ..link(index, name)
    }
}

fn route(destination: &str, index: Option<u32>, next_hops: &[u32], kind: u8) -> RouteEntry {
    RouteEntry {
        index,
        next_hops: next_hops.to_vec(),
        unkept: None,
        route: SnapshotRoute {
            destination: destination.parse().unwrap(),
            gateway: None,
            preferred_source: None,
            table: 1000,
            protocol: 4,
            scope: 0,
            kind,
            metric: 0,
            onlink: false,
            options: RouteOptions::default(),
        },
    }
}

fn address(index: u32, text: &str) -> Address {
    Address {
        index,
        address: SnapshotAddress {
            address: text.parse().unwrap(),
            peer: None,
            broadcast: None,
            scope: 0,
            flags: 0,
            label: Vec::new(),
            preferred_lifetime: u32::MAX,
            valid_lifetime: u32::MAX,
            protocol: 0,
            metric: 0,
        },
    }
}

fn shown(
    links: &[Link],
    routes: &[RouteEntry],
    addresses: &[Address],
    protected: &Protected,
    looked_up: &[(IpAddr, u32)],
) -> Vec<String> {
    let found = protected_links(links.iter(), routes, addresses.iter(), protected, looked_up);
    let name = |index: &u32| &links.iter().find(|l| l.index == *index).unwrap().name;
    found
        .iter()
        .map(|(index, reason)| format!("{} {reason}", name(index)))
        .collect()
}

#[test]
fn what_carries_a_default_route_is_protected_with_all_that_is_joined_to_it() {
    struct Case {
        name: &'static str,
        links: Vec<Link>,
        want: &'static [&'static str],
    }
    let cases = [
        Case {
            name: "alone",
            links: vec![link(1, "a"), link(2, "b")],
            want: &["a carries the default route"],
        },
        Case {
            name: "ports of a bond",
            links: vec![
                link(1, "bond0"),
                port(2, "b", 1),
                port(3, "c", 1),
                link(4, "d"),
            ],
            want: &[
                "bond0 carries the default route",
                "b is below bond0, which carries the default route",
                "c is below bond0, which carries the default route",
            ],
        },
        Case {
            name: "a VLAN on a bond, and its sibling",
            links: vec![
                child(1, "v1", 2),
                link(2, "bond0"),
                port(3, "c", 2),
                child(4, "v2", 2),
            ],
            want: &[
                "v1 carries the default route",
                "bond0 is below v1, which carries the default route",
                "c is below v1, which carries the default route",
                "v2 is joined to v1, which carries the default route",
            ],
        },
        Case {
            name: "what is made on it",
            links: vec![link(1, "a"), child(2, "macvlan0", 1), port(3, "b", 9)],
            want: &[
                "a carries the default route",
                "macvlan0 is above a, which carries the default route",
            ],
        },
        Case {
            name: "a pair whose other end is elsewhere has a parent that is no number of ours",
            links: vec![
                link(1, "a"),
                Link {
                    parent_netnsid: Some(0),
                    ..child(2, "veth0", 1)
                },
            ],
            want: &["a carries the default route"],
        },
        Case {
            name: "a circle ends",
            links: vec![child(1, "a", 2), child(2, "b", 1)],
            want: &[
                "a carries the default route",
                "b is below a, which carries the default route",
            ],
        },
    ];
    for case in cases {
        let routes = [route("0.0.0.0/0", Some(1), &[], 1)];
        let found = shown(&case.links, &routes, &[], &Protected::default(), &[]);
        assert_eq!(found, case.want, "{}", case.name);
    }
}

#[test]
fn every_next_hop_and_family_counts_and_other_routes_do_not() {
    let links = [link(1, "a"), link(2, "b"), link(3, "c"), link(4, "d")];
    let routes = [
        route("0.0.0.0/0", None, &[1, 2], 1),
        route("::/0", Some(3), &[], 1),
        route("10.0.0.0/8", Some(4), &[], 1),
        route("0.0.0.0/0", None, &[], 7),
    ];
    let found = protected_links(links.iter(), &routes, [].iter(), &Protected::default(), &[]);
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_default_route_without_a_link_protects_everything() {
    let links = [link(1, "a"), link(2, "b")];
    let routes = [route("0.0.0.0/0", None, &[], 1)];
    let found = shown(&links, &routes, &[], &Protected::default(), &[]);
    let why = "may carry the default route, whose link cannot be told";
    assert_eq!(found, [format!("a {why}"), format!("b {why}")]);
}

#[test]
fn addresses_routes_and_names_protect_too() {
    let links = [link(1, "a"), link(2, "b"), link(3, "c"), link(4, "d")];
    let addresses = [address(1, "10.0.0.5/24"), address(4, "10.0.0.6/24")];
    let destination: IpAddr = "10.9.9.9".parse().unwrap();
    let protected = Protected {
        destinations: ["10.0.0.5".parse().unwrap(), destination].into(),
        interfaces: ["c".parse().unwrap(), "absent".parse().unwrap()].into(),
    };
    let found = shown(&links, &[], &addresses, &protected, &[(destination, 2)]);
    assert_eq!(
        found,
        [
            "a holds the node's address 10.0.0.5",
            "b is the way to 10.9.9.9",
            "c is protected by configuration",
        ]
    );
}

#[test]
fn every_next_hop_of_the_way_counts_and_those_of_other_ways_do_not() {
    let links = [link(1, "a"), link(2, "b"), link(3, "c"), link(4, "d")];
    let destination: IpAddr = "10.9.9.9".parse().unwrap();
    let protected = Protected {
        destinations: [destination].into(),
        ..Protected::default()
    };
    let routes = [
        route("10.9.0.0/16", None, &[1, 2], 1),
        route("10.8.0.0/16", None, &[2, 3], 1),
        route("10.0.0.0/8", None, &[3, 4], 1), // wider, so not the one that was taken
        route("10.9.0.0/16", Some(4), &[], 1),
    ];
    let found = shown(&links, &routes, &[], &protected, &[(destination, 2)]);
    assert_eq!(
        found,
        ["a is the way to 10.9.9.9", "b is the way to 10.9.9.9"]
    );
    let kept = routes.map(|route| matters(&route, &protected));
    assert_eq!(kept, [true, false, true, false]);
    assert!(matters(&route("::/0", Some(1), &[], 1), &protected));
}

#[test]
fn the_operator_may_use_any_name_of_a_link() {
    let links = [
        link(1, "a"),
        Link {
            altnames: vec![b"enp7s0".to_vec(), b"other".to_vec()],
            ..link(2, "b")
        },
    ];
    let protected = Protected {
        interfaces: ["other".parse().unwrap()].into(),
        ..Protected::default()
    };
    let found = shown(&links, &[], &[], &protected, &[]);
    assert_eq!(found, ["b is protected by configuration"]);
}

#[test]
fn what_a_link_goes_with_is_protected_with_what_it_is_made_of() {
    let links = [
        link(1, "bond0"),
        port(2, "b", 1),
        Link {
            vxlan_lower: Some(1),
            ..link(3, "flannel.1")
        },
        link(4, "c"),
        Link {
            kind: Some("macsec".into()),
            ..child(5, "sec0", 4)
        },
        link(6, "d"),
        child(7, "d.5", 6),
    ];
    let found = shown(&links, &[], &[], &Protected::default(), &[]);
    assert_eq!(
        found,
        [
            "bond0 carries flannel.1, which the kernel would delete",
            "b is below bond0, which carries flannel.1, which the kernel would delete",
            "c carries sec0, which the kernel would delete",
        ]
    );
}

#[test]
fn what_carries_a_tunnel_is_protected_for_more_where_there_is_more() {
    let links = [
        Link {
            vxlan_lower: Some(3),
            ..link(1, "flannel.1")
        },
        link(2, "a"),
        link(3, "b"),
        Link {
            kind: Some("macsec".into()),
            ..child(4, "sec0", 2)
        },
        child(5, "a.200", 2),
        child(6, "b.200", 3),
    ];
    let protected = Protected {
        interfaces: ["b".parse().unwrap()].into(),
        ..Protected::default()
    };
    let routes = [route("0.0.0.0/0", Some(4), &[], 1)];
    let found = shown(&links, &routes, &[], &protected, &[]);
    assert_eq!(
        found,
        [
            "a is below sec0, which carries the default route",
            "b is protected by configuration",
            "sec0 carries the default route",
            "a.200 is joined to sec0, which carries the default route",
            "b.200 is above b, which is protected by configuration",
        ]
    );
}
