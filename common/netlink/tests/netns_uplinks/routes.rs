//! Default routes in all their forms.

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_of_default_routes() {
    try_all(TOPOLOGIES);
}

const TOPOLOGIES: &[Topology] = &[
    ("a card with a gateway", |node| {
        node.nics(2);
        node.default("nic0");
        node.is("nic0 default, nic1 free");
    }),
    ("IPv6 only, by a gateway of the link", |node| {
        node.nics(2);
        node.route("::/0 via fe80::1 dev nic1");
        node.is("nic0 free, nic1 default");
    }),
    ("each family over its own card", |node| {
        node.nics(3);
        node.default("nic0");
        node.address("nic1", "2001:db8::5/64");
        node.route("::/0 via 2001:db8::1 dev nic1");
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("both families over one card", |node| {
        node.nics(2);
        node.default("nic0");
        node.route("::/0 via fe80::1 dev nic0");
        node.is("nic0 default, nic1 free");
    }),
    ("no gateway at all", |node| {
        node.nics(2);
        node.route("0.0.0.0/0 dev nic0");
        node.is("nic0 default, nic1 free");
    }),
    ("a gateway outside every network", |node| {
        node.nics(2);
        node.address("nic0", "192.0.2.5/32");
        node.route("0.0.0.0/0 via 203.0.113.1 dev nic0 onlink");
        node.is("nic0 default, nic1 free");
    }),
    ("an IPv4 route with an IPv6 gateway", |node| {
        node.nics(2);
        node.route("0.0.0.0/0 via fe80::1 dev nic0");
        node.is("nic0 default, nic1 free");
    }),
    ("a first and a second choice", |node| {
        node.nics(3);
        node.default("nic0");
        node.address("nic1", "10.1.0.5/24");
        node.route("0.0.0.0/0 via 10.1.0.1 dev nic1 metric 200");
        node.route("::/0 via fe80::1 dev nic1 metric 2048");
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("other tables, with nothing in the main one", |node| {
        node.nics(3);
        node.address("nic0", "10.0.0.5/24");
        node.route("0.0.0.0/0 via 10.0.0.1 dev nic0 table 1000");
        node.route("::/0 via fe80::1 dev nic1 table 4000000000");
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("two cards at once", |node| {
        node.nics(3);
        node.address("nic0", "10.0.0.5/24");
        node.address("nic1", "10.1.0.5/24");
        node.route("0.0.0.0/0 nexthop via 10.0.0.1 dev nic0 nexthop via 10.1.0.1 dev nic1");
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("two cards at once, IPv6", |node| {
        node.nics(3);
        node.route("::/0 nexthop via fe80::1 dev nic0 nexthop via fe80::2 dev nic2");
        node.is("nic0 default, nic1 free, nic2 default");
    }),
    ("two cards at once, one of them down", |node| {
        node.nics(3);
        node.route("0.0.0.0/0 nexthop dev nic0 nexthop dev nic1");
        node.route("::/0 nexthop via fe80::1 dev nic0 nexthop via fe80::2 dev nic1");
        node.down("nic1");
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("a cable pulled out", |node| {
        node.nics(2);
        node.default("nic0");
        node.far.set_up("nic0", false).unwrap();
        node.is("nic0 default, nic1 free");
    }),
    ("a last resort that leads nowhere", |node| {
        node.nics(2);
        node.default("nic0");
        node.route("unreachable 0.0.0.0/0 metric 4278198272");
        node.route("blackhole 0.0.0.0/0 table 1000");
        node.route("unreachable ::/0 metric 4278198272");
        node.is("nic0 default, nic1 free");
    }),
    (
        "all taken for local, as a transparent proxy has it",
        |node| {
            node.nics(2);
            node.default("nic0");
            node.route("local 0.0.0.0/0 dev lo table 100");
            node.route("local ::/0 dev lo table 100");
            node.is("nic0 default, nic1 free");
        },
    ),
    ("other routes, however wide", |node| {
        node.nics(3);
        node.default("nic0");
        node.route("8.0.0.0/5 dev nic1");
        node.route("2000::/3 via fe80::1 dev nic2");
        node.is("nic0 default, nic1 free, nic2 free");
    }),
];
