//! A link as the kernel describes it, and what can be asked for of one.

pub(crate) mod attribute;
mod parameter;
mod port;
pub(crate) mod request;
pub(crate) mod settings;
mod sysctl;

use network_driver_common::model::{HardwareAddress, IfName};

use crate::error::Malformed;
use crate::message::{Attributes, number, text, u8_at, u16_at, u32_at, until_nul};
use attribute as ifla;
pub use request::{LinkChange, LinkKind, MacvlanMode, NewLink};
pub use settings::{LinkSettings, WriteSettingError, check_setting_files, settings_by_name};
pub use sysctl::{InvalidSysctl, Sysctl};

/// Size of `struct ifinfomsg`.
const HEADER: usize = 16;
/// Most alternative names kept of a link, against a table without end.
const MAX_ALTNAMES: usize = 64;

/// A link (`RTM_NEWLINK`; linux/if_link.h names the sources). A fact that the kernel does not give is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1, in its namespace; it may change on a move.
    pub index: u32,
    /// `IFLA_IFNAME`.
    pub name: IfName,
    /// `IFLA_INFO_KIND`: `veth`, `macvlan`, …; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// `IFLA_INFO_SLAVE_KIND`: what kind of master it is under.
    pub slave_kind: Option<String>,
    /// `IFF_*`.
    pub flags: LinkFlags,
    /// `IFLA_MTU` in bytes.
    pub mtu: u32,
    /// `IFLA_MIN_MTU` in bytes.
    pub min_mtu: Option<u32>,
    /// `IFLA_MAX_MTU` in bytes; 0 means no limit.
    pub max_mtu: Option<u32>,
    /// `IFLA_ADDRESS`.
    pub hardware_address: HardwareAddress,
    /// `IFLA_PERM_ADDRESS`: what the hardware was made with, if it has such.
    pub permanent_address: Option<HardwareAddress>,
    /// `IFLA_IFALIAS`; empty for none.
    pub alias: Vec<u8>,
    /// `IFLA_ALT_IFNAME`, in the kernel's order.
    pub altnames: Vec<Vec<u8>>,
    /// `IFLA_MASTER`: the bridge, bond or VRF it is in.
    pub master: Option<u32>,
    /// `IFLA_LINK`: the link it is on (vlan, macvlan) or paired with (veth), where that is another one. Its index is
    /// one of the namespace [`Link::parent_netnsid`] names, if that is given.
    pub parent: Option<u32>,
    /// `IFLA_LINK_NETNSID`: the namespace of the parent, if it is another one.
    pub parent_netnsid: Option<i32>,
    /// `IFLA_VXLAN_LINK`: the link of this namespace that a VXLAN sends over. When that one leaves it, the kernel deletes the
    /// VXLAN (`vxlan_handle_lowerdev_unregister`).
    pub vxlan_lower: Option<u32>,
    /// `IFLA_OPERSTATE`.
    pub operstate: OperState,
    /// `IFLA_CARRIER`.
    pub carrier: bool,
    /// The device it belongs to; `None` for a virtual link.
    pub bus: Option<ParentDevice>,
    /// `IFLA_NETNS_IMMUTABLE`: it cannot be moved. Kernels before 6.15 do not say, and then it is false.
    pub netns_immutable: bool,
    /// `IFLA_PHYS_PORT_NAME`.
    pub phys_port_name: Option<String>,
    /// `IFLA_PHYS_SWITCH_ID`.
    pub phys_switch_id: Option<Vec<u8>>,
    /// `ARPHRD_*`: 1 Ethernet, 32 InfiniBand, 772 loopback.
    pub hardware_type: u16,
}

/// The device a link belongs to (`IFLA_PARENT_DEV_BUS_NAME`, `IFLA_PARENT_DEV_NAME`; kernels from 5.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentDevice {
    /// `pci`, `virtio`, `usb`, …
    pub bus: String,
    /// Its name on that bus: `0000:41:00.0`, `virtio1`.
    pub name: String,
}

/// Flags of a link (`IFF_*`, linux/if.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LinkFlags(u32);

