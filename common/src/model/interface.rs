//! What a user wants of an interface in the pod.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::IfName;

/// Maximum transmission unit in bytes, 68 (the least that IPv4 allows, RFC 791) to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mtu(u32);

/// A number that no link can have as its MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("MTU {0} must be 68 to 65535")]
pub struct InvalidMtu(u64);

impl Mtu {
    /// The number of bytes.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Mtu {
    type Error = InvalidMtu;

    fn try_from(bytes: u64) -> Result<Self, InvalidMtu> {
        match u32::try_from(bytes) {
            Ok(value @ 68..=65535) => Ok(Self(value)),
            _ => Err(InvalidMtu(bytes)),
        }
    }
}

impl fmt::Display for Mtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is done to the interface once it is in the pod. The default leaves everything as it is, but for up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceConfig {
    /// Name in the pod; `None` keeps the name at home.
    pub name: Option<IfName>,
    /// MTU; `None` keeps the present one.
    pub mtu: Option<Mtu>,
    /// Addresses with their prefix, in the user's order.
    pub addresses: Vec<IpNet>,
    /// Routes, in the user's order.
    pub routes: Vec<Route>,
}

/// A route over the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to; `0.0.0.0/0` or `::/0` is the default route.
    pub destination: IpNet,
    /// Next hop, of the same family; `None` for a destination on the link.
    pub gateway: Option<IpAddr>,
}
