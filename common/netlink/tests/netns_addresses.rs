//! Addresses, routes and neighbours against the real kernel: what is read, taken away and put back is as it was.
#![cfg(test)]

use std::net::IpAddr;
use std::time::Duration;

use network_driver_common::model::{
    RouteOptions, SnapshotAddress, SnapshotNeighbor, SnapshotRoute,
};
use network_driver_netlink::testing::{Namespace, permanent_address};
use network_driver_netlink::{Address, Errno, Neighbor, RouteEntry};

/// `IFA_F_*`, linux/if_addr.h.
const NO_DUPLICATE_DETECTION: u32 = 0x02;
const PERMANENT: u32 = 0x80;
const NO_PREFIX_ROUTE: u32 = 0x200;

/// Metrics of a route as attributes within `RTA_METRICS`: a locked MTU of 1300, a window of 1000, quick acknowledgement,
/// and reno as its congestion control.
const ROUTE_METRICS: &[u8] =
    b"\x08\0\x01\0\x04\0\0\0\x08\0\x02\0\x14\x05\0\0\x08\0\x03\0\xe8\x03\0\0\x08\0\x0f\0\x01\0\0\0\x09\0\x10\0reno\0\0\0\0";

/// A namespace with a link that is up, and the far end of its cable.
fn cabled() -> (Namespace, Namespace, u32) {
    let home = Namespace::new().unwrap();
    let far = Namespace::new().unwrap();
    home.veth("nic0", &far, "far0").unwrap();
    far.set_up("far0", true).unwrap();
    home.set_up("nic0", true).unwrap();
    let index = home.link("nic0").unwrap().index;
    (home, far, index)
}

fn addresses() -> Vec<SnapshotAddress> {
    let plain = |text: &str| permanent_address(text.parse().unwrap());
    vec![
        SnapshotAddress {
            broadcast: "192.0.2.255".parse().ok(),
            label: b"nic0".to_vec(),
            ..plain("192.0.2.1/24")
        },
        SnapshotAddress {
            label: b"nic0:\xff".to_vec(),
            scope: 253,
            protocol: 17,
            ..plain("203.0.113.1/32")
        },
        SnapshotAddress {
            peer: "198.51.100.2".parse().ok(),
            flags: PERMANENT | NO_PREFIX_ROUTE,
            label: b"nic0".to_vec(),
            ..plain("198.51.100.1/32")
        },
        SnapshotAddress {
            peer: "2001:db8::6".parse().ok(),
            ..plain("2001:db8::5/128")
        },
        SnapshotAddress {
            flags: PERMANENT | NO_DUPLICATE_DETECTION | NO_PREFIX_ROUTE,
            protocol: 18,
            metric: 55,
            ..plain("2001:db8::1/64")
        },
    ]
}

/// What somebody gave to the link.
fn given(home: &Namespace, index: u32) -> Vec<SnapshotAddress> {
    let all = home.socket().unwrap().addresses(Some(index)).unwrap();
    let given = all.into_iter().filter(|one| !one.kernel_made());
    let mut given: Vec<_> = given.map(|one| one.address).collect();
    given.sort_by_key(|one| one.address);
    given
}

#[test]
fn netns_an_address_comes_back_exactly() {
    let (home, _far, index) = cabled();
    let mut socket = home.socket().unwrap();
    let mut wanted = addresses();
    for address in &wanted {
        socket.add_address(index, address).unwrap();
    }
    wanted.sort_by_key(|one| one.address);
    assert_eq!(given(&home, index), wanted);
    // Again: identical is fine.
    for address in &wanted {
        socket.add_address(index, address).unwrap();
    }
    assert_eq!(given(&home, index), wanted);
    let everywhere = socket.addresses(None).unwrap();
    assert!(everywhere.iter().any(|one| one.index != index));
}

#[test]
fn netns_lifetimes_are_kept_and_brought_up_to_date() {
    let (home, _far, index) = cabled();
    let mut socket = home.socket().unwrap();
    for text in ["192.0.2.1/24", "2001:db8::1/64"] {
        let mut address = permanent_address(text.parse().unwrap());
        for (preferred, valid) in [(300, 600), (3000, 6000)] {
            address.preferred_lifetime = preferred;
            address.valid_lifetime = valid;
            socket.add_address(index, &address).unwrap();
            let found = given(&home, index);
            let found = found.iter().find(|one| one.address == address.address);
            let found = found.unwrap();
            assert!((preferred / 2..=preferred).contains(&found.preferred_lifetime));
            assert!((valid / 2..=valid).contains(&found.valid_lifetime));
            assert_eq!(found.flags & PERMANENT, 0);
        }
    }
}

