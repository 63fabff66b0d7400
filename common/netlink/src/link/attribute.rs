//! Numbers of the attributes of a link (linux/if_link.h), as far as we read or write them. neli knows them up to 55.

pub(super) const ADDRESS: u16 = 1;
pub(super) const IFNAME: u16 = 3;
pub(super) const MTU: u16 = 4;
pub(super) const LINK: u16 = 5;
pub(super) const MASTER: u16 = 10;
pub(super) const TXQLEN: u16 = 13;
pub(super) const OPERSTATE: u16 = 16;
pub(super) const LINKINFO: u16 = 18;
pub(super) const IFALIAS: u16 = 20;
pub(super) const AF_SPEC: u16 = 26;
pub(super) const GROUP: u16 = 27;
pub(super) const NET_NS_FD: u16 = 28;
pub(super) const EXT_MASK: u16 = 29;
pub(super) const CARRIER: u16 = 33;
pub(super) const PHYS_SWITCH_ID: u16 = 36;
pub(super) const LINK_NETNSID: u16 = 37;
pub(super) const PHYS_PORT_NAME: u16 = 38;
pub(super) const GSO_MAX_SEGS: u16 = 40;
pub(super) const GSO_MAX_SIZE: u16 = 41;
pub(super) const NEW_NETNSID: u16 = 45;
pub(super) const MIN_MTU: u16 = 50;
pub(super) const MAX_MTU: u16 = 51;
pub(super) const PROP_LIST: u16 = 52;
pub(super) const ALT_IFNAME: u16 = 53;
pub(super) const PERM_ADDRESS: u16 = 54;
pub(super) const PARENT_DEV_NAME: u16 = 56;
pub(super) const PARENT_DEV_BUS_NAME: u16 = 57;
pub(super) const GRO_MAX_SIZE: u16 = 58;
pub(super) const GSO_IPV4_MAX_SIZE: u16 = 63;
pub(super) const GRO_IPV4_MAX_SIZE: u16 = 64;
pub(super) const NETNS_IMMUTABLE: u16 = 67;

/// Within [`LINKINFO`].
pub(super) const INFO_KIND: u16 = 1;
pub(super) const INFO_DATA: u16 = 2;
pub(super) const INFO_SLAVE_KIND: u16 = 4;

/// Within [`INFO_DATA`], by kind.
pub(super) const VETH_PEER: u16 = 1;
pub(super) const MACVLAN_MODE: u16 = 1;
pub(super) const VLAN_ID: u16 = 1;
pub(super) const VRF_TABLE: u16 = 1;
