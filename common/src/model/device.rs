//! A link as DRA offers it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::{Attributes, IfName, LinkIdentity};

/// Name of a device in its pool: a DNS label (RFC 1123) of at most 63 characters.
///
/// A PCI link's name is made of its address and so outlives renames and reboots. Any other link is named after
/// itself, encoded where its name is no DNS label; no two links of one node get the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(Box<str>);

/// Text that is no DNS label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("device name {0:?} is not a DNS label (1 to 63 of a-z, 0-9 and '-', no '-' at either end)")]
pub struct InvalidDeviceName(String);

/// Before the hexadecimal bytes of a link name that is no DNS label.
const ENCODED: &str = "x--";

impl DeviceName {
    /// The name of the device that is made of this link.
    pub fn of(identity: &LinkIdentity) -> Self {
        match identity {
            LinkIdentity::Pci { address, dev_port } => {
                let address = address.to_string().replace([':', '.'], "-");
                match dev_port {
                    0 => Self(format!("pci-{address}").into()),
                    port => Self(format!("pci-{address}-p{port}").into()),
                }
            }
            LinkIdentity::Other { home_name, .. } => Self::of_link_name(home_name),
        }
    }

    /// A link's name as it is where that is a DNS label, else `x--` and its bytes in hexadecimal. Names that begin
    /// like an encoded one are encoded too, so that the way back is never in doubt.
    fn of_link_name(name: &IfName) -> Self {
        match name.as_str() {
            Some(text) if is_dns_label(text) && !text.starts_with(ENCODED) => Self(text.into()),
            _ => {
                let hex: String = name.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
                Self(format!("{ENCODED}{hex}").into())
            }
        }
    }

    /// The name of the link that a device without a bus address was named after.
    pub fn link_name(&self) -> Option<IfName> {
        let Some(hex) = self.0.strip_prefix(ENCODED) else {
            return self.0.parse().ok();
        };
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        IfName::try_from(bytes?.as_slice()).ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DeviceName {
    type Err = InvalidDeviceName;

    fn from_str(text: &str) -> Result<Self, InvalidDeviceName> {
        if is_dns_label(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidDeviceName(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the text is a lower-case DNS label (RFC 1123) of at most 63 characters.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A device as it stands in a ResourceSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name in the pool.
    pub name: DeviceName,
    /// The link behind it.
    pub identity: LinkIdentity,
    /// Present name of that link at home.
    pub interface: IfName,
    /// What is said of it, in a stable order.
    pub attributes: Attributes,
    /// Quantities of it (name → Kubernetes quantity such as `25G`), in a stable order.
    pub capacity: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn other(name: &[u8]) -> LinkIdentity {
        LinkIdentity::Other {
            kind: String::new(),
            hardware_address: crate::model::HardwareAddress::default(),
            home_name: IfName::try_from(name).unwrap(),
        }
    }

    #[test]
    fn pci_links_are_named_after_their_address() {
        let address = "0000:41:10.0".parse().unwrap();
        let name = |dev_port| DeviceName::of(&LinkIdentity::Pci { address, dev_port }).to_string();
        assert_eq!(name(0), "pci-0000-41-10-0");
        assert_eq!(name(1), "pci-0000-41-10-0-p1");
    }

    #[test]
    fn plain_link_names_stay_as_they_are() {
        for name in ["eth0", "ens3f0", "a-b"] {
            assert_eq!(DeviceName::of(&other(name.as_bytes())).as_str(), name);
        }
        assert_eq!(DeviceName::of(&other(b"a_b.c")).as_str(), "x--615f622e63");
        assert_eq!(DeviceName::of(&other(b"x--61")).as_str(), "x--782d2d3631");
    }

    proptest! {
        #[test]
        fn every_link_name_gives_a_device_name_and_comes_back(bytes in prop::collection::vec(any::<u8>(), 1..16)) {
            if let Ok(link) = IfName::try_from(bytes.as_slice()) {
                let device = DeviceName::of(&other(&bytes));
                prop_assert!(is_dns_label(device.as_str()));
                prop_assert_eq!(device.link_name(), Some(link));
            }
        }
    }
}
