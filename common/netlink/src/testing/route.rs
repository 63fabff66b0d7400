//! Routes that lead not over one link but over several, over a nexthop object, or nowhere: to see what is made of them.

use std::net::IpAddr;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Rta, Rtm, Rtn, Rtprot};
use network_driver_common::model::SnapshotRoute;

use super::{Namespace, TestingError};
use crate::address::{family_of, octets};
use crate::error::BuildError;
use crate::request::{Attributes, Request};
use crate::route;

/// `RTA_DST`, `RTA_GATEWAY`, `RTA_PRIORITY`, `RTA_MULTIPATH`, `RTA_TABLE` and `RTA_NH_ID` (linux/rtnetlink.h).
const DESTINATION: u16 = 1;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
const NEXTHOP: u16 = 30;
/// Size of `struct rtnexthop`, and of an attribute's header.
const HOP_HEADER: usize = 8;
const ATTRIBUTE_HEADER: usize = 4;

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Nowhere: for kinds such as unreachable.
    Nowhere,
    /// Over links, each with its gateway if it has one.
    Hops(Vec<(u32, Option<IpAddr>)>),
    /// Where a nexthop object leads.
    Object(u32),
}

impl Namespace {
    /// Adds a route with another way than its gateway.
    pub fn add_route_by(&self, route: &SnapshotRoute, way: &Way) -> Result<(), TestingError> {
        let flags = NlmF::CREATE | NlmF::EXCL;
        let request = body(route, way)
            .and_then(|body| Request::change("add a route", Rtm::Newroute, flags, body));
        Ok(self.socket()?.exchange().change(request)?)
    }

    /// Deletes such a route.
    pub fn delete_route_by(&self, route: &SnapshotRoute, way: &Way) -> Result<(), TestingError> {
        let flags = NlmF::empty();
        let request = body(route, way)
            .and_then(|body| Request::change("delete a route", Rtm::Delroute, flags, body));
        Ok(self.socket()?.exchange().change(request)?)
    }
}

fn body(route: &SnapshotRoute, way: &Way) -> Result<neli::rtnl::Rtmsg, BuildError> {
    let attributes: Attributes<Rta> = Attributes::new()
        .bytes(DESTINATION, &octets(route.destination.network()))?
        .number(TABLE, route.table)?
        .number(PRIORITY, route.metric)?;
    let attributes = match way {
        Way::Nowhere => attributes,
        Way::Hops(hops) => attributes.bytes(MULTIPATH, &multipath(hops)?)?,
        Way::Object(id) => attributes.number(NEXTHOP, *id)?,
    };
    route::blank(family_of(route.destination.addr()))
        .rtm_dst_len(route.destination.prefix_len())
        .rtm_protocol(Rtprot::from(route.protocol))
        .rtm_scope(route.scope.into())
        .rtm_type(Rtn::from(route.kind))
        .rtattrs(attributes.finish())
        .build()
        .map_err(BuildError::of)
}

/// A list of `struct rtnexthop`, each with its gateway.
fn multipath(hops: &[(u32, Option<IpAddr>)]) -> Result<Vec<u8>, BuildError> {
    let mut bytes = Vec::new();
    for (index, gateway) in hops {
        let gateway = gateway.map(octets);
        let attribute = gateway
            .as_ref()
            .map_or(0, |g| g.len().saturating_add(ATTRIBUTE_HEADER));
        bytes.extend(short(attribute.saturating_add(HOP_HEADER))?);
        bytes.extend([0, 0]);
        bytes.extend(index.to_ne_bytes());
        if let Some(gateway) = gateway {
            bytes.extend(short(attribute)?);
            bytes.extend(GATEWAY.to_ne_bytes());
            bytes.extend(gateway);
        }
    }
    Ok(bytes)
}

fn short(length: usize) -> Result<[u8; 2], BuildError> {
    let length = u16::try_from(length).map_err(BuildError::of)?;
    Ok(length.to_ne_bytes())
}
