//! Routes, read and written so that a [`SnapshotRoute`] comes back as it was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{RtAddrFamily, RtScope, RtTable, Rta, Rtm, RtmF, Rtn, Rtprot};
use neli::rtnl::{Rtmsg, RtmsgBuilder};
use network_driver_common::model::{RouteOptions, SnapshotRoute};

use crate::address::{family_of, octets};
use crate::error::{BuildError, Malformed};
use crate::message::{self, INET, INET6, after, number, u8_at, u16_at, u32_at};
use crate::request::{Attributes, Request};

/// Size of `struct rtmsg`.
const HEADER: usize = 12;
/// Size of `struct rtnexthop`.
const NEXT_HOP: usize = 8;
/// Most next hops kept of a route, against a table without end.
const MAX_NEXT_HOPS: usize = 256;
/// Most bytes kept of `RTA_METRICS`: twice what all of Linux 6.18 take.
const MAX_METRICS: usize = 320;
/// Where `rta_expires` stands in `struct rta_cacheinfo`.
const EXPIRES: usize = 8;
/// `RTNH_F_ONLINK`: the gateway is on the link, whatever the addresses say.
const ONLINK: u32 = 4;

/// Numbers of the attributes of a route (linux/rtnetlink.h). neli lacks some of them on musl.
pub(crate) mod rta {
    pub(crate) const DST: u16 = 1;
    pub(crate) const SRC: u16 = 2;
    pub(crate) const OIF: u16 = 4;
    pub(crate) const GATEWAY: u16 = 5;
    pub(crate) const PRIORITY: u16 = 6;
    pub(crate) const PREFSRC: u16 = 7;
    pub(crate) const METRICS: u16 = 8;
    pub(crate) const MULTIPATH: u16 = 9;
    pub(crate) const FLOW: u16 = 11;
    pub(crate) const CACHEINFO: u16 = 12;
    pub(crate) const TABLE: u16 = 15;
    pub(crate) const VIA: u16 = 18;
    pub(crate) const PREF: u16 = 20;
    pub(crate) const ENCAP_TYPE: u16 = 21;
    pub(crate) const ENCAP: u16 = 22;
    pub(crate) const NH_ID: u16 = 30;
}

/// A route (`RTM_NEWROUTE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// `RTA_OIF`: the link it leads over; `None` for one that leads nowhere or over several.
    pub index: Option<u32>,
    /// Links of a route over several (`RTA_MULTIPATH`), at most 256.
    pub next_hops: Vec<u32>,
    /// The route, with all that is needed to make it again. The gateways of a route over several links are not kept.
    pub route: SnapshotRoute,
    /// What the route has that is not kept, for people: `an encapsulation`. With it the route cannot be made again.
    pub unkept: Option<&'static str>,
}

impl RouteEntry {
    /// Reads the body of an `RTM_NEWROUTE` or `RTM_DELROUTE`; `None` for a family other than IPv4 and IPv6.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let header = Malformed("a route message is cut off");
        let byte = |offset| u8_at(body, offset).ok_or(header);
        let family = byte(0)?;
        let flags = u32_at(body, 8).ok_or(header)?;
        let everywhere = match family {
            INET => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            INET6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            _ => return Ok(None),
        };
        let mut parts = Parts {
            table: byte(4)?.into(),
            destination: everywhere,
            ..Parts::default_of(everywhere)
        };
        for attribute in message::Attributes::behind(body, HEADER)? {
            let (kind, value) = attribute?;
            parts.take(family, kind, value)?;
        }
        if byte(2)? != 0 {
            parts.unkept = Some("a source prefix");
        }
        let destination = IpNet::new(parts.destination, byte(1)?)
            .map_err(|_| Malformed("a prefix is too long"))?;
        Ok(Some(Self {
            index: parts.index,
            next_hops: parts.next_hops,
            route: SnapshotRoute {
                destination,
                gateway: parts.gateway,
                preferred_source: parts.preferred_source,
                table: parts.table,
                protocol: byte(5)?,
                scope: byte(6)?,
                kind: byte(7)?,
                metric: parts.metric,
                onlink: flags & ONLINK != 0,
                options: RouteOptions {
                    tos: byte(3)?,
                    ..parts.options
                },
            },
            unkept: parts.unkept,
        }))
    }
}

