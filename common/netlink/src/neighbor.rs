//! Neighbours of links, read and written so that a [`SnapshotNeighbor`] comes back as it was.

use std::net::IpAddr;

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Nda, Ntf, Nud, RtAddrFamily, Rtm, Rtn};
use neli::rtnl::{Ndmsg, NdmsgBuilder};
use network_driver_common::model::{HardwareAddress, SnapshotNeighbor};

use crate::address::{family_of, octets};
use crate::error::{BuildError, Malformed};
use crate::message::{self, INET, INET6, u8_at, u16_at, u32_at};
use crate::request::{Attributes, Request};

/// Size of `struct ndmsg`.
const HEADER: usize = 12;
/// `NUD_PERMANENT` (linux/neighbour.h): someone set it, and it does not age.
const PERMANENT: u16 = 0x80;

/// Numbers of the attributes of a neighbour (linux/neighbour.h).
mod nda {
    pub(super) const DST: u16 = 1;
    pub(super) const LLADDR: u16 = 2;
    pub(super) const IFINDEX: u16 = 8;
    pub(super) const PROTOCOL: u16 = 12;
}

/// A neighbour of a link (`RTM_NEWNEIGH`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    /// Whose neighbour it is.
    pub index: u32,
    /// `NUD_*`.
    pub state: u16,
    /// The neighbour, with all that is needed to make it again if it is permanent.
    pub neighbor: SnapshotNeighbor,
}

impl Neighbor {
    /// Whether someone set it for good; all others are found anew when they are needed.
    pub fn permanent(&self) -> bool {
        self.state & PERMANENT != 0
    }

    /// Reads the body of an `RTM_NEWNEIGH` or `RTM_DELNEIGH`; `None` for a family other than IPv4 and IPv6, such as the
    /// entries of bridges.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let header = Malformed("a neighbour message is cut off");
        let family = u8_at(body, 0).ok_or(header)?;
        let index = u32_at(body, 4).ok_or(header)?;
        let state = u16_at(body, 8).ok_or(header)?;
        let flags = u8_at(body, 10).ok_or(header)?;
        if !matches!(family, INET | INET6) {
            return Ok(None);
        }
        let mut address = None;
        let mut hardware_address = HardwareAddress::default();
        let mut protocol = 0;
        for attribute in message::Attributes::behind(body, HEADER)? {
            match attribute? {
                (nda::DST, value) => address = Some(message::address(family, value)?),
                (nda::LLADDR, value) => {
                    hardware_address = HardwareAddress::try_from(value)
                        .map_err(|_| Malformed("a hardware address is too long"))?;
                }
                (nda::PROTOCOL, value) => protocol = u8_at(value, 0).unwrap_or_default(),
                _ => {}
            }
        }
        let address = address.ok_or(Malformed("a neighbour message names no address"))?;
        Ok(Some(Self {
            index,
            state,
            neighbor: SnapshotNeighbor {
                address,
                hardware_address,
                flags,
                protocol,
            },
        }))
    }
}

/// Asks for the neighbours of both families; of one link only, if `index` names one.
pub(crate) fn dump(index: Option<u32>) -> Result<Request, BuildError> {
    let attributes =
        Attributes::new().maybe(index, |list, index| list.number(nda::IFINDEX, index))?;
    let body = body(0, 0, 0, 0, attributes)?;
    Request::dump("list neighbours", Rtm::Getneigh, body)
}

/// Adds a permanent neighbour, or makes the one of that address like it.
pub(crate) fn add(index: u32, neighbor: &SnapshotNeighbor) -> Result<Request, BuildError> {
    let SnapshotNeighbor {
        address,
        hardware_address,
        flags,
        protocol,
    } = neighbor;
    let bytes = hardware_address.as_bytes();
    let attributes = Attributes::new()
        .bytes(nda::DST, &octets(*address))?
        .maybe((!bytes.is_empty()).then_some(bytes), |list, bytes| {
            list.bytes(nda::LLADDR, bytes)
        })?
        .maybe((*protocol != 0).then_some(*protocol), |list, protocol| {
            list.bytes(nda::PROTOCOL, &[protocol])
        })?;
    let body = body(family_of(*address), index, PERMANENT, *flags, attributes)?;
    let flags = NlmF::CREATE | NlmF::REPLACE;
    Request::change("add a neighbour", Rtm::Newneigh, flags, body)
}

pub(crate) fn delete(index: u32, address: IpAddr) -> Result<Request, BuildError> {
    let attributes = Attributes::new().bytes(nda::DST, &octets(address))?;
    let body = body(family_of(address), index, 0, 0, attributes)?;
    Request::change("delete a neighbour", Rtm::Delneigh, NlmF::empty(), body)
}

fn body(
    family: u8,
    index: u32,
    state: u16,
    flags: u8,
    attributes: Attributes<Nda>,
) -> Result<Ndmsg, BuildError> {
    NdmsgBuilder::default()
        .ndm_family(RtAddrFamily::from(family))
        .ndm_index(index.cast_signed())
        .ndm_state(Nud::from_bits_retain(state))
        .ndm_flags(Ntf::from_bits_retain(flags))
        .ndm_type(Rtn::from(0))
        .rtattrs(attributes.finish())
        .build()
        .map_err(BuildError::of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Messages;
    use crate::recorded;

    /// A permanent neighbour as Linux 6.18 describes it: `NDA_DST`, `NDA_LLADDR`, `NDA_PROBES`, `NDA_PROTOCOL`.
    fn described(family: u8) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0, 4, 0, 0, 0, 0x80, 0, 0x90, 1];
        body.extend([8, 0, 1, 0, 192, 0, 2, 9]);
        body.extend([10, 0, 2, 0, 2, 0, 0, 0, 0, 9, 0, 0]);
        body.extend([8, 0, 4, 0, 0, 0, 0, 0]);
        body.extend([5, 0, 12, 0, 17, 0, 0, 0]);
        body
    }

    #[test]
    fn a_neighbour_is_read_with_all_that_is_said_of_it() {
        let found = Neighbor::parse(&described(INET)).unwrap().unwrap();
        assert!(found.permanent());
        assert_eq!(found.index, 4);
        let wanted = SnapshotNeighbor {
            address: "192.0.2.9".parse().unwrap(),
            hardware_address: "02:00:00:00:00:09".parse().unwrap(),
            flags: 0x90,
            protocol: 17,
        };
        assert_eq!(found.neighbor, wanted);
        let mut stale = described(INET);
        stale[8] = 0x04;
        assert!(!Neighbor::parse(&stale).unwrap().unwrap().permanent());
    }

    #[test]
    fn an_entry_of_a_bridge_is_none_and_what_is_cut_off_is_refused() {
        assert_eq!(Neighbor::parse(&described(7)).unwrap(), None);
        assert!(
            Neighbor::parse(&described(INET6)).is_err(),
            "a short address"
        );
        let body = described(INET);
        for length in [0, 11, HEADER, 25] {
            let cut = body.get(..length).unwrap();
            assert!(Neighbor::parse(cut).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_a_neighbour_panic(bytes in recorded::damaged()) {
            let bodies = Messages::new(&bytes).flatten().map(|message| message.body);
            for body in bodies.chain([&bytes[..]]) {
                if let Ok(Some(found)) = Neighbor::parse(body) {
                    let length = found.neighbor.hardware_address.as_bytes().len();
                    prop_assert!(length <= body.len());
                }
            }
        }
    }
}