/// Declares the questions that flags answer.
macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal,)*) => {
        impl LinkFlags {
            $($(#[$doc])* pub fn $name(self) -> bool { self.0 & $bit != 0 })*
        }
    };
}

flags! {
    /// `IFF_UP`: it is switched on.
    up = 0x1,
    /// `IFF_BROADCAST`.
    broadcast = 0x2,
    /// `IFF_LOOPBACK`.
    loopback = 0x8,
    /// `IFF_POINTOPOINT`.
    point_to_point = 0x10,
    /// `IFF_RUNNING`: it is up and its operational state is up or unknown.
    running = 0x40,
    /// `IFF_NOARP`.
    no_arp = 0x80,
    /// `IFF_PROMISC`, as somebody set it by hand.
    promiscuous = 0x100,
    /// `IFF_ALLMULTI`.
    all_multicast = 0x200,
    /// `IFF_MULTICAST`.
    multicast = 0x1000,
    /// `IFF_LOWER_UP`: there is a carrier.
    lower_up = 0x1_0000,
    /// `IFF_DORMANT`.
    dormant = 0x2_0000,
}

impl LinkFlags {
    /// From the kernel's bits.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The kernel's bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

/// Operational state (RFC 2863, `IF_OPER_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OperState {
    /// The driver does not say: take an up link as usable.
    #[default]
    Unknown,
    /// The hardware is not there.
    NotPresent,
    /// Unusable.
    Down,
    /// Unusable because of the link it is on.
    LowerLayerDown,
    /// Under test.
    Testing,
    /// Waiting for something, such as 802.1X.
    Dormant,
    /// Usable.
    Up,
}

impl OperState {
    /// The name that `/sys/class/net/<link>/operstate` has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::NotPresent => "notpresent",
            Self::Down => "down",
            Self::LowerLayerDown => "lowerlayerdown",
            Self::Testing => "testing",
            Self::Dormant => "dormant",
            Self::Up => "up",
        }
    }

    fn from_number(number: Option<u8>) -> Self {
        match number {
            Some(1) => Self::NotPresent,
            Some(2) => Self::Down,
            Some(3) => Self::LowerLayerDown,
            Some(4) => Self::Testing,
            Some(5) => Self::Dormant,
            Some(6) => Self::Up,
            _ => Self::Unknown,
        }
    }
}

/// A link message, with what only a departing link has.
#[derive(Debug)]
pub(crate) struct LinkMessage {
    pub(crate) link: Link,
    /// `IFLA_NEW_NETNSID` is present: it went to another namespace.
    pub(crate) moved: bool,
}

impl LinkMessage {
    /// Reads the body of an `RTM_NEWLINK` or `RTM_DELLINK`. `None` when it describes no whole link: what a bridge says
    /// of its ports (`AF_BRIDGE`; such an `RTM_DELLINK` means that the link left the bridge), or a wireless event.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Self>, Malformed> {
        let header = Malformed("a link message is cut off");
        let family = u8_at(body, 0).ok_or(header)?;
        let hardware_type = u16_at(body, 2).ok_or(header)?;
        let index = u32_at(body, 4).ok_or(header)?;
        let flags = u32_at(body, 8).ok_or(header)?;
        if family != 0 {
            return Ok(None);
        }
        let mut parts = Parts::default();
        for attribute in Attributes::behind(body, HEADER)? {
            let (kind, value) = attribute?;
            parts.take(kind, value)?;
        }
        let Some(name) = parts.name else {
            return Ok(None);
        };
        let name =
            IfName::try_from(name).map_err(|_| Malformed("a link has an impossible name"))?;
        Ok(Some(Self {
            moved: parts.moved,
            link: Link {
                index,
                name,
                flags: LinkFlags(flags),
                hardware_type,
                parent: parts.parent.filter(|parent| {
                    *parent != 0 && (*parent != index || parts.parent_netnsid.is_some())
                }),
                kind: parts.kind,
                slave_kind: parts.slave_kind,
                mtu: parts.mtu,
                min_mtu: parts.min_mtu,
                max_mtu: parts.max_mtu,
                hardware_address: parts.hardware_address,
                permanent_address: parts.permanent_address,
                alias: parts.alias,
                altnames: parts.altnames,
                master: parts.master,
                parent_netnsid: parts.parent_netnsid,
                vxlan_lower: parts
                    .vxlan_lower
                    .filter(|lower| *lower != 0 && parts.parent_netnsid.is_none()),
                operstate: OperState::from_number(parts.operstate),
                carrier: parts.carrier,
                bus: parts
                    .bus
                    .zip(parts.bus_name)
                    .map(|(bus, name)| ParentDevice { bus, name }),
                netns_immutable: parts.netns_immutable,
                phys_port_name: parts.phys_port_name,
                phys_switch_id: parts.phys_switch_id,
            },
        }))
    }
}

