//! Tunnels and sealed links. None of IP in IP: with its first, a kernel puts one into each namespace, also other tests'.

use network_driver_netlink::Errno;
use network_driver_netlink::testing::{Namespace, TestingError};

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_with_vxlans() {
    if !skipped_without_tunnel("vxlan") {
        try_all(VXLAN);
    }
}

#[test]
fn netns_uplinks_with_macsecs() {
    if !skipped_without_tunnel("macsec") {
        try_all(MACSEC);
    }
}

/// `IFLA_VXLAN_ID`, `IFLA_VXLAN_GROUP`, `IFLA_VXLAN_LINK`.
const ID: u16 = 1;
const REMOTE: u16 = 2;
const LOWER: u16 = 3;

const VXLAN: &[Topology] = &[
    ("beside the uplink", |node| {
        node.nics(2);
        node.default("nic0");
        let id = 7_u32.to_ne_bytes();
        node.make_with("vx0", "vxlan", None, &[(ID, &id), (REMOTE, &[10, 9, 9, 9])]);
        node.is("nic0 default, nic1 free, vx0 free");
    }),
    ("all but the tunnel goes through it", |node| {
        node.nics(3);
        node.known_by(&["10.9.9.9", "10.8.8.8"]);
        node.address("nic0", "10.0.0.5/24");
        node.route("10.9.9.9/32 via 10.0.0.1 dev nic0");
        let (id, lower) = (7_u32.to_ne_bytes(), node.index("nic0").to_ne_bytes());
        let options: [(u16, &[u8]); 3] = [(ID, &id), (REMOTE, &[10, 9, 9, 9]), (LOWER, &lower)];
        node.make_with("vx0", "vxlan", None, &options);
        node.route("0.0.0.0/0 dev vx0");
        node.is("nic0 way, nic1 free, nic2 free, vx0 default");
    }),
    (
        "a card beside the uplink carries the tunnel of pods",
        |node| {
            node.nics(3);
            node.default("nic0");
            let (id, lower) = (7_u32.to_ne_bytes(), node.index("nic1").to_ne_bytes());
            node.make_with("vx0", "vxlan", None, &[(ID, &id), (LOWER, &lower)]);
            node.is("nic0 default, nic1 carries vx0, nic2 free, vx0 free");
            node.delete("vx0");
            node.is("nic0 default, nic1 free, nic2 free");
        },
    ),
    ("a tunnel goes with its card", |node| {
        node.nics(2);
        let (id, lower) = (7_u32.to_ne_bytes(), node.index("nic0").to_ne_bytes());
        node.make_with("vx0", "vxlan", None, &[(ID, &id), (LOWER, &lower)]);
        node.is("nic0 carries vx0, nic1 free, vx0 free");
        node.leaves("nic0");
        node.is("nic1 free");
    }),
];

const MACSEC: &[Topology] = &[
    ("the default route over a sealed link", |node| {
        node.nics(2);
        node.make_with("sec0", "macsec", Some("nic0"), &[]);
        node.default("sec0");
        node.is("nic0 below sec0, nic1 free, sec0 default");
    }),
    ("sealed links on the uplink and beside it", |node| {
        node.nics(3);
        node.default("nic0");
        node.make_with("sec0", "macsec", Some("nic0"), &[]);
        node.make_with("sec1", "macsec", Some("nic1"), &[]);
        node.is("nic0 default, nic1 carries sec1, nic2 free, sec0 above nic0, sec1 free");
    }),
    ("a sealed link goes with its card", |node| {
        node.nics(2);
        node.make_with("sec0", "macsec", Some("nic0"), &[]);
        node.is("nic0 carries sec0, nic1 free, sec0 free");
        node.leaves("nic0");
        node.is("nic1 free");
    }),
];

/// Whether this kernel has no tunnels of that kind; says so.
fn skipped_without_tunnel(kind: &str) -> bool {
    let probe = Namespace::new().unwrap().add_link("probe", kind, None, &[]);
    let lacks = match probe {
        Err(TestingError::Request(error)) => error.errno() == Some(Errno::EOPNOTSUPP),
        _ => false,
    };
    if lacks {
        eprintln!("SKIPPED: this kernel has no {kind}");
    }
    lacks
}
