//! The count of the node's links.

use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkKind, NewLink};

use super::node::{Node, if_name, route};
use crate::links::survey::{Survey, count};

#[test]
fn netns_what_the_node_needs_is_told_from_what_is_left() {
    let node = Node::new(&[b"eth0", b"eth1", b"eth2"]);
    node.add_address(b"eth0", &super::node::address("192.0.2.2/24"));
    node.add_route(b"eth0", &route("0.0.0.0/0", "192.0.2.1", 254));
    let mut socket = node.home.socket().unwrap();
    let bridge = NewLink::new(if_name(b"br0"), LinkKind::Bridge);
    socket.create_link(&bridge).unwrap();
    assert_eq!(
        count(&mut socket).unwrap(),
        Survey {
            protected: vec!["eth0 carries the default route".into()],
            free: 3,
            free_hardware: 0,
        }
    );
}

#[test]
fn netns_a_node_without_links_has_none_to_give() {
    let namespace = Namespace::new().unwrap();
    let counted = count(&mut namespace.socket().unwrap()).unwrap();
    assert_eq!(counted, Survey::default());
}
