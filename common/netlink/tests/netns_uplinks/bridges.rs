//! Bridges, and pairs of links within the node.

use network_driver_netlink::LinkKind;
use network_driver_netlink::testing::skipped_without;

use crate::node::{Node, Topology, try_all};

#[test]
fn netns_uplinks_with_bridges() {
    if !skipped_without(&LinkKind::Bridge).unwrap() {
        try_all(TOPOLOGIES);
    }
}

const TOPOLOGIES: &[Topology] = &[
    ("the node's address on a bridge", |node| {
        node.nics(2);
        node.bridge("br0", &["nic0"]);
        node.default("br0");
        node.is("nic0 below br0, nic1 free, br0 default");
    }),
    ("two ports, one of them down", |node| {
        node.nics(3);
        node.bridge("br0", &["nic0", "nic1"]);
        node.down("nic1");
        node.default("br0");
        node.is("nic0 below br0, nic1 below br0, nic2 free, br0 default");
    }),
    ("pods on the bridge", |node| {
        node.nics(2);
        node.home.veth("pod0", &node.far, "eth0").unwrap();
        node.bridge("br0", &["nic0", "pod0"]);
        node.default("br0");
        node.is("nic0 below br0, nic1 free, pod0 below br0, br0 default");
    }),
    ("a bridge beside the uplink", |node| {
        node.nics(3);
        node.bridge("br0", &["nic1"]);
        node.address("br0", "10.7.0.1/24");
        node.default("nic0");
        node.is("nic0 default, nic1 free, nic2 free, br0 free");
    }),
    (
        "the default route over a port, as it should not be",
        |node| {
            node.nics(3);
            node.bridge("br0", &["nic0", "nic1"]);
            node.default("nic0");
            node.is("nic0 default, nic1 beside nic0, nic2 free, br0 above nic0");
        },
    ),
    ("two bridges with a cable between them", |node| {
        node.nics(3);
        pair(node, "left", "right");
        node.bridge("br0", &["nic0", "left"]);
        node.bridge("br1", &["nic1", "right"]);
        node.default("br1");
        node.is(
            "nic0 beside br1, nic1 below br1, nic2 free, right below br1, left below br1, \
             br0 beside br1, br1 default",
        );
    }),
    ("the way to the API server over a bridge", |node| {
        node.nics(2);
        node.known_by(&["10.9.9.9"]);
        node.bridge("br0", &["nic1"]);
        node.address("br0", "10.9.9.5/24");
        node.is("nic0 free, nic1 below br0, br0 way");
    }),
    ("a port leaves the bridge", |node| {
        node.nics(2);
        node.bridge("br0", &["nic0", "nic1"]);
        node.default("br0");
        node.is("nic0 below br0, nic1 below br0, br0 default");
        node.leave("nic1");
        node.is("nic0 below br0, nic1 free, br0 default");
    }),
    ("the operator's choice below a bridge", |node| {
        node.nics(2);
        node.bridge("br0", &["nic0"]);
        node.operator("nic0");
        node.is("nic0 operator, nic1 free, br0 above nic0");
    }),
    ("the uplink is a pair that ends in a bridge", |node| {
        node.nics(2);
        pair(node, "host", "port");
        node.bridge("br0", &["nic0", "port"]);
        node.default("host");
        node.is("nic0 beside host, nic1 free, port above host, host default, br0 above host");
    }),
    (
        "the other end is elsewhere and has the uplink's number",
        |node| {
            node.nics(1);
            node.default("nic0");
            let pod = network_driver_netlink::testing::Namespace::new().unwrap();
            let uplink = Some(node.index("nic0"));
            // Numbers are given out in order.
            for name in (0..100).map(|n| format!("pod{n}")) {
                node.home.veth(&name, &pod, &name).unwrap();
                if node.home.link(&name).unwrap().parent == uplink {
                    return node.is(&format!("nic0 default, {name} free"));
                }
                node.delete(&name);
            }
            panic!("no link elsewhere has the number of the uplink");
        },
    ),
];

/// A pair of links of which both are the node's.
fn pair(node: &Node, name: &str, peer: &str) {
    let kind = LinkKind::Veth {
        peer: peer.parse().unwrap(),
        peer_netns: None,
        peer_hardware_address: None,
    };
    node.make(name, kind);
    node.up(peer);
}
