//! A link at home before it leaves: what home must look like again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;

use super::{HardwareAddress, IfName, LinkParameter, SettableFlags, Settings, WantedFeatures};

/// State of a link that is put back when it comes home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When it was taken, if an address has a lifetime that runs from then on. Without such, and in records of releases
    /// that did not say, `None`.
    pub taken: Option<SystemTime>,
    /// Name.
    pub name: IfName,
    /// MTU in bytes.
    pub mtu: u32,
    /// Hardware address.
    pub hardware_address: HardwareAddress,
    /// Whether it was up (`IFF_UP`).
    pub up: bool,
    /// `IFLA_IFALIAS`; empty for none.
    pub alias: Vec<u8>,
    /// Alternative names (`IFLA_PROP_LIST`). They travel with the link.
    pub altnames: Vec<Vec<u8>>,
    /// Addresses that someone set, in the kernel's order.
    pub addresses: Vec<SnapshotAddress>,
    /// Routes that someone set, in the kernel's order.
    pub routes: Vec<SnapshotRoute>,
    /// Permanent neighbours, sorted. Who is a neighbour by itself is found anew.
    pub neighbors: Vec<SnapshotNeighbor>,
    /// Settings of the link in this namespace. Empty in records of releases that did not keep them.
    pub settings: Settings,
    /// Flags that someone set. `None` in records of releases that did not keep them.
    pub flags: Option<SettableFlags>,
    /// Numbers that someone set, as many as the kernel gives. Empty in records of releases that did not keep them.
    pub parameters: BTreeMap<LinkParameter, u32>,
    /// Offload features that can be changed, and whether each is wanted. Empty where the kernel does not say, and in
    /// records of releases that did not keep them.
    pub features: WantedFeatures,
}

/// An address with all that `RTM_NEWADDR` needs to make it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotAddress {
    /// Address and prefix (`IFA_LOCAL`, else `IFA_ADDRESS`).
    pub address: IpNet,
    /// `IFA_ADDRESS` where it differs: the other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// `IFA_BROADCAST`.
    pub broadcast: Option<IpAddr>,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `IFA_F_*`.
    pub flags: u32,
    /// `IFA_LABEL`, IPv4 only; empty when it is the link's name.
    pub label: Vec<u8>,
    /// Seconds; `u32::MAX` for ever.
    pub preferred_lifetime: u32,
    /// Seconds; `u32::MAX` for ever.
    pub valid_lifetime: u32,
    /// `IFA_PROTO`: who made it; 0 when nobody said so, as on kernels before 5.18.
    pub protocol: u8,
    /// `IFA_RT_PRIORITY`: metric of the route that the kernel makes for it; 0 for its usual one.
    pub metric: u32,
}

/// A route with all that `RTM_NEWROUTE` needs to make it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRoute {
    /// Where to.
    pub destination: IpNet,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// `RTA_PREFSRC`.
    pub preferred_source: Option<IpAddr>,
    /// Routing table.
    pub table: u32,
    /// `RTPROT_*`.
    pub protocol: u8,
    /// `RT_SCOPE_*`.
    pub scope: u8,
    /// `RTN_*`.
    pub kind: u8,
    /// `RTA_PRIORITY`.
    pub metric: u32,
    /// `RTNH_F_ONLINK`.
    pub onlink: bool,
    /// What few routes have.
    pub options: RouteOptions,
}

/// What few routes have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteOptions {
    /// `rtm_tos`: type of service that it is for; 0 for any. IPv4 only.
    pub tos: u8,
    /// `RTA_FLOW`: routing realms; 0 for none.
    pub realms: u32,
    /// `RTA_PREF`: preference of RFC 4191, `ICMPV6_ROUTER_PREF_*`; 0 for medium. IPv6 only.
    pub preference: u8,
    /// `RTA_METRICS` as the kernel gives it (MTU, window, congestion control, …); empty for none.
    pub metrics: Vec<u8>,
}

/// A permanent neighbour (`NUD_PERMANENT`) with all that `RTM_NEWNEIGH` needs to make it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotNeighbor {
    /// `NDA_DST`.
    pub address: IpAddr,
    /// `NDA_LLADDR`; empty on a link without hardware addresses.
    pub hardware_address: HardwareAddress,
    /// `NTF_*`.
    pub flags: u8,
    /// `NDA_PROTOCOL`: `RTPROT_*` of who made it; 0 when nobody said so.
    pub protocol: u8,
}
