//! Rules that choose a table by whose traffic it is.

use network_driver_netlink::testing::Whose;

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_of_policies() {
    try_all(TOPOLOGIES);
}

const TOPOLOGIES: &[Topology] = &[
    ("a table for each source", |node| {
        node.nics(3);
        node.default("nic0");
        node.address("nic1", "10.1.0.5/24");
        node.route("0.0.0.0/0 via 10.1.0.1 dev nic1 table 100");
        node.rule(Whose::From("10.1.0.5/32".parse().unwrap()), 100);
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("a table for each source, IPv6", |node| {
        node.nics(3);
        node.route("::/0 via fe80::1 dev nic0");
        node.route("::/0 via fe80::1 dev nic2 table 100");
        node.rule(Whose::From("2001:db8::/64".parse().unwrap()), 100);
        node.is("nic0 default, nic1 free, nic2 default");
    }),
    ("a table for the API server", |node| {
        node.nics(3);
        node.known_by(&["10.9.9.9"]);
        node.default("nic0");
        node.route("10.9.0.0/16 dev nic1 table 100");
        node.rule(Whose::To("10.9.9.0/24".parse().unwrap()), 100);
        node.is("nic0 default, nic1 way, nic2 free");
    }),
    ("a table that nobody asks for the API server", |node| {
        node.nics(2);
        node.known_by(&["10.9.9.9"]);
        node.default("nic0");
        node.route("10.9.0.0/16 dev nic1 table 100");
        node.rule(Whose::To("10.8.0.0/16".parse().unwrap()), 100);
        node.is("nic0 default, nic1 free");
    }),
];
