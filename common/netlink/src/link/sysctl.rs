//! The kernel's settings of one link, which it keeps per network namespace.

use std::fmt;
use std::str::FromStr;

/// Longest name; the longest of Linux 6.18 has 41 bytes.
const MAX: usize = 64;

/// Name of a setting of a link: `ipv4/rp_filter` for `/proc/sys/net/ipv4/conf/<link>/rp_filter`. It is safe in a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sysctl(Box<str>);

/// A text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a setting of a link must be ipv4/ or ipv6/ and at most {MAX} bytes in all of lower-case letters, digits and '_'"
)]
pub struct InvalidSysctl;

impl Sysctl {
    /// `ipv4` or `ipv6`, and the name of the file.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

impl FromStr for Sysctl {
    type Err = InvalidSysctl;

    fn from_str(text: &str) -> Result<Self, InvalidSysctl> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        match text.split_once('/') {
            Some(("ipv4" | "ipv6", name))
                if !name.is_empty() && text.len() <= MAX && name.bytes().all(plain) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(InvalidSysctl),
        }
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_the_links_directory() {
        let sysctl: Sysctl = "ipv6/accept_ra".parse().unwrap();
        assert_eq!(sysctl.parts(), ("ipv6", "accept_ra"));
        let long = format!("ipv4/{}", "a".repeat(60));
        for bad in [
            "",
            "ipv4",
            "ipv4/",
            "ipv5/a",
            "ipv4/../a",
            "ipv4/a/b",
            "ipv4/A",
            &long,
        ] {
            assert_eq!(bad.parse::<Sysctl>(), Err(InvalidSysctl), "{bad}");
        }
    }
}
