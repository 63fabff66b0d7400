//! Where a PCI function sits.

use std::fmt;
use std::str::FromStr;

/// Address of a PCI function, `dddd:bb:dd.f` (domain, bus, device, function), as the kernel writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// Text that is no PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PCI address {0:?} is not of the form 0000:41:10.0")]
pub struct InvalidPciAddress(String);

impl FromStr for PciAddress {
    type Err = InvalidPciAddress;

    fn from_str(text: &str) -> Result<Self, InvalidPciAddress> {
        parse(text).ok_or_else(|| InvalidPciAddress(text.chars().take(40).collect()))
    }
}

/// A VMD controller makes domains above 0xffff, so four to eight digits.
fn parse(text: &str) -> Option<PciAddress> {
    let (domain, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |digits: &str, len: std::ops::RangeInclusive<usize>| {
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        (plain && len.contains(&digits.len()))
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
    };
    let small = |digits, len, max: u8| {
        hex(digits, len)
            .and_then(|value| u8::try_from(value).ok())
            .filter(|value| *value <= max)
    };
    Some(PciAddress {
        domain: hex(domain, 4..=8)?,
        bus: small(bus, 2..=2, 0xff)?,
        device: small(device, 2..=2, 31)?,
        function: small(function, 1..=1, 7)?,
    })
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_alike() {
        for text in ["0000:41:10.0", "10000:e1:1f.7"] {
            assert_eq!(text.parse::<PciAddress>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "41:10.0",
            "0000:41:20.0",
            "0000:41:10.8",
            "0000:4g:10.0",
            "virtio0",
            "0000:41:+1.0",
        ] {
            assert!(bad.parse::<PciAddress>().is_err(), "{bad:?}");
        }
    }
}
