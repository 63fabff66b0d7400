//! Routes over the interface, in the pod's main table.

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{Route, RouteOptions, SnapshotRoute};
use network_driver_netlink::Socket;

use super::{Configurator, ConfigureError, Interface, Seen, Stage};

/// `RT_TABLE_MAIN`, `RTPROT_STATIC`, `RT_SCOPE_UNIVERSE`, `RT_SCOPE_LINK` and `RTN_UNICAST` (linux/rtnetlink.h).
const TABLE_MAIN: u32 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const UNICAST: u8 = 1;

/// `IP6_RT_PRIO_USER` (net/ip6_route.h): what 0 becomes in IPv6.
const IPV6_DEFAULT_METRIC: u32 = 1024;

/// Adds the wanted routes: those on the link first, since gateways may lie behind them, else in the user's order.
pub(super) struct AddRoutes;

impl Configurator for AddRoutes {
    fn stage(&self) -> Stage {
        Stage::Routes
    }

    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let routes = &interface.attachment.config.routes;
        let (on_link, through): (Vec<_>, Vec<_>) =
            routes.iter().partition(|route| route.gateway.is_none());
        for route in on_link.into_iter().chain(through) {
            socket
                .add_route(interface.link.index, &full(route))
                .map_err(ConfigureError::new(format!("add {}", describe(route))))?;
        }
        fail::pass(Point::AttachRouted);
        Ok(())
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        interface.attachment.config.routes.iter().find_map(|route| {
            let same_way = |other: &&SnapshotRoute| {
                other.destination == route.destination.trunc() && other.table == TABLE_MAIN
            };
            let mut present = seen.routes.iter().filter(same_way);
            // The kernel takes a second route of the same rank, but uses the first, or both in turn.
            let rival = seen
                .other_routes
                .iter()
                .filter(same_way)
                .find(|other| other.metric == 0 || other.metric == IPV6_DEFAULT_METRIC);
            if rival.is_some() {
                Some(format!(
                    "cannot have {}: the pod has another one to there",
                    describe(route)
                ))
            } else if present.all(|other| other.gateway != route.gateway) {
                Some(format!("lacks {}", describe(route)))
            } else {
                None
            }
        })
    }
}

fn full(route: &Route) -> SnapshotRoute {
    let on_link = route.gateway.is_none() && route.destination.addr().is_ipv4();
    SnapshotRoute {
        destination: route.destination.trunc(),
        gateway: route.gateway,
        preferred_source: None,
        table: TABLE_MAIN,
        protocol: PROTOCOL_STATIC,
        scope: if on_link { SCOPE_LINK } else { SCOPE_UNIVERSE },
        kind: UNICAST,
        metric: 0,
        onlink: false,
        options: RouteOptions::default(),
    }
}

fn describe(route: &Route) -> String {
    match route.gateway {
        Some(gateway) => format!("the route to {} via {gateway}", route.destination),
        None => format!("the route to {}", route.destination),
    }
}
