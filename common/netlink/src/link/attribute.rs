//! Numbers of the attributes of a link (linux/if_link.h), as far as we read or write them. neli knows them up to 55.

pub(crate) const ADDRESS: u16 = 1;
pub(crate) const IFNAME: u16 = 3;
pub(crate) const MTU: u16 = 4;
pub(crate) const LINK: u16 = 5;
pub(crate) const MASTER: u16 = 10;
pub(crate) const TXQLEN: u16 = 13;
pub(crate) const OPERSTATE: u16 = 16;
pub(crate) const LINKINFO: u16 = 18;
pub(crate) const IFALIAS: u16 = 20;
pub(crate) const AF_SPEC: u16 = 26;
pub(crate) const GROUP: u16 = 27;
pub(crate) const NET_NS_FD: u16 = 28;
pub(crate) const EXT_MASK: u16 = 29;
pub(crate) const CARRIER: u16 = 33;
pub(crate) const PHYS_SWITCH_ID: u16 = 36;
pub(crate) const LINK_NETNSID: u16 = 37;
pub(crate) const PHYS_PORT_NAME: u16 = 38;
pub(crate) const GSO_MAX_SEGS: u16 = 40;
pub(crate) const GSO_MAX_SIZE: u16 = 41;
pub(crate) const NEW_NETNSID: u16 = 45;
pub(crate) const MIN_MTU: u16 = 50;
pub(crate) const MAX_MTU: u16 = 51;
pub(crate) const PROP_LIST: u16 = 52;
pub(crate) const ALT_IFNAME: u16 = 53;
pub(crate) const PERM_ADDRESS: u16 = 54;
pub(crate) const PARENT_DEV_NAME: u16 = 56;
pub(crate) const PARENT_DEV_BUS_NAME: u16 = 57;
pub(crate) const GRO_MAX_SIZE: u16 = 58;
pub(crate) const GSO_IPV4_MAX_SIZE: u16 = 63;
pub(crate) const GRO_IPV4_MAX_SIZE: u16 = 64;
pub(crate) const NETNS_IMMUTABLE: u16 = 67;

/// Within [`LINKINFO`].
pub(crate) const INFO_KIND: u16 = 1;
pub(crate) const INFO_DATA: u16 = 2;
pub(crate) const INFO_SLAVE_KIND: u16 = 4;

/// Within [`INFO_DATA`], by kind.
pub(crate) const VETH_PEER: u16 = 1;
pub(crate) const MACVLAN_MODE: u16 = 1;
pub(crate) const VLAN_ID: u16 = 1;
pub(crate) const VXLAN_LINK: u16 = 3;
pub(crate) const VRF_TABLE: u16 = 1;
