//! The flags of a link that someone sets.

use std::fmt;

/// Each with its name as `ip link` prints it, but in small letters.
const NAMES: [(u32, &str); 9] = [
    (0x4, "debug"),
    (0x20, "notrailers"),
    (0x80, "noarp"),
    (0x100, "promisc"),
    (0x200, "allmulti"),
    (0x1000, "multicast"),
    (0x2000, "portsel"),
    (0x4000, "automedia"),
    (0x8000, "dynamic"),
];

/// Flags of a link that someone sets (`IFF_*`, linux/if.h), but for up: those that the kernel takes from a request
/// (`__dev_change_flags`, net/core/dev.c). All others are its own findings.
///
/// Of promiscuous and all-multicast the kernel tells netlink what was set by hand, not what a bridge or a packet socket
/// made of it (`netif_get_flags`, ibid.).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SettableFlags(u32);

impl SettableFlags {
    /// All of them.
    pub const ALL: Self = Self(0xf3a4);

    /// Those among the kernel's bits.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// As the kernel's bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SettableFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = NAMES.iter().filter(|(bit, _)| self.0 & bit != 0);
        let names: Vec<_> = set.map(|(_, name)| *name).collect();
        match names.as_slice() {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_that_someone_sets_are_kept_and_each_has_a_name() {
        let all = SettableFlags::from_bits(u32::MAX);
        assert_eq!(all, SettableFlags::ALL);
        assert_eq!(all.bits(), NAMES.iter().map(|(bit, _)| bit).sum::<u32>());
        assert_eq!(SettableFlags::from_bits(0x1043).to_string(), "multicast"); // up, broadcast, running
        assert_eq!(
            SettableFlags::from_bits(0x1180).to_string(),
            "noarp promisc multicast"
        );
        assert_eq!(SettableFlags::default().to_string(), "none");
    }
}
