//! Further addresses on a card: ipvlans.

use network_driver_netlink::LinkKind;
use network_driver_netlink::testing::skipped_without;

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_with_ipvlans() {
    if !skipped_without(&LinkKind::Ipvlan { parent: 1 }).unwrap() {
        try_all(TOPOLOGIES);
    }
}

const TOPOLOGIES: &[Topology] = &[
    ("on the uplink", |node| {
        node.nics(2);
        node.default("nic0");
        for (name, parent) in [("ipv0", "nic0"), ("ipv1", "nic1")] {
            let parent = node.index(parent);
            node.make(name, LinkKind::Ipvlan { parent });
        }
        node.is("nic0 default, nic1 free, ipv0 above nic0, ipv1 free");
    }),
    ("one carries the default route", |node| {
        node.nics(2);
        let parent = node.index("nic0");
        node.make("ipv0", LinkKind::Ipvlan { parent });
        node.make("ipv1", LinkKind::Ipvlan { parent });
        node.default("ipv1");
        node.is("nic0 below ipv1, nic1 free, ipv0 beside ipv1, ipv1 default");
    }),
];
