//! Writes what is asked of links.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Arphrd, Iff, Ifla, RtAddrFamily, Rtm};
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder};
use network_driver_common::model::{HardwareAddress, IfName, LinkParameter, SettableFlags};

use super::{attribute as ifla, parameter};
use crate::error::BuildError;
use crate::netns::Netns;
use crate::request::{Attributes, Request};

/// `RTEXT_FILTER_SKIP_STATS`: leave out the counters. We never ask for VFs: that goes to the driver.
const SKIP_STATS: u32 = 8;
/// `RTM_NEWLINKPROP` and `RTM_DELLINKPROP`, which neli does not know.
const NEW_PROPERTY: u16 = 108;
const DELETE_PROPERTY: u16 = 109;

/// What is to be different about a link; the default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkChange {
    /// New name. Kernels before 6.2 refuse it (EBUSY) while the link is up.
    pub name: Option<IfName>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Hardware address. Some drivers refuse it while the link is up.
    pub hardware_address: Option<HardwareAddress>,
    /// Switch it on or off.
    pub up: Option<bool>,
    /// Alias, at most 255 bytes; empty takes it away.
    pub alias: Option<Vec<u8>>,
    /// Index of the master to join; 0 to leave it.
    pub master: Option<u32>,
    /// All flags that someone sets, but for up.
    pub flags: Option<SettableFlags>,
    /// Numbers, which the kernel takes in its own order.
    pub parameters: BTreeMap<LinkParameter, u32>,
}

/// A link to be made, where it is to be used: much cheaper than to make it elsewhere and move it.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Its name.
    pub name: IfName,
    /// What it is.
    pub kind: LinkKind,
    /// The namespace it is born in; `None` for the socket's. A parent is always one of the socket's.
    pub netns: Option<Netns>,
    /// MTU in bytes; `None` leaves it to the kernel.
    pub mtu: Option<u32>,
    /// Hardware address; `None` for a random one or the parent's.
    pub hardware_address: Option<HardwareAddress>,
    /// Whether it is up from the start.
    pub up: bool,
}

/// Kinds of links that can be made.
#[derive(Debug, Clone)]
pub enum LinkKind {
    /// Swallows what it is given.
    Dummy,
    /// Intermediate functional block.
    Ifb,
    /// Switch.
    Bridge,
    /// Bond.
    Bond,
    /// Routing domain.
    Vrf {
        /// Its routing table, from 1.
        table: u32,
    },
    /// One of a pair.
    Veth {
        /// Name of the other one.
        peer: IfName,
        /// Namespace of the other one; `None` for that of the first.
        peer_netns: Option<Netns>,
        /// Hardware address of the other one; `None` for a random one.
        peer_hardware_address: Option<HardwareAddress>,
    },
    /// Another address on a parent.
    Macvlan {
        /// Index of the parent.
        parent: u32,
        /// Who may talk to whom.
        mode: MacvlanMode,
    },
    /// Another IP endpoint on a parent, under its hardware address (mode L2).
    Ipvlan {
        /// Index of the parent.
        parent: u32,
    },
    /// Tagged traffic of a parent.
    Vlan {
        /// Index of the parent.
        parent: u32,
        /// Tag, 1 to 4094.
        id: u16,
    },
}

/// Who may talk to whom among the macvlans of a parent (`MACVLAN_MODE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MacvlanMode {
    /// Nobody.
    Private,
    /// Over the switch the parent is plugged into.
    Vepa,
    /// One another.
    #[default]
    Bridge,
    /// One that owns the parent.
    Passthru,
}

impl MacvlanMode {
    fn number(self) -> u32 {
        match self {
            Self::Private => 1,
            Self::Vepa => 2,
            Self::Bridge => 4,
            Self::Passthru => 8,
        }
    }
}