/// What the attributes say, as far as they have been read.
struct Parts {
    destination: IpAddr,
    index: Option<u32>,
    next_hops: Vec<u32>,
    gateway: Option<IpAddr>,
    preferred_source: Option<IpAddr>,
    table: u32,
    metric: u32,
    options: RouteOptions,
    unkept: Option<&'static str>,
}

impl Parts {
    fn default_of(destination: IpAddr) -> Self {
        Self {
            destination,
            index: None,
            next_hops: Vec::new(),
            gateway: None,
            preferred_source: None,
            table: 0,
            metric: 0,
            options: RouteOptions::default(),
            unkept: None,
        }
    }

    fn take(&mut self, family: u8, kind: u16, value: &[u8]) -> Result<(), Malformed> {
        match kind {
            rta::DST => self.destination = message::address(family, value)?,
            rta::OIF => self.index = Some(number(value)?),
            rta::GATEWAY => self.gateway = Some(message::address(family, value)?),
            rta::VIA => match via(value)? {
                Some(gateway) => self.gateway = Some(gateway),
                None => self.unkept = Some("a gateway of another kind than IP"),
            },
            rta::PREFSRC => self.preferred_source = Some(message::address(family, value)?),
            rta::TABLE => self.table = number(value)?,
            rta::PRIORITY => self.metric = number(value)?,
            rta::MULTIPATH => self.next_hops = next_hops(value)?,
            rta::FLOW => self.options.realms = number(value)?,
            rta::PREF => self.options.preference = u8_at(value, 0).unwrap_or_default(),
            rta::METRICS if value.len() <= MAX_METRICS => self.options.metrics = value.to_vec(),
            rta::CACHEINFO if u32_at(value, EXPIRES).unwrap_or_default() == 0 => {}
            rta::CACHEINFO => self.unkept = Some("an end of its time"),
            rta::SRC => self.unkept = Some("a source prefix"),
            rta::ENCAP_TYPE | rta::ENCAP => self.unkept = Some("an encapsulation"),
            rta::NH_ID => self.unkept = Some("a nexthop object"),
            _ => self.unkept = Some("an attribute that this driver does not know"),
        }
        Ok(())
    }
}

/// Reads a `struct rtvia`: a gateway of another family than the route's.
fn via(value: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let cut_off = Malformed("a gateway is cut off");
    let family = u16_at(value, 0).ok_or(cut_off)?;
    match u8::try_from(family) {
        Ok(family @ (INET | INET6)) => {
            let address = value.get(2..).ok_or(cut_off)?;
            message::address(family, address).map(Some)
        }
        _ => Ok(None),
    }
}

/// Reads the links of a list of `struct rtnexthop`.
fn next_hops(mut value: &[u8]) -> Result<Vec<u32>, Malformed> {
    let cut_off = Malformed("a next hop is cut off");
    let mut links = Vec::new();
    while !value.is_empty() && links.len() < MAX_NEXT_HOPS {
        let length = usize::from(u16_at(value, 0).ok_or(cut_off)?);
        if length < NEXT_HOP || length > value.len() {
            return Err(cut_off);
        }
        links.push(u32_at(value, 4).ok_or(cut_off)?);
        value = after(value, length);
    }
    Ok(links)
}

/// Asks for the routes of a family, of all tables; only those over one link, if `index` names one.
pub(crate) fn dump(family: u8, index: Option<u32>) -> Result<Request, BuildError> {
    let attributes = Attributes::new().maybe(index, |list, index| list.number(rta::OIF, index))?;
    Request::dump(
        "list routes",
        Rtm::Getroute,
        blank(family)
            .rtattrs(attributes.finish())
            .build()
            .map_err(BuildError::of)?,
    )
}

/// Asks which route a packet would take.
pub(crate) fn lookup(destination: IpAddr) -> Result<Request, BuildError> {
    let bytes = octets(destination);
    let attributes = Attributes::new().bytes(rta::DST, &bytes)?;
    let body = blank(family_of(destination))
        .rtm_dst_len(IpNet::from(destination).prefix_len())
        .rtattrs(attributes.finish())
        .build()
        .map_err(BuildError::of)?;
    Request::single("look up a route", Rtm::Getroute, body)
}

