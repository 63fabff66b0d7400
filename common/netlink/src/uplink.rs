//! Which links carry the node's own traffic, and so must never be offered or touched: the pure decision.
//!
//! discovery asks it to decide what is offered, nri-hook asks it again before it takes a link away; both bring their
//! own tables. A link is protected if it is a *seed* or is joined to one, over any number of steps, by mastership (a
//! bond and its ports) or by parenthood (`IFLA_LINK`: a VLAN and the link below it), in either direction. Seeds:
//! - links with a default route of any table, each next hop counted;
//! - links that hold an address the node is known by, or lead to one (the caller looks those routes up; where the kernel
//!   may take any of several next hops, each counts);
//! - links that the operator names, by whichever of their names.
//!
//! Protected is also the link that a VXLAN or a MACsec link sends over, with what is below it: when it leaves, the kernel
//! deletes the other (`NETDEV_UNREGISTER` in drivers/net/vxlan and macsec.c; VLANs, macvlans, ipvlans and IP tunnels
//! stay). One that was made here and lies in another namespace by now is not in these tables, and not seen.
//!
//! Whoever has no routes (a dump that failed) must not ask here but protect everything.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::IpAddr;

use network_driver_common::model::{IfName, Protected};

use crate::{Address, Link, RouteEntry};

/// `RTN_UNICAST`: a route that leads somewhere (not a blackhole or the like).
const RTN_UNICAST: u8 = 1;

/// Why a link must not be offered. Prints as a phrase that follows the link's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkReason {
    /// A default route leaves over it.
    DefaultRoute,
    /// It holds an address that the node is known by.
    Address(IpAddr),
    /// The kernel would use it to reach a protected destination.
    RouteTo(IpAddr),
    /// The operator protects it by name.
    Operator,
    /// The VXLAN or MACsec link of this name sends over it.
    Carries(IfName),
    /// It is joined to such a link.
    Joined {
        /// How the two lie to each other.
        relation: Relation,
        /// Name of that link.
        to: IfName,
        /// Why that one is protected; never `Joined` itself.
        because: Box<UplinkReason>,
    },
    /// There is a default route whose link cannot be told, so every link is suspect.
    UnknownRoute,
}

/// How a link lies to one that is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Its port, or what it is made on.
    Below,
    /// Its master, or made on it.
    Above,
    /// Below something that is above it, or the reverse.
    Beside,
}

impl UplinkReason {
    /// The reason of the link that this one is joined to, or else itself.
    pub(crate) fn seed(&self) -> &Self {
        match self {
            Self::Joined { because, .. } => because,
            seed => seed,
        }
    }
}

impl fmt::Display for UplinkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultRoute => f.write_str("carries the default route"),
            Self::Address(address) => write!(f, "holds the node's address {address}"),
            Self::RouteTo(address) => write!(f, "is the way to {address}"),
            Self::Operator => f.write_str("is protected by configuration"),
            Self::Carries(above) => {
                write!(f, "carries {above}, which the kernel would delete")
            }
            Self::Joined {
                relation,
                to,
                because,
            } => {
                let relation = match relation {
                    Relation::Below => "is below",
                    Relation::Above => "is above",
                    Relation::Beside => "is joined to",
                };
                write!(f, "{relation} {to}, which {because}")
            }
            Self::UnknownRoute => {
                f.write_str("may carry the default route, whose link cannot be told")
            }
        }
    }
}

/// The protected links of a namespace by ifindex, each with its reason.
///
/// `routes` need hold only those that [`matters`] names, others are skipped; `looked_up` are pairs of a destination and the
/// link that the kernel would use to reach it (`Socket::route_to`).
pub fn protected_links<'a>(
    links: impl Iterator<Item = &'a Link> + Clone,
    routes: &[RouteEntry],
    addresses: impl Iterator<Item = &'a Address>,
    protected: &Protected,
    looked_up: &[(IpAddr, u32)],
) -> BTreeMap<u32, UplinkReason> {
    let mut seeds: BTreeMap<u32, UplinkReason> = BTreeMap::new();
    let mut seed = |index: u32, reason: UplinkReason| {
        seeds.entry(index).or_insert(reason);
    };
    for route in routes.iter().filter(|route| is_default(route)) {
        let hops = route.index.iter().chain(&route.next_hops);
        if hops.clone().next().is_none() && route.route.kind == RTN_UNICAST {
            return links
                .map(|l| (l.index, UplinkReason::UnknownRoute))
                .collect();
        }
        hops.for_each(|index| seed(*index, UplinkReason::DefaultRoute));
    }
    for address in addresses {
        let ip = address.address.address.addr();
        if protected.destinations.contains(&ip) {
            seed(address.index, UplinkReason::Address(ip));
        }
    }
    for (destination, index) in looked_up {
        seed(*index, UplinkReason::RouteTo(*destination));
        // The kernel told one next hop; the next connection may take another.
        let wide = routes
            .iter()
            .filter(|route| route.next_hops.contains(index) && leads_to(route, destination));
        wide.flat_map(|route| &route.next_hops)
            .for_each(|index| seed(*index, UplinkReason::RouteTo(*destination)));
    }
    for link in links.clone() {
        let mut named = protected.interfaces.iter();
        if named.any(|name| is_called(link, name)) {
            seed(link.index, UplinkReason::Operator);
        }
    }
    let carriers = links.clone().filter_map(|link| {
        let lower = goes_with(link)?;
        Some((lower, UplinkReason::Carries(link.name.clone())))
    });
    let carriers = carriers.collect();
    close(links, [seeds, carriers])
}

