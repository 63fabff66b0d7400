//! Nexthop objects, as routing daemons make them.

use crate::node::{Node, Topology, try_all};

#[test]
fn netns_uplinks_of_nexthop_objects() {
    try_all(TOPOLOGIES);
}

const TOPOLOGIES: &[Topology] = &[
    ("one object", |node| {
        objects(node);
        node.route("0.0.0.0/0 nhid 1");
        node.is("nic0 default, nic1 free, nic2 free");
    }),
    ("a group", |node| {
        objects(node);
        node.home.set_nexthop_group(10, &[1, 2]).unwrap();
        node.route("0.0.0.0/0 nhid 10");
        node.is("nic0 default, nic1 default, nic2 free");
    }),
    ("a group, IPv6", |node| {
        objects(node);
        node.home.set_nexthop_group(10, &[11, 12]).unwrap();
        node.route("::/0 nhid 10");
        node.is("nic0 free, nic1 default, nic2 default");
    }),
    ("the object gets another link", |node| {
        objects(node);
        node.route("0.0.0.0/0 nhid 1");
        node.is("nic0 default, nic1 free, nic2 free");
        let gateway = "10.1.0.1".parse().unwrap();
        node.home.set_nexthop(1, "nic1", gateway).unwrap();
        node.is("nic0 free, nic1 default, nic2 free");
    }),
    ("a group on the way to the API server", |node| {
        objects(node);
        node.known_by(&["10.9.9.9", "2001:db8:9::9"]);
        node.home.set_nexthop_group(10, &[1, 2]).unwrap();
        node.route("10.9.0.0/16 nhid 10");
        node.is("nic0 way, nic1 way, nic2 free");
        node.home.set_nexthop_group(20, &[11, 12]).unwrap();
        node.route("2001:db8:9::/48 nhid 20");
        node.is("nic0 way, nic1 way, nic2 way");
    }),
    ("a kernel told to name objects alone", |node| {
        objects(node);
        node.route("0.0.0.0/0 nhid 1");
        node.is("nic0 default, nic1 free, nic2 free");
        let file = "/proc/sys/net/ipv4/nexthop_compat_mode";
        let write = move || std::fs::write(file, "0");
        node.home.netns().run(write).unwrap().unwrap();
        node.is("nic0 suspect, nic1 suspect, nic2 suspect");
    }),
];

/// Three cards; objects 1 and 2 over the first two, 11 and 12 in IPv6 over the last two.
fn objects(node: &Node) {
    node.nics(3);
    node.address("nic0", "10.0.0.5/24");
    node.address("nic1", "10.1.0.5/24");
    for (id, link, gateway) in [
        (1, "nic0", "10.0.0.1"),
        (2, "nic1", "10.1.0.1"),
        (11, "nic1", "fe80::1"),
        (12, "nic2", "fe80::1"),
    ] {
        let gateway = gateway.parse().unwrap();
        node.home.set_nexthop(id, link, gateway).unwrap();
    }
}
