//! What the node is known by, where the API server is, and what the operator names.

use crate::node::{Topology, try_all};

#[test]
fn netns_uplinks_of_addresses_and_ways() {
    try_all(TOPOLOGIES);
}

/// An address of the node, and the API server.
const KNOWN: &[&str] = &["10.0.0.5", "10.9.9.9"];

const TOPOLOGIES: &[Topology] = &[
    ("the node's address, and no route", |node| {
        node.nics(2);
        node.known_by(KNOWN);
        node.address("nic0", "10.0.0.5/32");
        node.is("nic0 address, nic1 free");
    }),
    ("the node's address among others", |node| {
        node.nics(3);
        node.known_by(&["10.0.0.6", "2001:db8::5"]);
        node.address("nic0", "10.0.0.5/24");
        node.address("nic0", "10.0.0.6/24");
        node.address("nic1", "2001:db8::4/64");
        node.address("nic1", "2001:db8::5/64");
        node.address("nic2", "10.0.0.7/24");
        node.is("nic0 address, nic1 address, nic2 free");
    }),
    ("one address on two cards", |node| {
        node.nics(3);
        node.known_by(KNOWN);
        node.address("nic0", "10.0.0.5/32");
        node.address("nic1", "10.0.0.5/24");
        node.is("nic0 address, nic1 address, nic2 free");
    }),
    ("the node's address on a link that is down", |node| {
        node.nics(2);
        node.known_by(KNOWN);
        node.address("nic0", "10.0.0.5/24");
        node.down("nic0");
        node.is("nic0 address, nic1 free");
    }),
    ("an anycast address on the loopback link", |node| {
        node.nics(3);
        node.known_by(KNOWN);
        node.address("lo", "10.0.0.5/32");
        node.route("10.9.0.0/16 via fe80::1 dev nic1");
        node.is("nic0 free, nic1 way, nic2 free");
    }),
    ("the API server on the cable", |node| {
        node.nics(2);
        node.known_by(KNOWN);
        node.address("nic0", "10.9.9.5/24");
        node.is("nic0 way, nic1 free");
    }),
    ("the API server by a closer route", |node| {
        node.nics(3);
        node.known_by(&["10.9.9.9", "2001:db8:9::9"]);
        node.default("nic0");
        node.address("nic1", "10.1.0.5/24");
        node.route("10.9.0.0/16 via 10.1.0.1 dev nic1");
        node.route("2001:db8:9::/48 via fe80::1 dev nic1");
        node.is("nic0 default, nic1 way, nic2 free");
    }),
    ("a VPN's two halves instead of a default route", |node| {
        node.nics(3);
        node.known_by(KNOWN);
        node.default("nic0");
        node.route("0.0.0.0/1 dev nic1");
        node.route("128.0.0.0/1 dev nic1");
        node.is("nic0 default, nic1 way, nic2 free");
    }),
    ("the API server over two cards at once", |node| {
        node.nics(3);
        node.known_by(KNOWN);
        node.route("10.9.0.0/16 nexthop dev nic0 nexthop dev nic1");
        node.is("nic0 way, nic1 way, nic2 free");
    }),
    ("the API server over two cards at once, IPv6", |node| {
        node.nics(3);
        node.known_by(&["2001:db8:9::9"]);
        node.route("2001:db8:9::/48 nexthop via fe80::1 dev nic0 nexthop via fe80::2 dev nic1");
        node.is("nic0 way, nic1 way, nic2 free");
    }),
    (
        "others over two cards at once, and one to the API server",
        |node| {
            node.nics(3);
            node.known_by(KNOWN);
            node.route("10.8.0.0/16 nexthop dev nic0 nexthop dev nic1");
            node.route("10.9.0.0/16 dev nic0");
            node.is("nic0 way, nic1 free, nic2 free");
        },
    ),
    ("a second choice of the way", |node| {
        node.nics(3);
        node.known_by(KNOWN);
        node.route("10.9.0.0/16 dev nic0 metric 10");
        node.route("10.9.0.0/16 dev nic1 metric 20");
        node.is("nic0 way, nic1 free, nic2 free");
    }),
    ("an API server that cannot be reached", |node| {
        node.nics(2);
        node.known_by(KNOWN);
        node.default("nic0");
        node.route("unreachable 10.9.0.0/16");
        node.is("nic0 default, nic1 free");
    }),
    (
        "the operator's choice, and a name that is not there",
        |node| {
            node.nics(2);
            node.operator("nic1");
            node.operator("nic7");
            node.is("nic0 free, nic1 operator");
        },
    ),
    ("the operator's choice by another of its names", |node| {
        node.nics(2);
        let mut socket = node.home.socket().unwrap();
        socket.add_altname(node.index("nic1"), b"enp7s0").unwrap();
        node.operator("enp7s0");
        node.is("nic0 free, nic1 operator");
    }),
];