/// What the attributes say, as far as they have been read.
#[derive(Default)]
struct Parts<'a> {
    name: Option<&'a [u8]>,
    kind: Option<String>,
    slave_kind: Option<String>,
    mtu: u32,
    min_mtu: Option<u32>,
    max_mtu: Option<u32>,
    hardware_address: HardwareAddress,
    permanent_address: Option<HardwareAddress>,
    alias: Vec<u8>,
    altnames: Vec<Vec<u8>>,
    master: Option<u32>,
    parent: Option<u32>,
    parent_netnsid: Option<i32>,
    vxlan_lower: Option<u32>,
    operstate: Option<u8>,
    carrier: bool,
    bus: Option<String>,
    bus_name: Option<String>,
    netns_immutable: bool,
    phys_port_name: Option<String>,
    phys_switch_id: Option<Vec<u8>>,
    moved: bool,
}

impl<'a> Parts<'a> {
    fn take(&mut self, kind: u16, value: &'a [u8]) -> Result<(), Malformed> {
        match kind {
            ifla::IFNAME => self.name = Some(until_nul(value)),
            ifla::ADDRESS => self.hardware_address = hardware_address(value)?,
            ifla::MTU => self.mtu = number(value)?,
            ifla::MIN_MTU => self.min_mtu = Some(number(value)?),
            ifla::MAX_MTU => self.max_mtu = Some(number(value)?),
            ifla::LINK => self.parent = Some(number(value)?),
            ifla::LINK_NETNSID => self.parent_netnsid = Some(number(value)?.cast_signed()),
            ifla::MASTER => self.master = Some(number(value)?).filter(|index| *index != 0),
            ifla::OPERSTATE => self.operstate = u8_at(value, 0),
            ifla::CARRIER => self.carrier = u8_at(value, 0) == Some(1),
            ifla::LINKINFO => self.take_info(value)?,
            ifla::IFALIAS => self.alias = until_nul(value).to_vec(),
            ifla::PROP_LIST => self.take_properties(value)?,
            ifla::PERM_ADDRESS => self.permanent_address = Some(hardware_address(value)?),
            ifla::PARENT_DEV_NAME => self.bus_name = Some(text(value)),
            ifla::PARENT_DEV_BUS_NAME => self.bus = Some(text(value)),
            ifla::PHYS_PORT_NAME => self.phys_port_name = Some(text(value)),
            ifla::PHYS_SWITCH_ID => self.phys_switch_id = Some(value.to_vec()),
            ifla::NETNS_IMMUTABLE => self.netns_immutable = u8_at(value, 0) == Some(1),
            ifla::NEW_NETNSID => self.moved = true,
            _ => {}
        }
        Ok(())
    }

    fn take_info(&mut self, value: &'a [u8]) -> Result<(), Malformed> {
        let mut data = None;
        for attribute in Attributes::new(value) {
            match attribute? {
                (ifla::INFO_KIND, value) => self.kind = Some(text(value)),
                (ifla::INFO_DATA, value) => data = Some(value),
                (ifla::INFO_SLAVE_KIND, value) => self.slave_kind = Some(text(value)),
                _ => {}
            }
        }
        match data {
            Some(data) if self.kind.as_deref() == Some("vxlan") => self.take_vxlan(data),
            _ => Ok(()),
        }
    }

    fn take_vxlan(&mut self, data: &[u8]) -> Result<(), Malformed> {
        for attribute in Attributes::new(data) {
            if let (ifla::VXLAN_LINK, lower) = attribute? {
                self.vxlan_lower = Some(number(lower)?);
            }
        }
        Ok(())
    }

    fn take_properties(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for attribute in Attributes::new(value) {
            match attribute? {
                (ifla::ALT_IFNAME, name) if self.altnames.len() < MAX_ALTNAMES => {
                    self.altnames.push(until_nul(name).to_vec());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn hardware_address(bytes: &[u8]) -> Result<HardwareAddress, Malformed> {
    HardwareAddress::try_from(bytes).map_err(|_| Malformed("a hardware address is too long"))
}

#[cfg(test)]
mod tests;
