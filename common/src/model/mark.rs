//! Our mark: a link's alias (`IFLA_IFALIAS`) while it is away. It travels with the link, so that the link itself says
//! whose it is when every other record is lost. The alias it had before is part of its snapshot.
//!
//! `<driver>/1 claim=<uid> device=<name> home=<name>`: at most 231 bytes of the 255 that the kernel takes. The home
//! name comes last and as it is, for it may be of any bytes but white space.

use super::{ClaimUid, DeviceName, DriverName, IfName};

/// A mark as it is read from a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The claim that holds the link.
    pub claim: ClaimUid,
    /// The device that the link is.
    pub device: DeviceName,
    /// Its name at home.
    pub home_name: IfName,
}

impl Mark {
    /// The alias that says this for the driver.
    pub fn to_alias(&self, driver: &DriverName) -> Vec<u8> {
        let Self { claim, device, .. } = self;
        let mut alias = format!("{driver}/1 claim={claim} device={device} home=").into_bytes();
        alias.extend_from_slice(self.home_name.as_bytes());
        alias
    }

    /// What an alias says, if it is a mark of this driver.
    pub fn from_alias(driver: &DriverName, alias: &[u8]) -> Option<Self> {
        let rest = alias.strip_prefix(driver.as_str().as_bytes())?;
        let rest = rest.strip_prefix(b"/1 ")?;
        let mut words = rest.split(|byte| *byte == b' ');
        let mut value = |key: &[u8]| words.next()?.strip_prefix(key);
        let mark = Self {
            claim: std::str::from_utf8(value(b"claim=")?).ok()?.parse().ok()?,
            device: std::str::from_utf8(value(b"device=")?).ok()?.parse().ok()?,
            home_name: IfName::try_from(value(b"home=")?).ok()?,
        };
        words.next().is_none().then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn driver() -> DriverName {
        "network.example.com".parse().unwrap()
    }

    #[test]
    fn a_mark_comes_back_from_its_alias() {
        for home in [&b"eth0"[..], b"0123456789abcde", b"a=\xff\xfe"] {
            let mark = Mark {
                claim: "0f5b1c9e-7d8a".parse().unwrap(),
                device: "pci-0000-41-10-0".parse().unwrap(),
                home_name: IfName::try_from(home).unwrap(),
            };
            let alias = mark.to_alias(&driver());
            assert_eq!(Mark::from_alias(&driver(), &alias), Some(mark));
        }
    }

    #[test]
    fn the_longest_mark_fits_an_alias() {
        let mark = Mark {
            claim: "c".repeat(63).parse().unwrap(),
            device: "d".repeat(63).parse().unwrap(),
            home_name: "0123456789abcde".parse().unwrap(),
        };
        assert!(mark.to_alias(&"n".repeat(63).parse().unwrap()).len() <= 255);
    }

    #[test]
    fn other_aliases_are_no_marks() {
        for alias in [
            &b""[..],
            b"uplink to rack 4",
            b"network.example.com/1",
            b"network.example.com/2 claim=a device=b home=c",
            b"other.example.com/1 claim=a device=b home=c",
            b"network.example.com/1 claim= device=b home=c",
            b"network.example.com/1 device=b claim=a home=c",
            b"network.example.com/1 claim=a device=b home=",
            b"network.example.com/1 claim=a device=b home=c d",
        ] {
            assert_eq!(Mark::from_alias(&driver(), alias), None, "{alias:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_mark(alias in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(Mark::from_alias(&driver(), &alias), None);
        }
    }
}