impl LinkKind {
    fn name(&self) -> &'static str {
        match self {
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
            Self::Bridge => "bridge",
            Self::Bond => "bond",
            Self::Vrf { .. } => "vrf",
            Self::Veth { .. } => "veth",
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
        }
    }

    fn parent(&self) -> Option<u32> {
        match self {
            Self::Macvlan { parent, .. } | Self::Ipvlan { parent } | Self::Vlan { parent, .. } => {
                Some(*parent)
            }
            Self::Dummy
            | Self::Ifb
            | Self::Bridge
            | Self::Bond
            | Self::Vrf { .. }
            | Self::Veth { .. } => None,
        }
    }

    /// `IFLA_INFO_DATA`.
    fn data(&self) -> Result<Attributes<u16>, BuildError> {
        let data = Attributes::new();
        match self {
            Self::Dummy | Self::Ifb | Self::Bridge | Self::Bond | Self::Ipvlan { .. } => Ok(data),
            Self::Vrf { table } => data.number(ifla::VRF_TABLE, *table),
            Self::Macvlan { mode, .. } => data.number(ifla::MACVLAN_MODE, mode.number()),
            Self::Vlan { id, .. } => data.bytes(ifla::VLAN_ID, &id.to_ne_bytes()),
            Self::Veth {
                peer,
                peer_netns,
                peer_hardware_address,
            } => {
                let inner = Attributes::new()
                    .text(ifla::IFNAME, peer.as_bytes())?
                    .maybe(peer_hardware_address.as_ref(), |list, address| {
                        list.bytes(ifla::ADDRESS, address.as_bytes())
                    })?
                    .maybe(peer_netns.as_ref(), namespace)?;
                data.nest(ifla::VETH_PEER, &[0; super::HEADER], inner)
            }
        }
    }
}

impl NewLink {
    /// A link of the socket's namespace that is down, with all else left to the kernel.
    pub fn new(name: IfName, kind: LinkKind) -> Self {
        Self {
            name,
            kind,
            netns: None,
            mtu: None,
            hardware_address: None,
            up: false,
        }
    }
}

pub(crate) fn dump() -> Result<Request, BuildError> {
    let body = body(
        0,
        Attributes::new().number(ifla::EXT_MASK, SKIP_STATS)?,
        None,
    )?;
    Request::dump("list links", Rtm::Getlink, body)
}

pub(crate) fn by_index(index: u32) -> Result<Request, BuildError> {
    let attributes = Attributes::new().number(ifla::EXT_MASK, SKIP_STATS)?;
    Request::single(
        "look up a link",
        Rtm::Getlink,
        body(index, attributes, None)?,
    )
}

pub(crate) fn by_name(name: &IfName) -> Result<Request, BuildError> {
    let attributes = Attributes::new()
        .number(ifla::EXT_MASK, SKIP_STATS)?
        .text(ifla::IFNAME, name.as_bytes())?;
    Request::single(
        "look up a link by name",
        Rtm::Getlink,
        body(0, attributes, None)?,
    )
}

pub(crate) fn change(index: u32, change: &LinkChange) -> Result<Request, BuildError> {
    let LinkChange {
        name,
        mtu,
        hardware_address,
        up,
        alias,
        master,
        flags,
        parameters,
    } = change;
    let mut attributes = Attributes::new()
        .maybe(name.as_ref(), |list, name| {
            list.text(ifla::IFNAME, name.as_bytes())
        })?
        .maybe(*mtu, |list, mtu| list.number(ifla::MTU, mtu))?
        .maybe(hardware_address.as_ref(), |list, address| {
            list.bytes(ifla::ADDRESS, address.as_bytes())
        })?
        .maybe(alias.as_ref(), |list, alias| {
            list.bytes(ifla::IFALIAS, alias)
        })?
        .maybe(*master, |list, master| list.number(ifla::MASTER, master))?;
    for (parameter, value) in parameters {
        attributes = attributes.number(parameter::attribute(*parameter), *value)?;
    }
    let body = body_with_flags(index, attributes, *up, *flags)?;
    Request::change("change a link", Rtm::Setlink, NlmF::empty(), body)
}

