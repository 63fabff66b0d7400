//! Routes as people write them.

use std::net::IpAddr;

use network_driver_common::model::{RouteOptions, SnapshotRoute};
use network_driver_netlink::testing::{Namespace, Way};

/// `RTPROT_STATIC`, `RT_TABLE_MAIN`, `RT_SCOPE_LINK` and `RT_SCOPE_HOST`.
const STATIC: u8 = 4;
const MAIN: u32 = 254;
const LINK: u8 = 253;
const HOST: u8 = 254;

/// A route of a node.
pub(crate) struct Route {
    route: SnapshotRoute,
    way: Way,
}

impl Route {
    /// Reads `[KIND] DESTINATION [via GATEWAY] [dev LINK] [nexthop via GATEWAY dev LINK]... [nhid N] [table N] [metric N]
    /// [onlink]`.
    pub(crate) fn read(home: &Namespace, text: &str) -> Self {
        let mut words = text.split_whitespace().peekable();
        let kind = match *words.peek().unwrap() {
            "local" => 2,
            "blackhole" => 6,
            "unreachable" => 7,
            _ => 1,
        };
        if kind != 1 {
            words.next();
        }
        let mut route = SnapshotRoute {
            destination: words.next().unwrap().parse().unwrap(),
            gateway: None,
            preferred_source: None,
            table: MAIN,
            protocol: STATIC,
            scope: 0,
            kind,
            metric: 0,
            onlink: false,
            options: RouteOptions::default(),
        };
        let (mut hops, mut object, mut gateway) = (Vec::new(), None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap();
            match word {
                "nexthop" => {}
                "onlink" => route.onlink = true,
                "via" => gateway = Some(value().parse::<IpAddr>().unwrap()),
                "dev" => hops.push((home.link(value()).unwrap().index, gateway.take())),
                "table" => route.table = value().parse().unwrap(),
                "metric" => route.metric = value().parse().unwrap(),
                "nhid" => object = Some(value().parse().unwrap()),
                other => panic!("{other:?} in {text:?}"),
            }
        }
        let is_local = hops.iter().any(|(_, gateway)| gateway.is_none());
        if route.destination.addr().is_ipv4() && is_local {
            route.scope = if kind == 2 { HOST } else { LINK };
        }
        let way = match (object, hops.is_empty()) {
            (Some(object), _) => Way::Object(object),
            (None, true) => Way::Nowhere,
            (None, false) => Way::Hops(hops),
        };
        Self { route, way }
    }

    pub(crate) fn add(self, home: &Namespace) {
        match self.over_one_link() {
            Ok((index, route)) => home.socket().unwrap().add_route(index, &route).unwrap(),
            Err(Self { route, way }) => home.add_route_by(&route, &way).unwrap(),
        }
    }

    pub(crate) fn delete(self, home: &Namespace) {
        match self.over_one_link() {
            Ok((index, route)) => home.socket().unwrap().delete_route(index, &route).unwrap(),
            Err(Self { route, way }) => home.delete_route_by(&route, &way).unwrap(),
        }
    }

    fn over_one_link(self) -> Result<(u32, SnapshotRoute), Self> {
        match &self.way {
            Way::Hops(hops) if hops.len() == 1 => {
                let (index, gateway) = hops[0];
                let route = SnapshotRoute {
                    gateway,
                    ..self.route
                };
                Ok((index, route))
            }
            _ => Err(self),
        }
    }
}