/// Whether [`protected_links`] looks at a route. Whoever keeps routes need not keep the others, which may be many.
pub fn matters(route: &RouteEntry, protected: &Protected) -> bool {
    let is_way = |to| leads_to(route, to);
    is_default(route) || !route.next_hops.is_empty() && protected.destinations.iter().any(is_way)
}

/// The link without which this one does not stay.
fn goes_with(link: &Link) -> Option<u32> {
    let is_macsec = link.kind.as_deref() == Some("macsec") && link.parent_netnsid.is_none();
    link.vxlan_lower.or(link.parent.filter(|_| is_macsec))
}

fn is_default(route: &RouteEntry) -> bool {
    route.route.destination.prefix_len() == 0
}

fn leads_to(route: &RouteEntry, destination: &IpAddr) -> bool {
    route.route.destination.contains(destination)
}

fn is_called(link: &Link, name: &IfName) -> bool {
    link.name == *name || link.altnames.iter().any(|other| other == name.as_bytes())
}

/// Spreads seeds over everything that is joined to them. Those of the second kind come after all that follows from the
/// first, which say more and spread further.
fn close<'a>(
    links: impl Iterator<Item = &'a Link> + Clone,
    seeds: [BTreeMap<u32, UplinkReason>; 2],
) -> BTreeMap<u32, UplinkReason> {
    let names: BTreeMap<u32, &IfName> = links.clone().map(|l| (l.index, &l.name)).collect();
    let mut joins: BTreeMap<u32, Vec<(u32, Relation)>> = BTreeMap::new();
    let mut join = |below: u32, above: u32| {
        if below != above {
            joins
                .entry(below)
                .or_default()
                .push((above, Relation::Above));
            joins
                .entry(above)
                .or_default()
                .push((below, Relation::Below));
        }
    };
    for link in links {
        if let Some(master) = link.master {
            join(link.index, master);
        }
        // A parent in another namespace has a number of that namespace.
        if let (Some(parent), None) = (link.parent, link.parent_netnsid) {
            join(parent, link.index);
        }
    }
    let mut found: BTreeMap<u32, UplinkReason> = BTreeMap::new();
    for seeds in seeds {
        let mut next: VecDeque<(u32, UplinkReason)> = seeds.into_iter().collect();
        while let Some((index, reason)) = next.pop_front() {
            let Entry::Vacant(place) = found.entry(index) else {
                continue;
            };
            for (neighbour, relation) in joins.get(&index).into_iter().flatten() {
                if let Some(reason) = step(&reason, *relation, names.get(&index).copied()) {
                    next.push_back((*neighbour, reason));
                }
            }
            place.insert(reason);
        }
    }
    found.retain(|index, _| names.contains_key(index));
    found
}

/// The reason of a neighbour of a link that is protected for `reason`; `None` if it is not protected for that.
fn step(reason: &UplinkReason, relation: Relation, name: Option<&IfName>) -> Option<UplinkReason> {
    // What is above a link may leave without it.
    if relation == Relation::Above && matches!(reason.seed(), UplinkReason::Carries(_)) {
        return None;
    }
    Some(match reason {
        UplinkReason::Joined {
            relation: before,
            to,
            because,
        } => UplinkReason::Joined {
            relation: if *before == relation {
                relation
            } else {
                Relation::Beside
            },
            to: to.clone(),
            because: because.clone(),
        },
        seed => UplinkReason::Joined {
            relation,
            to: name?.clone(),
            because: Box::new(seed.clone()),
        },
    })
}

#[cfg(test)]
mod tests;
