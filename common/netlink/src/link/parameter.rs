//! Which attribute of a link each of its numbers is.

use std::collections::BTreeMap;

use network_driver_common::model::LinkParameter;

use super::attribute as ifla;
use crate::error::Malformed;
use crate::message::number;

/// `IFLA_*` of a number.
pub(super) fn attribute(parameter: LinkParameter) -> u16 {
    match parameter {
        LinkParameter::Group => ifla::GROUP,
        LinkParameter::TxQueueLength => ifla::TXQLEN,
        LinkParameter::GsoMaxSize => ifla::GSO_MAX_SIZE,
        LinkParameter::GsoMaxSegments => ifla::GSO_MAX_SEGS,
        LinkParameter::GroMaxSize => ifla::GRO_MAX_SIZE,
        LinkParameter::GsoIpv4MaxSize => ifla::GSO_IPV4_MAX_SIZE,
        LinkParameter::GroIpv4MaxSize => ifla::GRO_IPV4_MAX_SIZE,
    }
}

/// The numbers of a link, as many as the kernel gives: those for IPv4 are there since Linux 6.3.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parameters([Option<u32>; LinkParameter::ALL.len()]);

impl Parameters {
    /// Keeps what an attribute says, if it is one of them.
    pub(super) fn take(&mut self, kind: u16, value: &[u8]) -> Result<(), Malformed> {
        let of = |parameter: &LinkParameter| attribute(*parameter) == kind;
        let place = LinkParameter::ALL.iter().position(of);
        if let Some(kept) = place.and_then(|place| self.0.get_mut(place)) {
            *kept = Some(number(value)?);
        }
        Ok(())
    }

    /// By what they are.
    pub(super) fn by_name(&self) -> BTreeMap<LinkParameter, u32> {
        let all = LinkParameter::ALL.into_iter().zip(self.0);
        all.filter_map(|(parameter, value)| Some((parameter, value?)))
            .collect()
    }
}
