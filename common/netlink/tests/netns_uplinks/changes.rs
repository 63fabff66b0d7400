//! What was an uplink and is none any more, and the reverse.

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_that_change() {
    try_all(TOPOLOGIES);
}

const TOPOLOGIES: &[Topology] = &[
    ("the default route fails over and back", |node| {
        node.nics(3);
        let first = "0.0.0.0/0 dev nic0";
        let second = "0.0.0.0/0 dev nic1";
        node.route(first);
        node.is("nic0 default, nic1 free, nic2 free");
        node.route(second); // beside it for a moment, of equal metric
        node.is("nic0 default, nic1 default, nic2 free");
        node.no_route(first);
        node.is("nic0 free, nic1 default, nic2 free");
        node.no_route(second);
        node.is("nic0 free, nic1 free, nic2 free");
        node.route(first);
        node.is("nic0 default, nic1 free, nic2 free");
    }),
    ("one of two cards leaves the default route", |node| {
        node.nics(2);
        let both = "0.0.0.0/0 nexthop dev nic0 nexthop dev nic1";
        node.route(both);
        node.is("nic0 default, nic1 default");
        node.no_route(both);
        node.route("0.0.0.0/0 dev nic1");
        node.is("nic0 free, nic1 default");
    }),
    ("the uplink is switched off, and its routes go", |node| {
        node.nics(2);
        node.route("0.0.0.0/0 dev nic0");
        node.route("::/0 via fe80::1 dev nic1");
        node.down("nic0");
        node.is("nic0 free, nic1 default");
        node.down("nic1");
        node.is("nic0 free, nic1 free");
    }),
    ("the uplink gets another name", |node| {
        node.nics(2);
        node.rename("nic0", "uplink");
        node.default("uplink");
        node.rename("nic1", "nic0");
        node.is("uplink default, nic0 free");
    }),
    (
        "the uplink goes, and another comes under its name",
        |node| {
            node.nics(2);
            node.default("nic0");
            node.is("nic0 default, nic1 free");
            node.delete("nic0");
            node.nics(1);
            node.is("nic1 free, nic0 free");
            node.default("nic1");
            node.is("nic1 default, nic0 free");
        },
    ),
    ("the uplink moves to another namespace", |node| {
        node.nics(2);
        node.default("nic0");
        node.is("nic0 default, nic1 free");
        node.leaves("nic0");
        node.is("nic1 free");
    }),
    ("the node's address moves", |node| {
        node.nics(2);
        node.known_by(&["10.0.0.5"]);
        node.address("nic0", "10.0.0.5/24");
        node.is("nic0 address, nic1 free");
        node.no_address("nic0", "10.0.0.5/24");
        node.address("nic1", "10.0.0.5/24");
        node.is("nic0 free, nic1 address");
    }),
    ("the way to the API server moves", |node| {
        node.nics(3);
        node.known_by(&["10.9.9.9"]);
        node.default("nic0");
        let closer = "10.9.9.9/32 dev nic1";
        node.route(closer);
        node.is("nic0 default, nic1 way, nic2 free");
        node.no_route(closer);
        node.is("nic0 default, nic1 free, nic2 free");
    }),
];
