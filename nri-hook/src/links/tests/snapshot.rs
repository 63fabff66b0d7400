//! What counts as a difference.

use network_driver_common::model::{Snapshot, SnapshotAddress, SnapshotRoute};

use super::node::{address, if_name, neighbor, route};
use crate::links::snapshot::differences;

fn sample() -> Snapshot {
    Snapshot {
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
    }
}

#[test]
fn every_difference_is_named() {
    type Case = (fn(&mut Snapshot), &'static [&'static str]);
    let cases: [Case; 14] = [
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
            |s| s.neighbors[0].hardware_address = "02:00:00:00:00:66".parse().unwrap(),
            &[
                "lacks the permanent neighbour 10.1.0.9 (02:00:00:00:00:09)",
                "has the permanent neighbour 10.1.0.9 (02:00:00:00:00:66) too many",
            ],
        ),
    ];
    for (change, wanted) in cases {
        let mut changed = sample();
        change(&mut changed);
        assert_eq!(differences(&sample(), &changed), wanted);
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
fn a_route_differs_by_its_metric() {
    let mut changed = sample();
    changed.routes[0] = SnapshotRoute {
        metric: 5,
        ..changed.routes[0].clone()
    };
    assert_eq!(differences(&sample(), &changed).len(), 2);
}