pub(crate) fn move_to(index: u32, to: &Netns, name: &IfName) -> Result<Request, BuildError> {
    let attributes = namespace(Attributes::new(), to)?.text(ifla::IFNAME, name.as_bytes())?;
    let body = body(index, attributes, None)?;
    Request::change("move a link", Rtm::Setlink, NlmF::empty(), body)
}

pub(crate) fn create(link: &NewLink) -> Result<Request, BuildError> {
    let NewLink {
        name,
        kind,
        netns,
        mtu,
        hardware_address,
        up,
    } = link;
    let info = Attributes::new()
        .text(ifla::INFO_KIND, kind.name().as_bytes())?
        .nest(ifla::INFO_DATA, &[], kind.data()?)?;
    let attributes = Attributes::new()
        .text(ifla::IFNAME, name.as_bytes())?
        .maybe(*mtu, |list, mtu| list.number(ifla::MTU, mtu))?
        .maybe(hardware_address.as_ref(), |list, address| {
            list.bytes(ifla::ADDRESS, address.as_bytes())
        })?
        .maybe(kind.parent(), |list, parent| {
            list.number(ifla::LINK, parent)
        })?
        .maybe(netns.as_ref(), namespace)?
        .nest(ifla::LINKINFO, &[], info)?;
    let body = body(0, attributes, up.then_some(true))?;
    let flags = NlmF::CREATE | NlmF::EXCL;
    Request::change("make a link", Rtm::Newlink, flags, body)
}

pub(crate) fn delete(index: u32) -> Result<Request, BuildError> {
    let body = body(index, Attributes::new(), None)?;
    Request::change("delete a link", Rtm::Dellink, NlmF::empty(), body)
}

pub(crate) fn add_altname(index: u32, name: &[u8]) -> Result<Request, BuildError> {
    let flags = NlmF::CREATE | NlmF::EXCL | NlmF::APPEND;
    let body = altname(index, name)?;
    Request::change("add an alternative name", NEW_PROPERTY.into(), flags, body)
}

pub(crate) fn delete_altname(index: u32, name: &[u8]) -> Result<Request, BuildError> {
    let flags = NlmF::empty();
    let body = altname(index, name)?;
    Request::change(
        "delete an alternative name",
        DELETE_PROPERTY.into(),
        flags,
        body,
    )
}

fn altname(index: u32, name: &[u8]) -> Result<Ifinfomsg, BuildError> {
    let names = Attributes::new().text(ifla::ALT_IFNAME, name)?;
    body(
        index,
        Attributes::new().nest(ifla::PROP_LIST, &[], names)?,
        None,
    )
}

fn namespace<T: neli::consts::rtnl::RtaType>(
    list: Attributes<T>,
    netns: &Netns,
) -> Result<Attributes<T>, BuildError> {
    let fd = netns.as_fd().as_raw_fd();
    list.bytes(ifla::NET_NS_FD, &fd.to_ne_bytes())
}

pub(crate) fn body(
    index: u32,
    attributes: Attributes<Ifla>,
    up: Option<bool>,
) -> Result<Ifinfomsg, BuildError> {
    body_with_flags(index, attributes, up, None)
}

fn body_with_flags(
    index: u32,
    attributes: Attributes<Ifla>,
    up: Option<bool>,
    flags: Option<SettableFlags>,
) -> Result<Ifinfomsg, BuildError> {
    let changed = flags.map_or(0, |_| SettableFlags::ALL.bits());
    let flags = flags.map_or(0, SettableFlags::bits);
    let body = IfinfomsgBuilder::default()
        .ifi_family(RtAddrFamily::Unspecified)
        .ifi_type(Arphrd::from(0))
        .ifi_index(index.cast_signed())
        .ifi_flags(Iff::from_bits_truncate(flags))
        .ifi_change(Iff::from_bits_truncate(changed))
        .rtattrs(attributes.finish());
    let body = match up {
        Some(true) => body.up(),
        Some(false) => body.down(),
        None => body,
    };
    body.build().map_err(BuildError::of)
}
