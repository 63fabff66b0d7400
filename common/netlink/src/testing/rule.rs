//! Routing rules, to try what becomes of those that name a link when it goes and comes back, and where others lead.

use std::net::IpAddr;

use ipnet::IpNet;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Rta, Rtm, Rtn};
use neli::rtnl::RtmsgBuilder;

use super::{Namespace, TestingError};
use crate::address::{family_of, octets};
use crate::error::{BuildError, RequestError};
use crate::message::INET;
use crate::request::{Attributes, Request};
use crate::route::{self, RouteEntry, rta};

/// `FRA_DST`, `FRA_SRC`, `FRA_PRIORITY`, `FRA_TABLE`, `FRA_OIFNAME` and `FR_ACT_TO_TBL` (linux/fib_rules.h).
const DESTINATION: u16 = 1;
const SOURCE: u16 = 2;
const PRIORITY: u16 = 6;
const TABLE: u16 = 15;
const OIFNAME: u16 = 17;
const TO_TABLE: u8 = 1;

/// What traffic a rule is for.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    /// That with a source in a network.
    From(IpNet),
    /// That to a network.
    To(IpNet),
}

impl Namespace {
    /// Has some traffic look into a table first.
    pub fn add_rule_for(&self, whose: Whose, table: u32) -> Result<(), TestingError> {
        let (attribute, network) = match whose {
            Whose::From(network) => (SOURCE, network),
            Whose::To(network) => (DESTINATION, network),
        };
        let body = route::blank(family_of(network.addr()));
        let length = network.prefix_len();
        let body = match whose {
            Whose::From(_) => body.rtm_src_len(length),
            Whose::To(_) => body.rtm_dst_len(length),
        };
        self.put_rule(body, table, attribute, &octets(network.network()))
    }

    /// Has IPv4 traffic that is bound to a link look into a table first.
    pub fn add_rule(&self, link: &str, table: u32) -> Result<(), TestingError> {
        let name = [link.as_bytes(), &[0]].concat();
        self.put_rule(route::blank(INET), table, OIFNAME, &name)
    }

    /// `body` is that of a route: `struct fib_rule_hdr` has its form, with the action where that has the type.
    fn put_rule(
        &self,
        body: RtmsgBuilder,
        table: u32,
        attribute: u16,
        value: &[u8],
    ) -> Result<(), TestingError> {
        let request = || -> Result<Request, BuildError> {
            let attributes: Attributes<Rta> = Attributes::new()
                .number(PRIORITY, 1000)?
                .number(TABLE, table)?
                .bytes(attribute, value)?;
            let body = body.rtm_type(Rtn::from(TO_TABLE));
            let body = body.rtattrs(attributes.finish()).build();
            let flags = NlmF::CREATE | NlmF::EXCL;
            let body = body.map_err(BuildError::of)?;
            Request::change("add a rule", Rtm::Newrule, flags, body)
        };
        Ok(self.socket()?.exchange().change(request())?)
    }

    /// The gateway to `destination` of traffic that is bound to a link; `None` if there is no way.
    pub fn gateway_over(
        &self,
        link: &str,
        destination: IpAddr,
    ) -> Result<Option<IpAddr>, TestingError> {
        let index = self.link(link)?.index;
        let mut gateway = None;
        let mut socket = self.socket()?;
        let found = socket
            .exchange()
            .ask(lookup(index, destination), &mut |message| {
                gateway = RouteEntry::parse(message.body)?.and_then(|entry| entry.route.gateway);
                Ok(())
            });
        match found {
            Ok(()) => Ok(gateway),
            Err(RequestError::Kernel { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn lookup(index: u32, destination: IpAddr) -> Result<Request, BuildError> {
    let attributes = Attributes::new()
        .bytes(rta::DST, &octets(destination))?
        .number(rta::OIF, index)?;
    let body = route::blank(family_of(destination))
        .rtm_dst_len(IpNet::from(destination).prefix_len())
        .rtattrs(attributes.finish())
        .build()
        .map_err(BuildError::of)?;
    Request::single("look up a route over a link", Rtm::Getroute, body)
}
