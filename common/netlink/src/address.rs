//! IP addresses of links, read and written so that a [`SnapshotAddress`] comes back as it was.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifa, IfaF, RtAddrFamily, RtScope, Rtm};
use neli::rtnl::{Ifaddrmsg, IfaddrmsgBuilder};
use network_driver_common::model::SnapshotAddress;

use crate::error::{BuildError, Malformed};
use crate::message::{self, INET, INET6, number, u8_at, u32_at, until_nul};
use crate::request::{Attributes, Request};

/// Size of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// Numbers of the attributes of an address (linux/if_addr.h).
mod ifa {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const LABEL: u16 = 3;
    pub(super) const BROADCAST: u16 = 4;
    pub(super) const CACHEINFO: u16 = 6;
    pub(super) const FLAGS: u16 = 8;
    pub(super) const RT_PRIORITY: u16 = 9;
    pub(super) const PROTO: u16 = 11;
}

/// Who made an address (`IFA_PROTO`, linux/if_addr.h; kernels from 5.18 say so).
pub mod protocol {
    /// Nobody said so, or the kernel does not know this.
    pub const UNSPECIFIED: u8 = 0;
    /// The kernel, for the loopback link.
    pub const KERNEL_LOOPBACK: u8 = 1;
    /// The kernel, on a router's advice.
    pub const KERNEL_ROUTER: u8 = 2;
    /// The kernel, as the link-local address of a link that is up.
    pub const KERNEL_LINK_LOCAL: u8 = 3;
}

/// Flags of an address that are asked about here (`IFA_F_*`, linux/if_addr.h).
const TEMPORARY: u32 = 0x01;
const TENTATIVE: u32 = 0x40;
const PERMANENT: u32 = 0x80;
const MANAGE_TEMPORARY: u32 = 0x100;

/// An address of a link (`RTM_NEWADDR`).
///
/// The label is as the kernel gives it, hence for IPv4 the link's name if nobody chose one:
/// [`Address::forget_label`] takes that away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whose address it is.
    pub index: u32,
    /// The address, with all that is needed to make it again. Its protocol is one of [`protocol`] or what someone set.
    pub address: SnapshotAddress,
}

impl Address {
    /// Whether the kernel made it by itself and will again: the link-local address of a link that is up, the loopback's,
    /// and what a router's advertisement brought. Kernels before 5.18 do not say, nor does any of 127.0.0.1: that is
    /// told by the form.
    pub fn kernel_made(&self) -> bool {
        let of_kernel = protocol::KERNEL_LOOPBACK..=protocol::KERNEL_LINK_LOCAL;
        if of_kernel.contains(&self.address.protocol) {
            return true;
        }
        let SnapshotAddress {
            address,
            flags,
            valid_lifetime,
            ..
        } = &self.address;
        let net = match address {
            IpNet::V4(net) => return net.addr() == Ipv4Addr::LOCALHOST && net.prefix_len() == 8,
            IpNet::V6(net) => net,
        };
        let advertised = flags & TEMPORARY != 0
            || (flags & MANAGE_TEMPORARY != 0 && *valid_lifetime != u32::MAX);
        let from_mac = matches!(net.addr().octets(), [.., 0xff, 0xfe, _, _, _]);
        let link_local = net.addr().is_unicast_link_local() && flags & PERMANENT != 0 && from_mac;
        let silent = self.address.protocol == protocol::UNSPECIFIED;
        silent && (advertised || link_local)
    }

    /// Whether the kernel still asks around if another host has it (`IFA_F_TENTATIVE`): it cannot be used yet.
    pub fn tentative(&self) -> bool {
        self.address.flags & TENTATIVE != 0
    }

    /// The address without a label that only repeats the link's name: such a one follows the link through renames.
    pub fn forget_label(mut self, link_name: &[u8]) -> SnapshotAddress {
        if self.address.label == link_name {
            self.address.label.clear();
        }
        self.address
    }

