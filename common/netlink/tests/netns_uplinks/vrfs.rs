//! Routing domains.

use network_driver_netlink::LinkKind;
use network_driver_netlink::testing::skipped_without;

use crate::node::{Node, Topology, try_all};

const TABLE: u32 = 10;

#[test]
fn netns_uplinks_with_vrfs() {
    if !skipped_without(&LinkKind::Vrf { table: TABLE }).unwrap() {
        try_all(TOPOLOGIES);
    }
}

const TOPOLOGIES: &[Topology] = &[
    ("the node's traffic in a domain", |node| {
        node.nics(3);
        domain(node, &["nic0", "nic1"]);
        node.address("nic0", "10.0.0.5/24");
        node.route("0.0.0.0/0 via 10.0.0.1 dev nic0 table 10");
        node.is("nic0 default, nic1 beside nic0, nic2 free, vrf0 above nic0");
    }),
    ("the node's traffic beside a domain", |node| {
        node.nics(3);
        domain(node, &["nic1"]);
        node.default("nic0");
        node.address("nic1", "10.1.0.5/24");
        node.route("unreachable 0.0.0.0/0 metric 4278198272 table 10");
        node.is("nic0 default, nic1 free, nic2 free, vrf0 free");
    }),
    ("the node's address in a domain", |node| {
        node.nics(2);
        node.known_by(&["10.0.0.5"]);
        domain(node, &["nic0"]);
        node.address("nic0", "10.0.0.5/24");
        node.is("nic0 address, nic1 free, vrf0 above nic0");
    }),
];

fn domain(node: &Node, ports: &[&str]) {
    node.make("vrf0", LinkKind::Vrf { table: TABLE });
    for port in ports {
        node.join(port, "vrf0");
    }
}
