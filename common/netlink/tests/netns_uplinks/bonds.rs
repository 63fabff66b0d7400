//! Bonds, and what is stacked on them.

use network_driver_netlink::LinkKind;
use network_driver_netlink::testing::skipped_without;

use crate::node::{NO_LINK, Topology, try_all};

#[test]
fn netns_uplinks_with_bonds() {
    if !skipped_without(&LinkKind::Bond).unwrap() {
        try_all(BONDS);
    }
}

#[test]
fn netns_uplinks_with_vlans_on_bonds() {
    let kinds = [
        LinkKind::Bond,
        LinkKind::Vlan {
            parent: NO_LINK,
            id: 7,
        },
    ];
    if !kinds.iter().any(|kind| skipped_without(kind).unwrap()) {
        try_all(VLANS);
    }
}

/// Modes of a bond: all ports in turn, and one at a time.
const ROUND_ROBIN: u8 = 0;
const ACTIVE_BACKUP: u8 = 1;

const BONDS: &[Topology] = &[
    ("two ports", |node| {
        node.nics(3);
        node.bond("bond7", ROUND_ROBIN, &["nic0", "nic1"]);
        node.default("bond7");
        node.is("nic0 below bond7, nic1 below bond7, nic2 free, bond7 default");
    }),
    ("one port at a time, and the other is down", |node| {
        node.nics(3);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0", "nic1"]);
        node.down("nic1");
        node.default("bond7");
        node.is("nic0 below bond7, nic1 below bond7, nic2 free, bond7 default");
    }),
    ("a bond beside the uplink", |node| {
        node.nics(3);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0", "nic1"]);
        node.default("nic2");
        node.is("nic0 free, nic1 free, nic2 default, bond7 free");
    }),
    ("a bond is a port of a bridge", |node| {
        node.nics(3);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0", "nic1"]);
        node.bridge("br0", &["bond7"]);
        node.default("br0");
        node.is("nic0 below br0, nic1 below br0, nic2 free, bond7 below br0, br0 default");
    }),
    ("a port leaves the bond", |node| {
        node.nics(2);
        node.known_by(&["10.0.0.5"]);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0", "nic1"]);
        node.address("bond7", "10.0.0.5/24");
        node.is("nic0 below bond7, nic1 below bond7, bond7 address");
        node.leave("nic0");
        node.is("nic0 free, nic1 below bond7, bond7 address");
    }),
    ("two bonds on the way to the API server", |node| {
        node.nics(3);
        node.known_by(&["10.9.9.9"]);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0"]);
        node.bond("bond8", ACTIVE_BACKUP, &["nic1"]);
        node.route("10.9.0.0/16 nexthop dev bond7 nexthop dev bond8");
        node.is("nic0 below bond7, nic1 below bond8, nic2 free, bond7 way, bond8 way");
    }),
];

const VLANS: &[Topology] = &[
    ("a VLAN on a bond", |node| {
        node.nics(3);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0", "nic1"]);
        node.vlan("vlan7", "bond7", 7);
        node.default("vlan7");
        node.is("nic0 below vlan7, nic1 below vlan7, nic2 free, bond7 below vlan7, vlan7 default");
    }),
    ("a macvlan on a VLAN on a bond", |node| {
        node.nics(3);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0", "nic1"]);
        node.vlan("vlan7", "bond7", 7);
        node.macvlan("mac0", "vlan7");
        node.default("mac0");
        node.is(
            "nic0 below mac0, nic1 below mac0, nic2 free, bond7 below mac0, vlan7 below mac0, \
             mac0 default",
        );
    }),
    ("bridges on two VLANs of a bond", |node| {
        node.nics(2);
        node.bond("bond7", ACTIVE_BACKUP, &["nic0"]);
        node.vlan("vlan7", "bond7", 7);
        node.vlan("vlan8", "bond7", 8);
        node.bridge("br7", &["vlan7"]);
        node.bridge("br8", &["vlan8"]);
        node.default("br7");
        node.is(
            "nic0 below br7, nic1 free, bond7 below br7, vlan7 below br7, vlan8 beside br7, \
             br7 default, br8 beside br7",
        );
    }),
    ("a bond of two VLANs", |node| {
        node.nics(3);
        node.vlan("vlan7", "nic0", 7);
        node.vlan("vlan8", "nic1", 8);
        node.bond("bond7", ACTIVE_BACKUP, &["vlan7", "vlan8"]);
        node.default("bond7");
        node.is(
            "nic0 below bond7, nic1 below bond7, nic2 free, vlan7 below bond7, vlan8 below bond7, \
             bond7 default",
        );
    }),
];
