//! A network link: its name, its hardware address, and what identifies it for good.

use std::fmt;
use std::str::FromStr;

use super::PciAddress;

/// Name of a link: 1 to 15 bytes of any encoding, as the kernel allows them (`dev_valid_name`, net/core/dev.c).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfName(Box<[u8]>);

/// Bytes that the kernel would not take as the name of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "interface name {0:?} must be 1 to 15 bytes without '/', ':' or white space (to the kernel, byte a0 is some), and not '.' or '..'"
)]
pub struct InvalidIfName(String);

impl IfName {
    /// Longest name in bytes: IFNAMSIZ less the closing NUL.
    pub const MAX_BYTES: usize = 15;

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl TryFrom<&[u8]> for IfName {
    type Error = InvalidIfName;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidIfName> {
        // The kernel's isspace() knows Latin-1's no-break space, which is also a byte of some UTF-8 letters.
        let forbidden =
            |b: &u8| matches!(b, b'/' | b':' | 0 | 0x0b | 0xa0) || b.is_ascii_whitespace();
        if bytes.is_empty()
            || bytes.len() > Self::MAX_BYTES
            || matches!(bytes, b"." | b"..")
            || bytes.iter().any(forbidden)
        {
            let shown = bytes.get(..bytes.len().min(40)).unwrap_or_default();
            return Err(InvalidIfName(escape(shown)));
        }
        Ok(Self(bytes.into()))
    }
}

impl FromStr for IfName {
    type Err = InvalidIfName;

    fn from_str(text: &str) -> Result<Self, InvalidIfName> {
        text.as_bytes().try_into()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IfName({self})")
    }
}

/// Text as it is, other bytes as `\xNN`.
fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Hardware address of a link: 0 to 32 bytes (MAX_ADDR_LEN), 6 of them for Ethernet, 20 for InfiniBand.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct HardwareAddress(Box<[u8]>);

/// More bytes than a hardware address can have, or text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hardware address must be at most 32 bytes, as two hexadecimal digits each joined by ':'")]
pub struct InvalidHardwareAddress;

impl HardwareAddress {
    /// The bytes of the address.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the link has none, or only zeros.
    pub fn is_unset(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }
}

impl TryFrom<&[u8]> for HardwareAddress {
    type Error = InvalidHardwareAddress;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidHardwareAddress> {
        if bytes.len() > 32 {
            Err(InvalidHardwareAddress)
        } else {
            Ok(Self(bytes.into()))
        }
    }
}

impl FromStr for HardwareAddress {
    type Err = InvalidHardwareAddress;

    fn from_str(text: &str) -> Result<Self, InvalidHardwareAddress> {
        let byte = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        Self::try_from(bytes.ok_or(InvalidHardwareAddress)?.as_slice())
    }
}

impl fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HardwareAddress({self})")
    }
}

/// What names a link for good. Not its ifindex or name, which change, nor a VF's MAC address, which is random.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkIdentity {
    /// A link of a PCI function.
    Pci {
        /// Where the function sits.
        address: PciAddress,
        /// Which of the function's ports (`/sys/class/net/<link>/dev_port`).
        dev_port: u32,
    },
    /// Any other link.
    Other {
        /// Kernel kind (`IFLA_INFO_KIND`), empty for none.
        kind: String,
        /// Its hardware address.
        hardware_address: HardwareAddress,
        /// Its name at home: our mark.
        home_name: IfName,
    },
}

impl fmt::Display for LinkIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci {
                address,
                dev_port: 0,
            } => write!(f, "PCI {address}"),
            Self::Pci { address, dev_port } => write!(f, "PCI {address} port {dev_port}"),
            Self::Other {
                kind,
                hardware_address,
                home_name,
            } => {
                write!(f, "{home_name} ({kind} {hardware_address})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_what_the_kernel_takes() {
        for good in [
            &b"eth0"[..],
            b"a_b.c",
            b"0123456789abcde",
            b"\xff\xfe",
            b"...",
            "ü".as_bytes(),
        ] {
            assert_eq!(IfName::try_from(good).unwrap().as_bytes(), good);
        }
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"a:b",
            b"a b",
            b"a\n",
            b"a\0",
            b"a\xa0",
            "à".as_bytes(),
            b"0123456789abcdef",
        ] {
            assert!(IfName::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn odd_names_print_without_control_characters() {
        let name = IfName::try_from(&b"a\xff\x1bz"[..]).unwrap();
        assert_eq!(name.to_string(), "a\\xff\\u{1b}z");
    }

    #[test]
    fn hardware_addresses_read_and_print_alike() {
        for text in ["02:fc:00:00:00:01", "00"] {
            assert_eq!(text.parse::<HardwareAddress>().unwrap().to_string(), text);
        }
        for bad in ["02:fc:0", "zz", "02-fc", "+1", ""] {
            assert!(bad.parse::<HardwareAddress>().is_err(), "{bad}");
        }
        assert!(HardwareAddress::try_from(&[0; 33][..]).is_err());
    }
}
