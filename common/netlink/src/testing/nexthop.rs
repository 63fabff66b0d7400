//! Nexthop objects, which routing daemons share among routes.

use std::net::IpAddr;

use neli::consts::nl::NlmF;
use neli::types::Buffer;

use super::{Namespace, TestingError, attribute};
use crate::address::{family_of, octets};
use crate::error::BuildError;
use crate::request::Request;

/// `RTM_NEWNEXTHOP` (linux/rtnetlink.h), which neli does not know.
const NEW_NEXTHOP: u16 = 104;
/// `NHA_ID`, `NHA_GROUP`, `NHA_OIF` and `NHA_GATEWAY` (linux/nexthop.h).
const ID: u16 = 1;
const GROUP: u16 = 2;
const OIF: u16 = 5;
const GATEWAY: u16 = 6;
/// `RTPROT_STATIC`.
const STATIC: u8 = 4;

impl Namespace {
    /// Makes a nexthop object of a link and a gateway; one of that number is replaced.
    pub fn set_nexthop(&self, id: u32, link: &str, gateway: IpAddr) -> Result<(), TestingError> {
        let index = self.link(link)?.index.to_ne_bytes();
        let attributes = [(OIF, &index[..]), (GATEWAY, &octets(gateway))];
        self.put_nexthop(family_of(gateway), id, &attributes)
    }

    /// Makes a nexthop object of others, of equal weight.
    pub fn set_nexthop_group(&self, id: u32, of: &[u32]) -> Result<(), TestingError> {
        // `struct nexthop_grp`: number, weight less one, and three bytes of nothing.
        let entries = of.iter().flat_map(|id| [id.to_ne_bytes(), [0; 4]]);
        let entries: Vec<u8> = entries.flatten().collect();
        self.put_nexthop(0, id, &[(GROUP, &entries)])
    }

    fn put_nexthop(
        &self,
        family: u8,
        id: u32,
        attributes: &[(u16, &[u8])],
    ) -> Result<(), TestingError> {
        let request = || -> Result<Request, BuildError> {
            // `struct nhmsg`: family, scope, protocol, a reserved byte and flags.
            let mut body = vec![family, 0, STATIC, 0, 0, 0, 0, 0];
            let id = id.to_ne_bytes();
            for (kind, value) in [(ID, &id[..])].iter().chain(attributes) {
                body.extend(attribute(*kind, value)?);
            }
            let flags = NlmF::CREATE | NlmF::REPLACE;
            let body = Buffer::from(body);
            Request::change("make a nexthop", NEW_NEXTHOP.into(), flags, body)
        };
        Ok(self.socket()?.exchange().change(request())?)
    }
}
