//! Further addresses on a card: macvlans.

use network_driver_netlink::testing::skipped_without;
use network_driver_netlink::{LinkKind, MacvlanMode, NewLink};

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_with_macvlans() {
    let (parent, mode) = (1, MacvlanMode::Bridge);
    if !skipped_without(&LinkKind::Macvlan { parent, mode }).unwrap() {
        try_all(TOPOLOGIES);
    }
}

const TOPOLOGIES: &[Topology] = &[
    ("on the uplink", |node| {
        node.nics(2);
        node.default("nic0");
        node.macvlan("mac0", "nic0");
        node.macvlan("mac1", "nic1");
        node.is("nic0 default, nic1 free, mac0 above nic0, mac1 free");
    }),
    ("one carries the default route", |node| {
        node.nics(2);
        node.macvlan("mac0", "nic0");
        node.macvlan("mac1", "nic0");
        node.default("mac1");
        node.is("nic0 below mac1, nic1 free, mac0 beside mac1, mac1 default");
    }),
    (
        "one on another, which the kernel puts on the card",
        |node| {
            node.nics(2);
            node.macvlan("mac0", "nic0");
            node.macvlan("mac1", "mac0");
            node.default("mac1");
            node.is("nic0 below mac1, nic1 free, mac0 beside mac1, mac1 default");
        },
    ),
    ("one owns its card", |node| {
        node.nics(2);
        let (parent, mode) = (node.index("nic0"), MacvlanMode::Passthru);
        node.make("mac0", LinkKind::Macvlan { parent, mode });
        node.default("mac0");
        node.is("nic0 below mac0, nic1 free, mac0 default");
    }),
    ("one is in a pod", |node| {
        node.nics(2);
        node.default("nic0");
        let (parent, mode) = (node.index("nic1"), MacvlanMode::Bridge);
        let kind = LinkKind::Macvlan { parent, mode };
        let mut link = NewLink::new("mac0".parse().unwrap(), kind);
        link.netns = Some(node.far.netns().clone());
        node.home.socket().unwrap().create_link(&link).unwrap();
        node.is("nic0 default, nic1 free");
    }),
    ("the card of the uplink is elsewhere", |node| {
        node.nics(1);
        let parent = node.far.link("nic0").unwrap().index;
        let mode = MacvlanMode::Bridge;
        let kind = LinkKind::Macvlan { parent, mode };
        let mut link = NewLink::new("mac0".parse().unwrap(), kind);
        link.netns = Some(node.home.netns().clone());
        node.far.socket().unwrap().create_link(&link).unwrap();
        node.up("mac0");
        node.default("mac0");
        assert_eq!(node.home.link("mac0").unwrap().parent, Some(parent));
        node.is("nic0 free, mac0 default");
    }),
    ("the node's address on one that is a port", |node| {
        node.nics(2);
        node.known_by(&["10.0.0.5"]);
        node.macvlan("mac0", "nic0");
        node.bridge("br0", &["mac0"]);
        node.address("br0", "10.0.0.5/24");
        node.is("nic0 below br0, nic1 free, mac0 below br0, br0 address");
    }),
];
