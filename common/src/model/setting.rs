//! The kernel's settings of one link, which it keeps per network namespace.

/// What `/proc/sys/net/ipv4/conf/<link>/` and its sibling of IPv6 hold, as netlink gives it: numbers by their place in the
/// kernel's lists, to which later kernels only append. A family that is off for the link has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// By `IPV4_DEVCONF_*` less 1 (linux/ip.h).
    pub ipv4: Box<[i32]>,
    /// By `DEVCONF_*` (linux/ipv6.h).
    pub ipv6: Box<[i32]>,
}
