//! VLANs, and what is stacked with them.

use network_driver_netlink::testing::skipped_without;
use network_driver_netlink::{LinkKind, NewLink};

use crate::node::{NO_LINK, Topology, try_all};

#[test]
fn netns_uplinks_with_vlans() {
    if !skipped_without(&LinkKind::Vlan {
        parent: NO_LINK,
        id: 7,
    })
    .unwrap()
    {
        try_all(TOPOLOGIES);
    }
}

const TOPOLOGIES: &[Topology] = &[
    ("the default route over a VLAN", |node| {
        node.nics(2);
        node.vlan("vlan7", "nic0", 7);
        node.vlan("vlan8", "nic1", 7);
        node.default("vlan7");
        node.is("nic0 below vlan7, nic1 free, vlan7 default, vlan8 free");
    }),
    ("a VLAN on the uplink", |node| {
        node.nics(2);
        node.default("nic0");
        node.vlan("vlan7", "nic0", 7);
        node.is("nic0 default, nic1 free, vlan7 above nic0");
    }),
    ("two VLANs of one card", |node| {
        node.nics(2);
        node.vlan("vlan7", "nic0", 7);
        node.vlan("vlan8", "nic0", 8);
        node.default("vlan8");
        node.is("nic0 below vlan8, nic1 free, vlan7 beside vlan8, vlan8 default");
    }),
    ("a VLAN in a VLAN", |node| {
        /// `IFLA_VLAN_ID`, `IFLA_VLAN_PROTOCOL`, and 802.1ad.
        const ID: u16 = 1;
        const PROTOCOL: u16 = 5;
        const OUTER: &[u8] = &[0x88, 0xa8];
        node.nics(2);
        let id = 100_u16.to_ne_bytes();
        let options = [(ID, &id[..]), (PROTOCOL, OUTER)];
        node.make_with("outer", "vlan", Some("nic0"), &options);
        node.vlan("inner", "outer", 7);
        node.default("inner");
        node.is("nic0 below inner, nic1 free, outer below inner, inner default");
    }),
    ("a VLAN on a bridge", |node| {
        node.nics(3);
        node.bridge("br0", &["nic0", "nic1"]);
        node.vlan("vlan7", "br0", 7);
        node.default("vlan7");
        node.is("nic0 below vlan7, nic1 below vlan7, nic2 free, br0 below vlan7, vlan7 default");
    }),
    ("a bridge that knows VLANs", |node| {
        /// `IFLA_BR_VLAN_FILTERING`.
        const FILTERING: u16 = 7;
        node.nics(2);
        node.make_with("br0", "bridge", None, &[(FILTERING, &[1])]);
        node.join("nic0", "br0");
        node.default("br0");
        node.is("nic0 below br0, nic1 free, br0 default");
    }),
    ("a bridge on a VLAN", |node| {
        node.nics(2);
        node.vlan("vlan7", "nic0", 7);
        node.bridge("br0", &["vlan7"]);
        node.default("br0");
        node.is("nic0 below br0, nic1 free, vlan7 below br0, br0 default");
    }),
    ("a VLAN in a pod, its card at home", |node| {
        node.nics(2);
        node.default("nic0");
        let kind = LinkKind::Vlan {
            parent: node.index("nic1"),
            id: 7,
        };
        let mut link = NewLink::new("vlan7".parse().unwrap(), kind);
        link.netns = Some(node.far.netns().clone());
        node.home.socket().unwrap().create_link(&link).unwrap();
        node.is("nic0 default, nic1 free");
    }),
    ("the node's address on a VLAN that is down", |node| {
        node.nics(2);
        node.known_by(&["10.0.0.5"]);
        node.vlan("vlan7", "nic0", 7);
        node.address("vlan7", "10.0.0.5/24");
        node.down("vlan7");
        node.is("nic0 below vlan7, nic1 free, vlan7 address");
    }),
    ("macvlans on VLANs", |node| {
        node.nics(2);
        node.vlan("vlan7", "nic0", 7);
        node.macvlan("mac0", "vlan7");
        node.macvlan("mac1", "nic1");
        node.default("mac0");
        node.is("nic0 below mac0, nic1 free, vlan7 below mac0, mac0 default, mac1 free");
    }),
];
