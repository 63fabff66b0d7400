//! What counts as a difference.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use network_driver_common::model::{
    LinkParameter, SettableFlags, Settings, Snapshot, SnapshotAddress, SnapshotRoute,
    WantedFeatures,
};

use super::node::{address, if_name, neighbor, route};
use crate::links::snapshot::{aged, differences};

/// With `rp_filter` of IPv4 and `accept_ra` of IPv6.
fn settings(rp_filter: i32, accept_ra: i32) -> Settings {
    Settings {
        ipv4: [0, 0, 0, 0, 0, 0, 0, rp_filter].into(),
        ipv6: [0, 0, 0, accept_ra].into(),
    }
}

fn features(wanted: &[(&str, bool)]) -> WantedFeatures {
    let parsed = wanted.iter().map(|(name, on)| (name.parse().unwrap(), *on));
    parsed.collect::<BTreeMap<_, _>>().into()
}

fn sample() -> Snapshot {
    Snapshot {
        taken: None,
        name: if_name(b"eth1"),
        mtu: 1500,
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        up: true,
        alias: b"mine".to_vec(),
        altnames: vec![b"enp1s0".to_vec()],
        addresses: vec![address("10.1.0.1/24"), address("10.2.0.1/24")],
        routes: vec![
            route("10.77.0.0/16", "10.1.0.9", 254),
            route("10.78.0.0/16", "", 100),
        ],
        neighbors: vec![neighbor("10.1.0.9"), neighbor("fd01::9")],
        settings: settings(2, 0),
        flags: Some(SettableFlags::from_bits(0x1000)),
        parameters: [(LinkParameter::TxQueueLength, 1000)].into(),
        features: features(&[("rx-gro", true)]),
    }
}

/// A change of the sample, and what is said of it.
type Case = (fn(&mut Snapshot), &'static [&'static str]);

#[test]
fn every_difference_is_named() {
    let cases: [Case; 17] = [
        (|_| {}, &[]),
        (
            |s| s.name = if_name(b"net1"),
            &["is called net1 instead of eth1"],
        ),
        (|s| s.mtu = 1400, &["has MTU 1400 instead of 1500"]),
        (
            |s| s.hardware_address = "02:00:00:00:00:02".parse().unwrap(),
            &["has hardware address 02:00:00:00:00:02 instead of 02:00:00:00:00:01"],
        ),
        (|s| s.up = false, &["is down instead of up"]),
        (|s| s.alias.clear(), &["has another alias than before"]),
        (
            |s| s.altnames.clear(),
            &["has other alternative names than before"],
        ),
        (
            |s| s.addresses[0] = address("10.3.0.1/24"),
            &[
                "lacks address 10.1.0.1/24",
                "has address 10.3.0.1/24 too many",
            ],
        ),
        (
            |s| s.addresses.reverse(),
            &["has its addresses in another order"],
        ),
        (
            |s| s.routes.truncate(1),
            &["lacks the route to 10.78.0.0/16 of table 100"],
        ),
        (
            |s| s.routes.push(route("10.79.0.0/16", "10.1.0.9", 254)),
            &["has the route to 10.79.0.0/16 via 10.1.0.9 of table 254 too many"],
        ),
        (|s| s.routes.reverse(), &[]),
        (|s| s.neighbors.reverse(), &[]),
        (
            |s| s.settings = settings(2, 1),
            &["has setting ipv6/accept_ra 1 instead of 0"],
        ),
        // IPv6 may be off for it, and an older release kept none.
        (|s| s.settings.ipv6 = [].into(), &[]),
        // A later kernel has one more.
        (|s| s.settings.ipv6 = [0, 0, 0, 0, 7].into(), &[]),
        (
            |s| s.neighbors[0].hardware_address = "02:00:00:00:00:66".parse().unwrap(),
            &[
                "lacks the permanent neighbour 10.1.0.9 (02:00:00:00:00:09)",
                "has the permanent neighbour 10.1.0.9 (02:00:00:00:00:66) too many",
            ],
        ),
    ];
    assert_named(&cases);
}