#[test]
fn netns_deleting_an_address_that_is_not_there_is_fine() {
    let (home, _far, index) = cabled();
    let mut socket = home.socket().unwrap();
    for text in ["192.0.2.1/24", "2001:db8::1/64"] {
        let net = text.parse().unwrap();
        home.add_address("nic0", net).unwrap();
        assert_eq!(given(&home, index).len(), 1);
        socket.delete_address(index, &net).unwrap();
        assert_eq!(given(&home, index), []);
        socket.delete_address(index, &net).unwrap();
    }
    let error = socket.addresses(Some(4711)).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENODEV));
}

#[test]
fn netns_the_kernels_own_addresses_are_told_apart() {
    let (home, _far, index) = cabled();
    let mut socket = home.socket().unwrap();
    let own: Vec<Address> = socket.addresses(Some(index)).unwrap();
    assert!(own.iter().all(Address::kernel_made), "{own:?}");
    let lo = home.link("lo").unwrap().index;
    let own: Vec<Address> = socket.addresses(Some(lo)).unwrap();
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(Address::kernel_made), "{own:?}");
}

#[test]
fn netns_a_permanent_neighbour_comes_back_exactly() {
    let (home, _far, index) = cabled();
    let mut socket = home.socket().unwrap();
    let lo = home.link("lo").unwrap().index;
    for (address, flags, protocol) in [("192.0.2.9", 0x80, 17), ("2001:db8::9", 0x10, 0)] {
        let neighbor = |last: u8| SnapshotNeighbor {
            address: address.parse().unwrap(),
            hardware_address: format!("02:00:00:00:00:{last:02x}").parse().unwrap(),
            flags,
            protocol,
        };
        let mut present = |index| {
            let mut all = socket.neighbors(index).unwrap();
            all.retain(Neighbor::permanent);
            all.into_iter()
                .map(|entry| entry.neighbor)
                .collect::<Vec<_>>()
        };
        assert_eq!(present(None), []);
        let mut change = home.socket().unwrap();
        for last in [9, 9, 10] {
            change.add_neighbor(index, &neighbor(last)).unwrap();
            assert_eq!(present(None), [neighbor(last)]);
        }
        assert_eq!(present(Some(index)), [neighbor(10)]);
        assert_eq!(present(Some(lo)), []);
        for _ in 0..2 {
            change.delete_neighbor(index, neighbor(10).address).unwrap();
            assert_eq!(present(None), []);
        }
    }
}

fn route(destination: &str, gateway: Option<&str>) -> SnapshotRoute {
    let destination: ipnet::IpNet = destination.parse().unwrap();
    let v6 = destination.addr().is_ipv6();
    SnapshotRoute {
        destination,
        gateway: gateway.map(|text| text.parse().unwrap()),
        preferred_source: None,
        table: 254,
        protocol: 4,
        scope: if gateway.is_none() && !v6 { 253 } else { 0 },
        kind: 1,
        metric: if v6 { 1024 } else { 0 },
        onlink: false,
        options: RouteOptions::default(),
    }
}

fn routes() -> Vec<SnapshotRoute> {
    vec![
        route("0.0.0.0/0", Some("192.0.2.254")),
        route("10.0.0.0/8", None),
        SnapshotRoute {
            preferred_source: "192.0.2.1".parse().ok(),
            metric: 7,
            protocol: 186,
            ..route("10.1.0.0/16", Some("192.0.2.254"))
        },
        SnapshotRoute {
            table: 1000,
            onlink: true,
            ..route("10.2.0.0/16", Some("172.16.0.1"))
        },
        route("10.3.0.0/16", Some("2001:db8::fe")),
        route("::/0", Some("2001:db8::fe")),
        SnapshotRoute {
            metric: 50,
            table: 1000,
            preferred_source: "2001:db8::1".parse().ok(),
            ..route("2001:db8:1::/48", None)
        },
        SnapshotRoute {
            options: RouteOptions {
                tos: 0x10,
                realms: 5,
                metrics: ROUTE_METRICS.to_vec(),
                ..RouteOptions::default()
            },
            ..route("10.4.0.0/16", Some("192.0.2.254"))
        },
        SnapshotRoute {
            options: RouteOptions {
                preference: 1,
                metrics: ROUTE_METRICS.to_vec(),
                ..RouteOptions::default()
            },
            ..route("2001:db8:3::/48", Some("2001:db8::fe"))
        },
        SnapshotRoute {
            onlink: true,
            ..route("2001:db8:2::/48", Some("2001:db8:ffff::1"))
        },
    ]
}

/// What somebody set, sorted.
fn set(home: &Namespace, index: u32) -> Vec<RouteEntry> {
    let all = home.socket().unwrap().routes_over(index).unwrap();
    let set = all.into_iter().filter(|one| one.route.protocol != 2);
    let mut set: Vec<_> = set.collect();
    set.sort_by_key(|one| (one.route.destination, one.route.table));
    set
}

