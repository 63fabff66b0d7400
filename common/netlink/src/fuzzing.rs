//! Fuzz targets: what the kernel says. See `network-driver-fuzzing`.

use std::sync::LazyLock;

use network_driver_common::model::Protected;
use network_driver_fuzzing::Target;

use crate::address::Address;
use crate::ethtool::{self, FeatureNames};
use crate::link::{Link, LinkMessage};
use crate::message::{Attributes, Messages, verdict};
use crate::monitor;
use crate::recorded;
use crate::route::RouteEntry;
use crate::uplink::{UplinkReason, protected_links};

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// The bodies of a datagram's messages, and all of the bytes as one body.
fn bodies(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bodies = Messages::new(datagram).flatten();
    bodies.map(|message| message.body).chain([datagram])
}

#[test]
fn netlink_answers() {
    target("netlink_answers").run(|datagram| {
        let messages: Vec<_> = Messages::new(datagram).flatten().collect();
        assert!(messages.len() <= datagram.len() / 16);
        for message in messages {
            if let Ok((_, Some(words))) = verdict(&message) {
                assert!(words.len() < message.body.len() && !words.contains(&0));
            }
            let attributes = Attributes::new(message.body).flatten().count();
            assert!(attributes <= message.body.len() / 4);
        }
    });
}

#[test]
fn netlink_links() {
    target("netlink_links").run(|datagram| {
        for body in bodies(datagram) {
            let Ok(Some(LinkMessage { link, .. })) = LinkMessage::parse(body) else {
                continue;
            };
            let altnames: usize = link.altnames.iter().map(Vec::len).sum();
            assert!(altnames.max(link.alias.len()) < body.len());
            assert!(link.kind.is_none_or(|kind| kind.len() / 3 < body.len()));
            assert_ne!(link.parent, Some(0));
        }
    });
}

#[test]
fn netlink_addresses() {
    target("netlink_addresses").run(|datagram| {
        for body in bodies(datagram) {
            if let Ok(Some(found)) = Address::parse(body) {
                assert!(found.address.label.len() < body.len());
            }
        }
    });
}

#[test]
fn netlink_routes() {
    target("netlink_routes").run(|datagram| {
        for body in bodies(datagram) {
            if let Ok(Some(found)) = RouteEntry::parse(body) {
                assert!(found.next_hops.len() <= body.len() / 8);
            }
        }
    });
}

#[test]
fn netlink_features() {
    target("netlink_features").run(|datagram| {
        static KNOWN: LazyLock<FeatureNames> = LazyLock::new(|| {
            let bytes = recorded::bytes(recorded::FEATURE_NAMES);
            FeatureNames::parse(recorded::messages(&bytes)[0].body).unwrap()
        });
        for body in bodies(datagram) {
            if let Ok(names) = FeatureNames::parse(body) {
                assert!(names.numbered().count() <= body.len() / 8);
            }
            if let Ok(found) = ethtool::parse(body, &KNOWN) {
                let count = KNOWN.numbered().count();
                assert!(found.wanted.len().max(found.active.len()) <= count);
            }
        }
    });
}

#[test]
fn netlink_events() {
    target("netlink_events").run(|datagram| {
        let events = monitor::events(datagram);
        assert!(events.len() <= datagram.len().div_ceil(16));
    });
}

/// A table of links and routes as a kernel might never make it: who is above whom may go round in circles.
#[test]
fn uplink() {
    target("uplink").run(|datagram| {
        let link = |body| LinkMessage::parse(body).ok().flatten();
        let links = bodies(datagram).filter_map(link);
        let links: Vec<Link> = links.map(|message| message.link).collect();
        let route = |body| RouteEntry::parse(body).ok().flatten();
        let routes: Vec<_> = bodies(datagram).filter_map(route).collect();
        let address = |body| Address::parse(body).ok().flatten();
        let addresses: Vec<_> = bodies(datagram).filter_map(address).collect();
        let protected = Protected {
            destinations: addresses.iter().map(|a| a.address.address.addr()).collect(),
            ..Protected::default()
        };
        let found = protected_links(links.iter(), &routes, addresses.iter(), &protected, &[]);
        let there = |index: &u32| links.iter().any(|link| link.index == *index);
        assert!(found.keys().all(there));
        for link in &links {
            // A port is protected with its master, and the master with its port unless that only carries a tunnel.
            let Some(master) = link.master.filter(there) else {
                continue;
            };
            let carries = |port: &UplinkReason| matches!(port.seed(), UplinkReason::Carries(_));
            let (port, master) = (found.get(&link.index), found.get(&master));
            assert!(master.is_none() || port.is_some());
            assert!(port.is_none() || master.is_some() || port.is_some_and(carries));
        }
    });
}