#[test]
fn what_differs_of_what_travels_is_named_if_it_was_known() {
    let cases: [Case; 5] = [
        (
            |s| s.flags = Some(SettableFlags::from_bits(0x100)),
            &["has flags promisc instead of multicast"],
        ),
        (
            |s| s.parameters = [(LinkParameter::TxQueueLength, 0)].into(),
            &["has txqueuelen 0 instead of 1000"],
        ),
        (
            |s| s.features = features(&[("rx-gro", false)]),
            &["has offload feature rx-gro off instead of on"],
        ),
        // What the kernel does not say, or nobody knew.
        (
            |s| {
                s.flags = None;
                s.parameters.clear();
                s.features = WantedFeatures::default();
            },
            &[],
        ),
        (
            |s| {
                s.parameters.insert(LinkParameter::Group, 1);
                s.features = features(&[("rx-gro", true), ("rx-lro", true)]);
            },
            &[],
        ),
    ];
    assert_named(&cases);
}

fn assert_named(cases: &[Case]) {
    for (change, wanted) in cases {
        let mut changed = sample();
        change(&mut changed);
        assert_eq!(differences(&sample(), &changed), *wanted);
    }
}

#[test]
fn a_lifetime_may_run_but_not_begin_to() {
    let with_lifetime = |valid_lifetime| Snapshot {
        addresses: vec![SnapshotAddress {
            valid_lifetime,
            ..address("10.1.0.1/24")
        }],
        ..sample()
    };
    assert!(differences(&with_lifetime(500), &with_lifetime(400)).is_empty());
    assert!(!differences(&with_lifetime(u32::MAX), &with_lifetime(400)).is_empty());
}

#[test]
fn lifetimes_go_on_while_the_link_is_away() {
    let lease = |text: &str, preferred_lifetime, valid_lifetime| SnapshotAddress {
        preferred_lifetime,
        valid_lifetime,
        ..address(text)
    };
    let taken = SystemTime::UNIX_EPOCH;
    let snapshot = Snapshot {
        taken: Some(taken),
        addresses: vec![
            address("10.1.0.1/24"),
            lease("10.2.0.1/24", 100, 200),
            lease("10.3.0.1/24", 1000, 2000),
            lease("10.4.0.1/24", 100, u32::MAX),
        ],
        routes: vec![
            SnapshotRoute {
                preferred_source: "10.2.0.1".parse().ok(),
                ..route("10.77.0.0/16", "", 254)
            },
            route("10.78.0.0/16", "", 254),
        ],
        ..sample()
    };
    let after = |seconds| taken.checked_add(Duration::from_secs(seconds)).unwrap();
    let later = aged(&snapshot, after(500));
    assert_eq!(
        later.addresses,
        [
            address("10.1.0.1/24"),
            lease("10.3.0.1/24", 500, 1500),
            lease("10.4.0.1/24", 0, u32::MAX),
        ]
    );
    assert_eq!(later.routes, [route("10.78.0.0/16", "", 254)]);
    assert_eq!(aged(&snapshot, after(0)), snapshot);
    let far = aged(&snapshot, after(1 << 40));
    assert_eq!(far.addresses.len(), 2);
    let untold = Snapshot {
        taken: None,
        ..snapshot.clone()
    };
    assert_eq!(aged(&untold, after(500)), untold);
    let clock_went_back = Snapshot {
        taken: Some(after(500)),
        ..snapshot
    };
    assert_eq!(aged(&clock_went_back, taken), clock_went_back);
}

#[test]
fn a_route_differs_by_its_metric() {
    let mut changed = sample();
    changed.routes[0] = SnapshotRoute {
        metric: 5,
        ..changed.routes[0].clone()
    };
    assert_eq!(differences(&sample(), &changed).len(), 2);
}
