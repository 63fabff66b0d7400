//! The numbers of a link that someone sets and that travel with it.

use std::fmt;
use std::str::FromStr;

/// A number of a link that someone sets, besides its MTU (linux/if_link.h names it `IFLA_*`).
///
/// In the order to set them in: the kernel sets the IPv4 sizes with the general ones (`netif_set_gso_max_size`,
/// `netif_set_gro_max_size`; net/core/dev.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkParameter {
    /// `IFLA_GROUP`: a number to address several links by.
    Group,
    /// `IFLA_TXQLEN`: how many packets may wait to be sent.
    TxQueueLength,
    /// `IFLA_GSO_MAX_SIZE`: most bytes of a packet that is cut up when it is sent.
    GsoMaxSize,
    /// `IFLA_GSO_MAX_SEGS`: into how many it may be cut.
    GsoMaxSegments,
    /// `IFLA_GRO_MAX_SIZE`: most bytes of a packet that received ones are joined to.
    GroMaxSize,
    /// `IFLA_GSO_IPV4_MAX_SIZE`: the same as [`Self::GsoMaxSize`] for IPv4.
    GsoIpv4MaxSize,
    /// `IFLA_GRO_IPV4_MAX_SIZE`: the same as [`Self::GroMaxSize`] for IPv4.
    GroIpv4MaxSize,
}

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a number of a link that is known here")]
pub struct UnknownLinkParameter;

impl LinkParameter {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Group,
        Self::TxQueueLength,
        Self::GsoMaxSize,
        Self::GsoMaxSegments,
        Self::GroMaxSize,
        Self::GsoIpv4MaxSize,
        Self::GroIpv4MaxSize,
    ];

    /// Its name, the one that `ip link` knows it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::TxQueueLength => "txqueuelen",
            Self::GsoMaxSize => "gso_max_size",
            Self::GsoMaxSegments => "gso_max_segs",
            Self::GroMaxSize => "gro_max_size",
            Self::GsoIpv4MaxSize => "gso_ipv4_max_size",
            Self::GroIpv4MaxSize => "gro_ipv4_max_size",
        }
    }
}

impl FromStr for LinkParameter {
    type Err = UnknownLinkParameter;

    fn from_str(text: &str) -> Result<Self, UnknownLinkParameter> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or(UnknownLinkParameter)
    }
}

impl fmt::Display for LinkParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_the_order_is_that_of_setting() {
        for one in LinkParameter::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
        }
        assert!(LinkParameter::ALL.is_sorted());
        assert_eq!("mtu".parse::<LinkParameter>(), Err(UnknownLinkParameter));
    }
}
