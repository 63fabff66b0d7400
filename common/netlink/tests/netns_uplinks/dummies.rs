//! Links that lead nowhere and hold addresses.

use network_driver_netlink::LinkKind;
use network_driver_netlink::testing::skipped_without;

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_with_dummies() {
    if !skipped_without(&LinkKind::Dummy).unwrap() {
        try_all(TOPOLOGIES);
    }
}

const TOPOLOGIES: &[Topology] = &[
    (
        "the node's address on one, its routes over two cards",
        |node| {
            node.nics(3);
            node.known_by(&["10.0.0.5", "10.9.9.9"]);
            node.make("dummy7", LinkKind::Dummy);
            node.address("dummy7", "10.0.0.5/32");
            node.route("0.0.0.0/0 nexthop dev nic0 nexthop dev nic1");
            node.is("nic0 default, nic1 default, nic2 free, dummy7 address");
        },
    ),
    (
        "the node's address on one, and the way over a card",
        |node| {
            node.nics(2);
            node.known_by(&["10.0.0.5", "10.9.9.9"]);
            node.make("dummy7", LinkKind::Dummy);
            node.address("dummy7", "10.0.0.5/32");
            node.route("10.9.0.0/16 dev nic0");
            node.is("nic0 way, nic1 free, dummy7 address");
        },
    ),
    ("a default route into one", |node| {
        node.nics(2);
        node.make("dummy7", LinkKind::Dummy);
        node.make("dummy8", LinkKind::Dummy);
        node.route("0.0.0.0/0 dev dummy7");
        node.is("nic0 free, nic1 free, dummy7 default, dummy8 free");
    }),
];