pub(crate) fn add(index: u32, route: &SnapshotRoute) -> Result<Request, BuildError> {
    // Without EXCL, so that EEXIST means this very route, next hop and all.
    let flags = NlmF::CREATE | NlmF::APPEND;
    Request::change("add a route", Rtm::Newroute, flags, body(index, route)?)
}

pub(crate) fn delete(index: u32, route: &SnapshotRoute) -> Result<Request, BuildError> {
    Request::change(
        "delete a route",
        Rtm::Delroute,
        NlmF::empty(),
        body(index, route)?,
    )
}

fn body(index: u32, route: &SnapshotRoute) -> Result<Rtmsg, BuildError> {
    let SnapshotRoute {
        destination,
        gateway,
        preferred_source,
        table,
        protocol,
        scope,
        kind,
        metric,
        onlink,
        options,
    } = route;
    let RouteOptions {
        tos,
        realms,
        preference,
        metrics,
    } = options;
    let family = family_of(destination.addr());
    let attributes = Attributes::new()
        .bytes(rta::DST, &octets(destination.network()))?
        .number(rta::OIF, index)?
        .number(rta::TABLE, *table)?
        .number(rta::PRIORITY, *metric)?
        .maybe(*gateway, |list, gateway| add_gateway(list, family, gateway))?
        .maybe(*preferred_source, |list, source| {
            list.bytes(rta::PREFSRC, &octets(source))
        })?
        .maybe((*realms != 0).then_some(*realms), |list, realms| {
            list.number(rta::FLOW, realms)
        })?
        .maybe((*preference != 0).then_some(*preference), |list, value| {
            list.bytes(rta::PREF, &[value])
        })?
        .maybe((!metrics.is_empty()).then_some(metrics), |list, metrics| {
            list.bytes(rta::METRICS, metrics)
        })?;
    let flags = if *onlink { ONLINK } else { 0 };
    blank(family)
        .rtm_dst_len(destination.prefix_len())
        .rtm_tos(*tos)
        .rtm_protocol(Rtprot::from(*protocol))
        .rtm_scope(RtScope::from(*scope))
        .rtm_type(Rtn::from(*kind))
        .rtm_flags(RtmF::from_bits_retain(flags))
        .rtattrs(attributes.finish())
        .build()
        .map_err(BuildError::of)
}

fn add_gateway(
    list: Attributes<Rta>,
    family: u8,
    gateway: IpAddr,
) -> Result<Attributes<Rta>, BuildError> {
    if family_of(gateway) == family {
        return list.bytes(rta::GATEWAY, &octets(gateway));
    }
    let family = u16::from(family_of(gateway)).to_ne_bytes();
    list.bytes(rta::VIA, &[&family[..], &octets(gateway)].concat())
}

