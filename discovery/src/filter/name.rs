//! Names: patterns of those that other software makes and keeps.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::{Candidate, DeviceFilter, Verdict};

/// A pattern for whole names of links, where `*` stands for any bytes, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(Box<str>);

impl FromStr for NamePattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NamePattern {
    /// Whether the whole name fits.
    pub fn fits(&self, name: &[u8]) -> bool {
        let mut parts = self.0.split('*').map(str::as_bytes);
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            let found = (0..=rest.len()).find_map(|at| rest.get(at..)?.strip_prefix(part));
            let Some(after) = found else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last)
    }
}

/// Hides links by name.
#[derive(Debug)]
pub(super) struct HiddenNames(pub(super) Vec<NamePattern>);

impl DeviceFilter for HiddenNames {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        let name = candidate.link.name.as_bytes();
        match self.0.iter().find(|pattern| pattern.fits(name)) {
            Some(pattern) => Verdict::hide(format!("has a name like {pattern} (see --hide-names)")),
            None => Verdict::Advertise,
        }
    }
}
