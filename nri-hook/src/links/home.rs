//! The home namespace as it is now, read once for all devices of an operation.
//!
//! One link dump is one visit to the kernel's lock; addresses and routes, asked per family, need none, nor do neighbours
//! since Linux 6.17.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use network_driver_common::model::{Protected, Snapshot, WantedFeatures};
use network_driver_netlink::uplink::{UplinkReason, protected_links};
use network_driver_netlink::{Link, RequestError, RouteEntry, Socket};

use super::snapshot::{self, Belongings};

/// What was read of the home namespace.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) links: Vec<Link>,
    pub(super) belongings: Belongings,
    uplinks: BTreeMap<u32, UplinkReason>,
}

impl Home {
    /// Reads it all.
    ///
    /// # Errors
    /// Any request that fails: without all facts nothing may be called free of the node's traffic.
    pub(crate) fn read(socket: &mut Socket, protected: &Protected) -> Result<Self, RequestError> {
        let mut settings = BTreeMap::new();
        let links = socket.links_with_settings()?.into_iter();
        let links: Vec<_> = links
            .map(|(link, set)| {
                settings.insert(link.index, set);
                link
            })
            .collect();
        let belongings = Belongings {
            taken: SystemTime::now(),
            settings,
            addresses: socket.addresses(None)?,
            routes: socket.routes()?,
            neighbors: socket.neighbors(None)?,
        };
        let Belongings {
            addresses, routes, ..
        } = &belongings;
        let mut ways = Vec::new();
        for destination in &protected.destinations {
            let out = socket.route_to(*destination)?;
            ways.extend(out.map(|index| (*destination, index)));
        }
        let uplinks = protected_links(links.iter(), routes, addresses.iter(), protected, &ways);
        Ok(Self {
            links,
            belongings,
            uplinks,
        })
    }

    /// Why a link must not be touched, if it must not.
    pub(crate) fn uplink(&self, link: &Link) -> Option<&UplinkReason> {
        self.uplinks.get(&link.index)
    }

    /// A route with several next hops of which one is this link: it would be lost, for a snapshot cannot hold it.
    pub(crate) fn multipath(&self, link: &Link) -> Option<&RouteEntry> {
        let mut routes = self.belongings.routes.iter();
        routes.find(|route| route.next_hops.contains(&link.index))
    }

    /// A route over the link with something that a snapshot cannot hold, and what that is.
    pub(crate) fn unkept_route(&self, link: &Link) -> Option<(&RouteEntry, &'static str)> {
        let mut over_link = self.set_routes().filter(|r| r.index == Some(link.index));
        over_link.find_map(|route| Some((route, route.unkept?)))
    }

    /// An IPv4 route over another link with an address of this one as its source: the kernel takes it away with the
    /// address.
    pub(crate) fn route_from(&self, link: &Link) -> Option<&RouteEntry> {
        let addresses = &self.belongings.addresses;
        let has = |index: u32, source: IpAddr| {
            let mut of_link = addresses.iter().filter(|entry| entry.index == index);
            of_link.any(|entry| entry.address.address.addr() == source)
        };
        let elsewhere = |source| {
            let mut others = self.links.iter().filter(|other| other.index != link.index);
            others.any(|other| has(other.index, source))
        };
        self.set_routes().find(|entry| {
            let source = entry.route.preferred_source;
            let source = source.filter(IpAddr::is_ipv4);
            entry.index != Some(link.index)
                && source.is_some_and(|source| has(link.index, source) && !elsewhere(source))
        })
    }

    /// Routes that someone set.
    fn set_routes(&self) -> impl Iterator<Item = &RouteEntry> {
        let routes = self.belongings.routes.iter();
        routes.filter(|entry| snapshot::is_set(&entry.route))
    }

    /// The name of the link that this one is a port of.
    pub(crate) fn master(&self, link: &Link) -> Option<String> {
        let master = link.master?;
        let found = self.links.iter().find(|other| other.index == master);
        Some(found.map_or_else(|| format!("link {master}"), |other| other.name.to_string()))
    }

    /// Number of addresses, routes and permanent neighbours that a snapshot of the link would hold.
    pub(crate) fn count_kept(&self, link: &Link) -> usize {
        let Belongings {
            addresses,
            routes,
            neighbors,
            ..
        } = &self.belongings;
        let addresses = snapshot::set_addresses(link.index, &link.name, addresses);
        let routes = snapshot::set_routes(link.index, routes);
        let neighbors = snapshot::set_neighbors(link.index, neighbors);
        [addresses.len(), routes.len(), neighbors.len()]
            .iter()
            .sum()
    }

    /// What the link looks like, with its offload features, which are asked of each link alone.
    pub(crate) fn snapshot(&self, link: &Link, features: WantedFeatures) -> Snapshot {
        snapshot::take(link, &self.belongings, features)
    }
}