    /// Reads the body of an `RTM_NEWADDR` or `RTM_DELADDR`; `None` for a family other than IPv4 and IPv6.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let header = Malformed("an address message is cut off");
        let family = u8_at(body, 0).ok_or(header)?;
        let prefix = u8_at(body, 1).ok_or(header)?;
        let flags = u8_at(body, 2).ok_or(header)?;
        let scope = u8_at(body, 3).ok_or(header)?;
        let index = u32_at(body, 4).ok_or(header)?;
        if !matches!(family, INET | INET6) {
            return Ok(None);
        }
        let mut parts = Parts {
            flags: flags.into(),
            preferred_lifetime: u32::MAX,
            valid_lifetime: u32::MAX,
            ..Parts::default()
        };
        for attribute in message::Attributes::behind(body, HEADER)? {
            let (kind, value) = attribute?;
            parts.take(family, kind, value)?;
        }
        let (address, peer) = match (parts.local, parts.address) {
            (Some(local), peer) => (local, peer.filter(|peer| *peer != local)),
            (None, Some(address)) => (address, None),
            (None, None) => return Err(Malformed("an address message names no address")),
        };
        let address = IpNet::new(address, prefix).map_err(|_| Malformed("a prefix is too long"))?;
        Ok(Some(Self {
            index,
            address: SnapshotAddress {
                address,
                peer,
                broadcast: parts.broadcast,
                scope,
                flags: parts.flags,
                label: parts.label,
                preferred_lifetime: parts.preferred_lifetime,
                valid_lifetime: parts.valid_lifetime,
                protocol: parts.protocol,
                metric: parts.metric,
            },
        }))
    }
}

/// What the attributes say, as far as they have been read.
#[derive(Default)]
struct Parts {
    local: Option<IpAddr>,
    address: Option<IpAddr>,
    broadcast: Option<IpAddr>,
    label: Vec<u8>,
    flags: u32,
    preferred_lifetime: u32,
    valid_lifetime: u32,
    protocol: u8,
    metric: u32,
}

