//! Routes that lead not over one link but over several, over a nexthop object, or nowhere: to see what is made of them.

use std::net::IpAddr;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Rta, Rtm, Rtn, Rtprot};
use network_driver_common::model::SnapshotRoute;

use super::{Namespace, TestingError, attribute, short};
use crate::address::{family_of, octets};
use crate::error::BuildError;
use crate::request::{Attributes, Request};
use crate::route::{self, rta};

/// Size of `struct rtnexthop`.
const HOP_HEADER: usize = 8;

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
        .bytes(rta::DST, &octets(route.destination.network()))?
        .number(rta::TABLE, route.table)?
        .number(rta::PRIORITY, route.metric)?;
    let attributes = match way {
        Way::Nowhere => attributes,
        Way::Hops(hops) => attributes.bytes(rta::MULTIPATH, &multipath(hops)?)?,
        Way::Object(id) => attributes.number(rta::NH_ID, *id)?,
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
        let gateway = gateway.map(|gateway| attribute(rta::GATEWAY, &octets(gateway)));
        let gateway = gateway.transpose()?.unwrap_or_default();
        let length = gateway.len().saturating_add(HOP_HEADER);
        bytes.extend(short(length)?);
        bytes.extend([0, 0]);
        bytes.extend(index.to_ne_bytes());
        bytes.extend(gateway);
    }
    Ok(bytes)
}