#[test]
fn netns_a_route_comes_back_exactly() {
    let (home, _far, index) = cabled();
    for text in ["192.0.2.1/24", "2001:db8::1/64"] {
        home.add_address("nic0", text.parse().unwrap()).unwrap();
    }
    let mut socket = home.socket().unwrap();
    let mut wanted = routes();
    for route in &wanted {
        socket.add_route(index, route).unwrap();
    }
    wanted.sort_by_key(|one| (one.destination, one.table));
    let as_entry = |route: &SnapshotRoute| RouteEntry {
        index: Some(index),
        next_hops: Vec::new(),
        unkept: None,
        route: route.clone(),
    };
    let wanted_entries: Vec<_> = wanted.iter().map(as_entry).collect();
    assert_eq!(set(&home, index), wanted_entries);
    // Again: identical is fine.
    for route in &wanted {
        socket.add_route(index, route).unwrap();
    }
    assert_eq!(set(&home, index), wanted_entries);
    assert!(socket.routes().unwrap().len() > wanted.len());

    for _ in 0..2 {
        for route in &wanted {
            socket.delete_route(index, route).unwrap();
        }
        assert_eq!(set(&home, index), []);
    }
}

/// Nor does a kernel that was started without IPv6 (`ipv6.disable=1`), which refuses the question.
#[test]
fn netns_an_empty_namespace_leads_nowhere() {
    let mut socket = Namespace::new().unwrap().socket().unwrap();
    for unreachable in ["203.0.113.1", "2001:db8:5::1"] {
        let way = socket.route_to(unreachable.parse().unwrap());
        assert_eq!(way.unwrap(), None);
    }
}

#[test]
fn netns_the_way_to_a_destination_is_the_kernels_choice() {
    let (home, _far, index) = cabled();
    let there = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut socket = home.socket().unwrap();
    for text in ["192.0.2.1/24", "2001:db8::1/64"] {
        home.add_address("nic0", text.parse().unwrap()).unwrap();
    }
    for gateway in [
        route("0.0.0.0/0", Some("192.0.2.254")),
        route("::/0", Some("2001:db8::fe")),
    ] {
        socket.add_route(index, &gateway).unwrap();
    }
    for reachable in ["203.0.113.1", "192.0.2.9", "2001:db8:5::1", "2001:db8::9"] {
        assert_eq!(socket.route_to(there(reachable)).unwrap(), Some(index));
    }
    let lo = home.link("lo").unwrap().index;
    assert_eq!(socket.route_to(there("192.0.2.1")).unwrap(), Some(lo));

    for kind in [6, 7, 8] {
        // blackhole, unreachable, prohibit
        let nowhere = SnapshotRoute {
            kind,
            ..route("2001:db8:5::/48", None)
        };
        socket.add_route(lo, &nowhere).unwrap();
        assert_eq!(socket.route_to(there("2001:db8:5::1")).unwrap(), None);
        socket.delete_route(lo, &nowhere).unwrap();
    }
    assert_eq!(
        socket.route_to(there("2001:db8:5::1")).unwrap(),
        Some(index)
    );
}

#[test]
fn netns_the_state_shows_what_is_different_and_nothing_else() {
    let (home, far, index) = cabled();
    home.add_address("nic0", "192.0.2.1/24".parse().unwrap())
        .unwrap();
    let mut socket = home.socket().unwrap();
    socket.add_altname(index, b"odd\xff").unwrap();
    let before = home.state().unwrap();
    assert_eq!(before.difference(&before), "");
    let text = before.to_string();
    assert!(text.contains("address nic0 192.0.2.1/24"), "{text}");
    assert!(text.contains(r#"altname "odd\xff""#), "{text}");
    assert!(
        text.contains("route 192.0.2.0/24 table 254 over nic0"),
        "{text}"
    );

    let name = "nic0".parse().unwrap();
    socket.move_link(index, far.netns(), &name).unwrap();
    let without = home.state().unwrap();
    assert!(before.difference(&without).contains("- link nic0 veth up"));
    assert!(!before.difference(&without).contains('+'));
    let back = far.link("nic0").unwrap().index;
    far.socket()
        .unwrap()
        .move_link(back, home.netns(), &name)
        .unwrap();
    home.set_up("nic0", true).unwrap();
    home.add_address("nic0", "192.0.2.1/24".parse().unwrap())
        .unwrap();
    home.wait_for_state(&before, Duration::from_secs(10))
        .unwrap();

    home.set_up("nic0", false).unwrap();
    let error = home.wait_for_state(&before, Duration::ZERO).unwrap_err();
    assert!(
        error.to_string().contains("+ link nic0 veth down"),
        "{error}"
    );
}