/// A message that leaves everything open.
pub(crate) fn blank(family: u8) -> RtmsgBuilder {
    RtmsgBuilder::default()
        .rtm_family(RtAddrFamily::from(family))
        .rtm_dst_len(0)
        .rtm_src_len(0)
        .rtm_tos(0)
        .rtm_table(RtTable::from(0))
        .rtm_protocol(Rtprot::from(0))
        .rtm_scope(RtScope::from(0))
        .rtm_type(Rtn::from(0))
        .rtm_flags(RtmF::empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Messages;
    use crate::recorded;

    fn recorded_route(destination: &str) -> RouteEntry {
        let bytes = recorded::bytes(recorded::ROUTES);
        let wanted = destination.parse::<IpNet>().unwrap();
        let messages = recorded::messages(&bytes).into_iter();
        messages
            .map(|message| RouteEntry::parse(message.body).unwrap().unwrap())
            .find(|entry| entry.route.destination == wanted)
            .unwrap()
    }

    #[test]
    fn recorded_routes_are_read_with_all_that_is_said_of_them() {
        let plain = recorded_route("203.0.113.0/24");
        assert_eq!((plain.index, plain.next_hops), (Some(4), vec![]));
        assert_eq!(plain.route.gateway, "192.0.2.254".parse().ok());
        assert_eq!(plain.route.preferred_source, "192.0.2.1".parse().ok());
        assert_eq!((plain.route.metric, plain.route.protocol), (7, 4));
        assert_eq!(
            (plain.route.table, plain.route.kind, plain.route.scope),
            (254, 1, 0)
        );
        assert!(!plain.route.onlink);
        assert_eq!((plain.route.options, plain.unkept), Default::default());

        let elsewhere = recorded_route("203.0.113.128/25");
        assert_eq!(elsewhere.route.table, 1000);
        assert!(elsewhere.route.onlink);

        let default = recorded_route("::/0");
        assert_eq!(default.route.gateway, "2001:db8::9".parse().ok());
        assert_eq!((default.index, default.route.metric), (Some(4), 5));
    }

    #[test]
    fn what_a_route_has_that_is_not_kept_is_told() {
        let with = |kind: u16, value: &[u8]| {
            let mut body = vec![INET, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
            body.extend([8, 0, 1, 0, 192, 0, 2, 0, 8, 0, 4, 0, 4, 0, 0, 0]);
            let length = u16::try_from(value.len()).unwrap().saturating_add(4);
            body.extend(length.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
            RouteEntry::parse(&body).unwrap().unwrap()
        };
        let expires = [&[0; 8][..], &[1, 0, 0, 0], &[0; 20]].concat();
        let cases = [
            (rta::PRIORITY, &[1, 0, 0, 0][..], None),
            (rta::CACHEINFO, &[0; 32], None),
            (rta::CACHEINFO, &expires, Some("an end of its time")),
            (rta::ENCAP, &[0; 4], Some("an encapsulation")),
            (rta::NH_ID, &[7, 0, 0, 0], Some("a nexthop object")),
            (
                rta::VIA,
                &[28, 0, 1, 2],
                Some("a gateway of another kind than IP"),
            ),
            (
                rta::METRICS,
                &[0; MAX_METRICS + 4],
                Some("an attribute that this driver does not know"),
            ),
            (99, &[], Some("an attribute that this driver does not know")),
        ];
        for (kind, value, unkept) in cases {
            assert_eq!(with(kind, value).unkept, unkept, "attribute {kind}");
        }
        let mut sourced = vec![INET6, 48, 64, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        assert!(
            RouteEntry::parse(&sourced)
                .unwrap()
                .unwrap()
                .unkept
                .is_some()
        );
        sourced[2] = 0;
        assert_eq!(RouteEntry::parse(&sourced).unwrap().unwrap().unkept, None);
    }

    #[test]
    fn a_route_over_several_links_names_them_all() {
        let wide = recorded_route("10.0.0.0/8");
        assert_eq!((wide.index, wide.next_hops), (None, vec![4, 4]));
        assert_eq!(wide.route.gateway, None);
    }

    #[test]
    fn a_gateway_may_be_of_another_family_and_a_route_may_lead_nowhere() {
        let mixed = recorded_route("10.1.0.0/16");
        assert_eq!(mixed.route.gateway, "2001:db8::9".parse().ok());
        let nowhere = recorded_route("10.2.0.0/16");
        assert_eq!((nowhere.index, nowhere.route.kind), (None, 6));
    }

    #[test]
    fn next_hops_that_cannot_be_are_refused_and_their_number_is_bounded() {
        for bad in [
            &[4, 0, 0, 0][..],
            &[7, 0, 0, 0, 1, 0, 0, 0],
            &[12, 0, 0, 0, 1, 0, 0, 0],
        ] {
            assert!(next_hops(bad).is_err(), "{bad:?}");
        }
        let many = [8, 0, 0, 0, 1, 0, 0, 0].repeat(1000);
        assert_eq!(next_hops(&many).unwrap().len(), MAX_NEXT_HOPS);
        assert!(RouteEntry::parse(&[INET; HEADER - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_a_route_panic(bytes in recorded::damaged()) {
            let bodies = Messages::new(&bytes).flatten().map(|message| message.body);
            for body in bodies.chain([&bytes[..]]) {
                if let Ok(Some(found)) = RouteEntry::parse(body) {
                    prop_assert!(found.next_hops.len() <= body.len() / NEXT_HOP);
                }
            }
        }
    }
}