impl Parts {
    fn take(&mut self, family: u8, kind: u16, value: &[u8]) -> Result<(), Malformed> {
        match kind {
            ifa::ADDRESS => self.address = Some(message::address(family, value)?),
            ifa::LOCAL => self.local = Some(message::address(family, value)?),
            ifa::BROADCAST => self.broadcast = Some(message::address(family, value)?),
            ifa::LABEL => self.label = until_nul(value).to_vec(),
            ifa::RT_PRIORITY => self.metric = number(value)?,
            ifa::FLAGS => self.flags = number(value)?,
            ifa::PROTO => self.protocol = u8_at(value, 0).unwrap_or_default(),
            ifa::CACHEINFO => {
                let cut_off = Malformed("lifetimes are cut off");
                self.preferred_lifetime = u32_at(value, 0).ok_or(cut_off)?;
                self.valid_lifetime = u32_at(value, 4).ok_or(cut_off)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Asks for the addresses of a family; of one link only, if `index` names one.
pub(crate) fn dump(family: u8, index: Option<u32>) -> Result<Request, BuildError> {
    let body = body(family, 0, 0, index.unwrap_or(0), Attributes::new())?;
    Request::dump("list addresses", Rtm::Getaddr, body)
}

/// Adds an address, or brings the lifetimes of the same address up to date.
pub(crate) fn add(index: u32, address: &SnapshotAddress) -> Result<Request, BuildError> {
    let SnapshotAddress {
        address,
        peer,
        broadcast,
        scope,
        flags,
        label,
        preferred_lifetime,
        valid_lifetime,
        protocol,
        metric,
    } = address;
    let lifetimes = [*preferred_lifetime, *valid_lifetime, 0, 0].map(u32::to_ne_bytes);
    let label = (!label.is_empty()).then_some(label);
    let attributes = Attributes::new()
        .bytes(ifa::LOCAL, &octets(address.addr()))?
        .bytes(ifa::ADDRESS, &octets(peer.unwrap_or(address.addr())))?
        .maybe(*broadcast, |list, address| {
            list.bytes(ifa::BROADCAST, &octets(address))
        })?
        .maybe(label, |list, label| list.text(ifa::LABEL, label))?
        .number(ifa::FLAGS, *flags)?
        .bytes(ifa::CACHEINFO, lifetimes.as_flattened())?
        .maybe((*metric != 0).then_some(*metric), |list, metric| {
            list.number(ifa::RT_PRIORITY, metric)
        })?
        .maybe((*protocol != 0).then_some(*protocol), |list, protocol| {
            list.bytes(ifa::PROTO, &[protocol])
        })?;
    let body = body(
        family_of(address.addr()),
        address.prefix_len(),
        *scope,
        index,
        attributes,
    )?;
    let flags = NlmF::CREATE | NlmF::REPLACE;
    Request::change("add an address", Rtm::Newaddr, flags, body)
}

pub(crate) fn delete(index: u32, address: &IpNet) -> Result<Request, BuildError> {
    let bytes = octets(address.addr());
    let attributes = Attributes::new()
        .bytes(ifa::LOCAL, &bytes)?
        .bytes(ifa::ADDRESS, &bytes)?;
    let body = body(
        family_of(address.addr()),
        address.prefix_len(),
        0,
        index,
        attributes,
    )?;
    Request::change("delete an address", Rtm::Deladdr, NlmF::empty(), body)
}

fn body(
    family: u8,
    prefix: u8,
    scope: u8,
    index: u32,
    attributes: Attributes<Ifa>,
) -> Result<Ifaddrmsg, BuildError> {
    IfaddrmsgBuilder::default()
        .ifa_family(RtAddrFamily::from(family))
        .ifa_prefixlen(prefix)
        .ifa_flags(IfaF::empty())
        .ifa_scope(RtScope::from(scope))
        .ifa_index(index)
        .rtattrs(attributes.finish())
        .build()
        .map_err(BuildError::of)
}

/// `AF_INET` or `AF_INET6`.
pub(crate) fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

/// The bytes of an address, as attributes carry them.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Messages;
    use crate::recorded;

    fn recorded_addresses() -> Vec<Address> {
        let bytes = recorded::bytes(recorded::ADDRESSES);
        let messages = recorded::messages(&bytes).into_iter();
        let read = |message: message::Message<'_>| Address::parse(message.body);
        messages
            .map(|message| read(message).unwrap().unwrap())
            .collect()
    }

    fn one<'a>(all: &'a [Address], address: &str) -> &'a Address {
        let wanted = address.parse::<IpNet>().unwrap();
        all.iter()
            .find(|one| one.address.address == wanted)
            .unwrap()
    }

    #[test]
    fn recorded_addresses_are_read_with_all_that_is_said_of_them() {
        let all = recorded_addresses();
        assert_eq!(all.len(), 10);

        let labelled = one(&all, "192.0.2.1/24");
        assert_eq!(labelled.address.label, b"nic0:a");
        assert_eq!(labelled.address.broadcast, "192.0.2.255".parse().ok());
        assert_eq!(labelled.address.peer, None);
        assert_eq!(labelled.address.flags, PERMANENT);
        assert_eq!(labelled.address.valid_lifetime, u32::MAX);
        assert!(!labelled.kernel_made());

        let pointed = one(&all, "198.51.100.1/32");
        assert_eq!(pointed.address.peer, "198.51.100.2".parse().ok());
        assert!((1..=600).contains(&pointed.address.valid_lifetime));
        assert!((1..=300).contains(&pointed.address.preferred_lifetime));
        assert_eq!(pointed.clone().forget_label(b"nic0").label, b"");
        assert_eq!(pointed.clone().forget_label(b"nic").label, b"nic0");

        let six = one(&all, "2001:db8::5/128");
        assert_eq!(six.address.peer, "2001:db8::6".parse().ok());
        assert_eq!(six.address.flags, PERMANENT | 0x02);
    }

    #[test]
    fn the_kernels_own_addresses_are_told_apart() {
        let all = recorded_addresses();
        let own = one(&all, "fe80::ff:fe00:2/64");
        assert_eq!(own.address.protocol, protocol::KERNEL_LINK_LOCAL);
        assert!(own.kernel_made() && !own.tentative());
        let fresh = one(&all, "fe80::ff:fe00:1/64");
        assert!(fresh.kernel_made() && fresh.tentative());
        assert_eq!(
            one(&all, "::1/128").address.protocol,
            protocol::KERNEL_LOOPBACK
        );
        assert!(!one(&all, "2001:db8::1/64").kernel_made());

        let mut silent = own.clone();
        silent.address.protocol = protocol::UNSPECIFIED; // as before Linux 5.18
        assert!(silent.kernel_made());
        silent.address.address = "fe80::1/64".parse().unwrap();
        assert!(!silent.kernel_made());
        silent.address.address = "2001:db8::1/64".parse().unwrap();
        silent.address.flags = MANAGE_TEMPORARY;
        silent.address.valid_lifetime = 600;
        assert!(silent.kernel_made());
    }

    #[test]
    fn an_address_of_another_family_or_without_an_address_is_none() {
        assert_eq!(Address::parse(&[17, 0, 0, 0, 1, 0, 0, 0]).unwrap(), None);
        let cases = [
            ("no address", vec![INET, 24, 0, 0, 1, 0, 0, 0]),
            ("no header", vec![INET, 24, 0, 0, 1, 0, 0]),
            (
                "long prefix",
                vec![INET, 33, 0, 0, 1, 0, 0, 0, 8, 0, 1, 0, 1, 1, 1, 1],
            ),
            (
                "short address",
                vec![INET6, 64, 0, 0, 1, 0, 0, 0, 8, 0, 1, 0, 1, 1, 1, 1],
            ),
        ];
        for (what, body) in cases {
            assert!(Address::parse(&body).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_an_address_panic(bytes in recorded::damaged()) {
            let bodies = Messages::new(&bytes).flatten().map(|message| message.body);
            for body in bodies.chain([&bytes[..]]) {
                if let Ok(Some(found)) = Address::parse(body) {
                    prop_assert!(found.address.label.len() <= body.len());
                }
            }
        }
    }
}
