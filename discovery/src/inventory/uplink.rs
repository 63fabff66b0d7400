//! What the inventory knows of the node's own traffic: routes, addresses, and which links they protect.

use std::collections::BTreeSet;
use std::net::IpAddr;

use network_driver_common::model::Protected;
use network_driver_netlink::RouteEntry;
use network_driver_netlink::uplink::{UplinkReason, matters, protected_links};

use super::Inventory;

impl Inventory {
    /// A new route that matters protects at once. What it replaces, the kernel does not say: the next reading does.
    pub(super) fn add_route(&mut self, route: RouteEntry) {
        self.dirty.routes = true;
        if let Some(routes) = &mut self.routes
            && matters(&route, &self.protected)
            && !routes.contains(&route)
        {
            routes.push(route);
            self.dirty.uplinks = true;
        }
    }

    /// Whether routes are to be dumped and looked up again; asking clears it.
    pub fn take_routes_stale(&mut self) -> bool {
        std::mem::take(&mut self.dirty.routes)
    }

    /// Takes the routes of all tables, of which those that matter are kept. `None` when they could not be had: until they
    /// are, every link counts as an uplink.
    pub fn set_routes(&mut self, routes: Option<Vec<RouteEntry>>) {
        let routes = routes.map(|mut routes| {
            routes.retain(|route| matters(route, &self.protected));
            routes
        });
        if routes != self.routes {
            self.routes = routes;
            self.dirty.uplinks = true;
        }
    }

    /// Takes which links the kernel would use to reach the protected destinations. Those that it could not be asked about
    /// keep the way that they had.
    pub fn set_routed(&mut self, mut routed: Vec<(IpAddr, u32)>, unanswered: &BTreeSet<IpAddr>) {
        let before = self.routed.iter();
        routed.extend(before.filter(|(to, _)| unanswered.contains(to)));
        if routed != self.routed {
            self.routed = routed;
            self.dirty.uplinks = true;
        }
    }

    /// The addresses that the node's traffic goes to or comes from.
    pub fn protected(&self) -> &Protected {
        &self.protected
    }

    /// Takes the addresses of the node and of the API server.
    pub fn set_destinations(&mut self, destinations: BTreeSet<IpAddr>) {
        if destinations != self.protected.destinations {
            self.protected.destinations = destinations;
            self.dirty.routes = true;
            self.dirty.uplinks = true;
            self.dirty.view = true;
        }
    }

    pub(super) fn settle_uplinks(&mut self) {
        let links = self.links.values().map(|entry| &entry.link);
        let uplinks = match &self.routes {
            Some(routes) => protected_links(
                links,
                routes,
                self.addresses.values().flatten(),
                &self.protected,
                &self.routed,
            ),
            None => links
                .map(|link| (link.index, UplinkReason::UnknownRoute))
                .collect(),
        };
        let differs = |index: &&u32| self.uplinks.get(index) != uplinks.get(index);
        let touched = self.uplinks.keys().chain(uplinks.keys()).filter(differs);
        self.dirty.links.extend(touched);
        self.uplinks = uplinks;
    }
}
