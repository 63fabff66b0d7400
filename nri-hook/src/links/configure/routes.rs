//! Routes over the interface, in the pod's main table.

use network_driver_common::model::{Route, SnapshotRoute};
use network_driver_netlink::Socket;
use nix::errno::Errno;

use super::{ConfigureError, Configurator, Interface, Seen};

/// `RT_TABLE_MAIN`, `RTPROT_STATIC`, `RT_SCOPE_UNIVERSE`, `RT_SCOPE_LINK` and `RTN_UNICAST` (linux/rtnetlink.h).
const TABLE_MAIN: u32 = 254;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const UNICAST: u8 = 1;

/// Adds the wanted routes: those on the link first, since gateways may lie behind them, else in the user's order.
pub(super) struct AddRoutes;

impl Configurator for AddRoutes {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let routes = &interface.attachment.config.routes;
        let (on_link, through): (Vec<_>, Vec<_>) =
            routes.iter().partition(|route| route.gateway.is_none());
        for route in on_link.into_iter().chain(through) {
            match socket.add_route(interface.link.index, &full(route)) {
                // It may be this very route: reading back decides.
                Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                done => done.map_err(ConfigureError::new(format!("add {}", describe(route))))?,
            }
        }
        Ok(())
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        let is_there = |route: &Route| {
            seen.routes.iter().any(|other| {
                other.destination == route.destination.trunc()
                    && other.gateway == route.gateway
                    && other.table == TABLE_MAIN
            })
        };
        let mut wanted = interface.attachment.config.routes.iter();
        let missing = wanted.find(|route| !is_there(route))?;
        Some(format!(
            "lacks {}: the pod has another one to that destination",
            describe(missing)
        ))
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
    }
}

fn describe(route: &Route) -> String {
    match route.gateway {
        Some(gateway) => format!("the route to {} via {gateway}", route.destination),
        None => format!("the route to {}", route.destination),
    }
}
