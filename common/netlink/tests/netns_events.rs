//! Events against the real kernel.
#![cfg(test)]

use std::time::Duration;

use network_driver_common::model::IfName;
use network_driver_netlink::testing::{Namespace, skipped_without};
use network_driver_netlink::{Event, Group, LinkChange, LinkKind, Monitor, NewLink};

const ALL: &[Group] = &[
    Group::Link,
    Group::Ipv4Address,
    Group::Ipv6Address,
    Group::Ipv4Route,
    Group::Ipv6Route,
    Group::Ipv4Rule,
    Group::Ipv6Rule,
];

/// Waits for the first event that `wanted` makes something of.
async fn first<T>(monitor: &mut Monitor, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let search = async {
        loop {
            let events = monitor.next().await.unwrap();
            if let Some(found) = events.iter().find_map(&wanted) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), search)
        .await
        .expect("the event never came")
}

fn gone(event: &Event) -> Option<(u32, IfName, bool)> {
    match event {
        Event::LinkGone { index, name, moved } => Some((*index, name.clone(), *moved)),
        _ => None,
    }
}

#[tokio::test]
async fn netns_links_are_heard_of_as_they_come_change_and_go() {
    let home = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    let mut monitor = Monitor::open_in(home.netns(), &[Group::Link]).unwrap();
    home.veth("nic0", &far, "far0").unwrap();
    let is_nic0 = |event: &Event| match event {
        Event::Link(link) if link.name.as_bytes() == b"nic0" => Some(link.clone()),
        _ => None,
    };
    let link = first(&mut monitor, is_nic0).await;
    assert_eq!(link.kind.as_deref(), Some("veth"));

    let mut socket = home.socket().unwrap();
    let change = LinkChange {
        mtu: Some(1300),
        ..LinkChange::default()
    };
    socket.change_link(link.index, &change).unwrap();
    let changed = |event: &Event| is_nic0(event).filter(|link| link.mtu == 1300);
    first(&mut monitor, changed).await;

    socket.delete_link(link.index).unwrap();
    let event = first(&mut monitor, gone).await;
    assert_eq!(event, (link.index, link.name, false));
}

#[tokio::test]
async fn netns_a_link_that_moved_away_is_told_from_one_that_is_gone() {
    let home = Namespace::new().unwrap();
    let pod = Namespace::new().unwrap();
    home.veth("nic0", &pod, "far0").unwrap();
    let mut monitor = Monitor::open_in(home.netns(), &[Group::Link]).unwrap();
    let link = home.link("nic0").unwrap();
    let mut socket = home.socket().unwrap();
    socket
        .move_link(link.index, pod.netns(), &"net1".parse().unwrap())
        .unwrap();
    let event = first(&mut monitor, gone).await;
    assert_eq!(event, (link.index, link.name, true));
}

#[tokio::test]
async fn netns_a_link_that_leaves_a_bridge_is_not_gone() {
    let home = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    home.veth("nic0", &far, "far0").unwrap();
    if skipped_without(&LinkKind::Bridge).unwrap() {
        return;
    }
    let mut socket = home.socket().unwrap();
    let bridge = NewLink::new("br0".parse().unwrap(), LinkKind::Bridge);
    socket.create_link(&bridge).unwrap();
    let master = home.link("br0").unwrap().index;
    let index = home.link("nic0").unwrap().index;
    let mut monitor = Monitor::open_in(home.netns(), &[Group::Link]).unwrap();
    for master in [master, 0] {
        let change = LinkChange {
            master: Some(master),
            ..LinkChange::default()
        };
        socket.change_link(index, &change).unwrap();
    }
    socket.delete_link(master).unwrap();
    let (index, name, _) = first(&mut monitor, gone).await;
    assert_eq!((index, name.as_bytes()), (master, &b"br0"[..]));
}

#[tokio::test]
async fn netns_addresses_and_routes_are_heard_of_as_they_come_and_go() {
    let home = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    home.veth("nic0", &far, "far0").unwrap();
    home.set_up("nic0", true).unwrap();
    let index = home.link("nic0").unwrap().index;
    let mut monitor = Monitor::open_in(home.netns(), ALL).unwrap();
    let mut socket = home.socket().unwrap();
    for (address, prefix) in [
        ("192.0.2.1/24", "192.0.2.0/24"),
        ("2001:db8::1/64", "2001:db8::/64"),
    ] {
        let address = address.parse().unwrap();
        let prefix = prefix.parse().unwrap();
        home.add_address("nic0", address).unwrap();
        let came = |event: &Event| {
            let Event::Address(found) = event else {
                return None;
            };
            (found.address.address == address).then_some(found.index)
        };
        assert_eq!(first(&mut monitor, came).await, index);
        let listed = socket.routes_over(index).unwrap();
        assert!(listed.iter().any(|one| one.route.destination == prefix));

        socket.delete_address(index, &address).unwrap();
        let went = |event: &Event| {
            let Event::AddressGone(found) = event else {
                return None;
            };
            (found.address.address == address).then_some(found.index)
        };
        assert_eq!(first(&mut monitor, went).await, index);
    }
}

#[tokio::test]
async fn netns_a_route_is_heard_of_as_it_comes_and_goes() {
    let home = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    home.veth("nic0", &far, "far0").unwrap();
    home.set_up("nic0", true).unwrap();
    let index = home.link("nic0").unwrap().index;
    for text in ["192.0.2.1/24", "2001:db8::1/64"] {
        let mut monitor = Monitor::open_in(home.netns(), ALL).unwrap();
        home.add_address("nic0", text.parse().unwrap()).unwrap();
        let prefix = text.parse::<ipnet::IpNet>().unwrap().trunc();
        let came = |event: &Event| match event {
            Event::Route(found) if found.route.destination == prefix => Some(found.clone()),
            _ => None,
        };
        let route = first(&mut monitor, came).await;
        assert_eq!(route.index, Some(index));
        let mut socket = home.socket().unwrap();
        socket.delete_route(index, &route.route).unwrap();
        let went = |event: &Event| match event {
            Event::RouteGone(found) if found.route.destination == prefix => found.index,
            _ => None,
        };
        assert_eq!(first(&mut monitor, went).await, index);
    }
}
