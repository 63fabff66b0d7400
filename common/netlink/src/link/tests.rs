//! What is read from recorded and from damaged bytes.

use proptest::prelude::*;

use super::*;
use crate::message::Messages;
use crate::recorded;

fn links(recording: &str) -> Vec<Link> {
    let bytes = recorded::bytes(recording);
    let read = |message: crate::message::Message<'_>| LinkMessage::parse(message.body);
    let messages = recorded::messages(&bytes).into_iter().map(read);
    messages.map(|found| found.unwrap().unwrap().link).collect()
}

#[test]
fn recorded_links_are_read_with_all_that_is_said_of_them() {
    let links = links(recorded::LINKS);
    let names: Vec<_> = links.iter().map(|link| link.name.to_string()).collect();
    assert_eq!(names, ["lo", "br0", "far0", "nic0", "mv0"]);
    let [lo, br0, far0, nic0, mv0] = &links[..] else {
        unreachable!()
    };
    assert!(lo.flags.loopback() && lo.netns_immutable && lo.bus.is_none());
    assert_eq!((lo.mtu, lo.hardware_type, lo.parent), (65536, 772, None));
    assert_eq!(lo.operstate, OperState::Unknown);
    assert_eq!(br0.kind.as_deref(), Some("bridge"));
    assert_eq!(nic0.kind.as_deref(), Some("veth"));
    assert_eq!(nic0.slave_kind.as_deref(), Some("bridge"));
    assert_eq!((nic0.master, nic0.mtu), (Some(br0.index), 1400));
    assert_eq!((nic0.min_mtu, nic0.max_mtu), (Some(68), Some(65535)));
    assert_eq!(nic0.hardware_address.to_string(), "02:00:00:00:00:02");
    assert_eq!(nic0.alias, b"to the switch");
    assert_eq!(nic0.altnames, [&b"uplink-a"[..], b"enp65s0"]);
    assert_eq!((nic0.parent, nic0.parent_netnsid), (Some(far0.index), None));
    assert_eq!(nic0.operstate, OperState::Up);
    assert!(nic0.carrier && nic0.flags.up() && nic0.flags.running());
    assert_eq!(mv0.kind.as_deref(), Some("macvlan"));
    assert_eq!(mv0.parent, Some(far0.index));
}

#[test]
fn a_recorded_hardware_link_names_its_device() {
    let links = links(recorded::HARDWARE_LINK);
    let [eth0] = &links[..] else { unreachable!() };
    let bus = eth0.bus.as_ref().unwrap();
    assert_eq!((bus.bus.as_str(), bus.name.as_str()), ("virtio", "virtio2"));
    assert_eq!((eth0.kind.as_deref(), eth0.parent), (None, None));
    assert!(!eth0.netns_immutable);
}

#[test]
fn what_a_bridge_says_of_a_port_and_wireless_news_are_no_links() {
    let bytes = recorded::bytes(recorded::LINKS);
    let mut port = recorded::messages(&bytes)[3].body.to_vec();
    port[0] = 7; // AF_BRIDGE
    assert!(LinkMessage::parse(&port).unwrap().is_none());
    let mut wireless = port[..HEADER].to_vec();
    wireless[0] = 0;
    wireless.extend([8, 0, 11, 0, 1, 2, 3, 4]); // IFLA_WIRELESS
    assert!(LinkMessage::parse(&wireless).unwrap().is_none());
}

#[test]
fn only_a_link_that_goes_to_another_namespace_has_moved() {
    let bytes = recorded::bytes(recorded::LINKS);
    let body = recorded::messages(&bytes)[3].body;
    assert!(!LinkMessage::parse(body).unwrap().unwrap().moved);
    let moved = [body, &[8, 0, 45, 0, 0, 0, 0, 0]].concat();
    assert!(LinkMessage::parse(&moved).unwrap().unwrap().moved);
}

/// An attribute as the kernel lays it out.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().saturating_add(4);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_vxlan_names_the_link_of_its_namespace_that_it_sends_over() {
    let lower = |kind: &str, lower: &[u8], netnsid: &[u8]| {
        let data = attribute(ifla::VXLAN_LINK, lower);
        let kind = attribute(ifla::INFO_KIND, kind.as_bytes());
        let info = [kind, attribute(ifla::INFO_DATA, &data)].concat();
        let name = attribute(ifla::IFNAME, b"flannel.1");
        let info = attribute(ifla::LINKINFO, &info);
        let body = [&[0; HEADER][..], &name, &info, netnsid].concat();
        LinkMessage::parse(&body).map(|link| link.unwrap().link.vxlan_lower)
    };
    let seven = 7_u32.to_ne_bytes();
    assert_eq!(lower("vxlan", &seven, &[]).unwrap(), Some(7));
    assert_eq!(lower("vxlan", &[0; 4], &[]).unwrap(), None, "over none");
    assert_eq!(lower("bond", &seven, &[]).unwrap(), None, "something else");
    let elsewhere = attribute(ifla::LINK_NETNSID, &[0; 4]);
    assert_eq!(lower("vxlan", &seven, &elsewhere).unwrap(), None);
    assert!(lower("vxlan", &[7], &[]).is_err());
}

#[test]
fn impossible_facts_are_refused() {
    let name = [9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0];
    let cases = [
        ("short number", vec![6, 0, 4, 0, 1, 1, 0, 0]),
        ("long address", [&[44, 0, 1, 0][..], &[1; 40]].concat()),
        ("cut off", vec![80, 0, 1, 0]),
        ("name with a slash", vec![6, 0, 3, 0, b'/', 0, 0, 0]),
        ("empty name", vec![5, 0, 3, 0, 0, 0, 0, 0]),
    ];
    let fine = [&[0; HEADER][..], &name].concat();
    assert!(LinkMessage::parse(&fine).unwrap().is_some());
    for (what, attribute) in cases {
        let body = [&[0; HEADER][..], &name, &attribute].concat();
        assert!(LinkMessage::parse(&body).is_err(), "{what}");
    }
    assert!(LinkMessage::parse(&[0; HEADER - 1]).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_a_link_panic_or_keep_more_than_was_there(bytes in recorded::damaged()) {
        let bodies = Messages::new(&bytes).flatten().map(|message| message.body);
        for body in bodies.chain([&bytes[..]]) {
            let Ok(Some(found)) = LinkMessage::parse(body) else { continue };
            let link = found.link;
            let altnames: usize = link.altnames.iter().map(Vec::len).sum();
            prop_assert!(link.altnames.len() <= MAX_ALTNAMES);
            prop_assert!(altnames.max(link.alias.len()) < body.len());
            prop_assert!(link.kind.is_none_or(|kind| kind.len() / 3 < body.len()));
        }
    }
}
