//! What the kernel calls things, asked once: ethtool's number among the families of generic netlink
//! (linux/genetlink.h), and the names of offload features by their numbers.

use std::sync::OnceLock;

use network_driver_common::model::Feature;
use nix::errno::Errno;

use super::HEADER;
use crate::error::{BuildError, Malformed, RequestError};
use crate::exchange::Exchange;
use crate::message::{self, number, text, u16_at};
use crate::request::{Attributes, Request};

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROL: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID` and `_NAME`.
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// `ETHTOOL_MSG_STRSET_GET`.
const GET_STRINGS: u8 = 1;
/// `ETH_SS_FEATURES` (linux/ethtool.h).
const FEATURES: u32 = 4;
/// `ETHTOOL_A_STRSET_HEADER` and `_STRINGSETS`, and what is nested in the latter.
const STRSET_HEADER: u16 = 1;
const STRSET_STRINGSETS: u16 = 2;
const STRINGSETS_STRINGSET: u16 = 1;
const STRINGSET_ID: u16 = 1;
const STRINGSET_STRINGS: u16 = 3;
const STRINGS_STRING: u16 = 1;
const STRING_INDEX: u16 = 1;
const STRING_VALUE: u16 = 2;

/// Highest number of a feature that is kept, against a table without end; Linux 6.18 has 64.
const MAX_NUMBER: u32 = 255;

/// What holds as long as the kernel runs, in all its namespaces.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Number of ethtool's family.
    pub(super) family: u16,
    pub(super) names: FeatureNames,
}

impl Kernel {
    /// What is known of the running kernel; `None` when it has no such family.
    pub(super) fn known(exchange: &mut Exchange) -> Result<Option<&'static Self>, RequestError> {
        static KNOWN: OnceLock<Option<Kernel>> = OnceLock::new();
        if let Some(known) = KNOWN.get() {
            return Ok(known.as_ref());
        }
        let found = Self::ask(exchange)?;
        Ok(KNOWN.get_or_init(|| found).as_ref())
    }

    fn ask(exchange: &mut Exchange) -> Result<Option<Self>, RequestError> {
        let Some(family) = family(exchange, b"ethtool")? else {
            return Ok(None);
        };
        let mut names = FeatureNames::default();
        exchange.ask(names_request(family), &mut |message| {
            names = FeatureNames::parse(message.body)?;
            Ok(())
        })?;
        Ok(Some(Self { family, names }))
    }
}

/// The number of a family; `None` when the kernel has none of that name.
fn family(exchange: &mut Exchange, name: &[u8]) -> Result<Option<u16>, RequestError> {
    let mut found = None;
    let asked = exchange.ask(family_request(name), &mut |message| {
        found = parse_family(message.body)?;
        Ok(())
    });
    match asked {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        asked => asked.map(|()| found),
    }
}

fn family_request(name: &[u8]) -> Result<Request, BuildError> {
    let attributes = Attributes::new().text(FAMILY_NAME, name)?;
    let what = "look up a family of generic netlink";
    Request::generic(what, CONTROL, GET_FAMILY, attributes)
}

fn parse_family(body: &[u8]) -> Result<Option<u16>, Malformed> {
    for attribute in message::Attributes::behind(body, HEADER)? {
        if let (FAMILY_ID, value) = attribute? {
            let cut = Malformed("the number of a family is cut off");
            return u16_at(value, 0).map(Some).ok_or(cut);
        }
    }
    Ok(None)
}

fn names_request(family: u16) -> Result<Request, BuildError> {
    let set = Attributes::new().number(STRINGSET_ID, FEATURES)?;
    let sets = Attributes::new().nest(STRINGSETS_STRINGSET, &[], set)?;
    let attributes = Attributes::new()
        .nest(STRSET_HEADER, &[], Attributes::new())?
        .nest(STRSET_STRINGSETS, &[], sets)?;
    let name = "read the names of offload features";
    Request::generic(name, family, GET_STRINGS, attributes)
}

/// Names of offload features with their numbers. A number without a name is of no use to anyone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FeatureNames(Vec<(u32, Feature)>);

impl FeatureNames {
    /// Reads the body of an `ETHTOOL_MSG_STRSET_GET_REPLY` about one set.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut names = Self::default();
        for sets in nested(
            message::Attributes::behind(body, HEADER)?,
            STRSET_STRINGSETS,
        ) {
            for set in nested(sets?, STRINGSETS_STRINGSET) {
                for strings in nested(set?, STRINGSET_STRINGS) {
                    for string in nested(strings?, STRINGS_STRING) {
                        names.take(string?)?;
                    }
                }
            }
        }
        Ok(names)
    }

    fn take(&mut self, string: message::Attributes<'_>) -> Result<(), Malformed> {
        let (mut index, mut name) = (None, None);
        for attribute in string {
            match attribute? {
                (STRING_INDEX, value) => index = Some(number(value)?),
                (STRING_VALUE, value) => name = text(value).parse().ok(),
                _ => {}
            }
        }
        let known = index.filter(|index| *index <= MAX_NUMBER).zip(name);
        self.0.extend(known);
        Ok(())
    }

    /// All of them, each with its number.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u32, &Feature)> {
        self.0.iter().map(|(number, name)| (*number, name))
    }
}

/// The attributes within each attribute of a type.
fn nested(
    attributes: message::Attributes<'_>,
    wanted: u16,
) -> impl Iterator<Item = Result<message::Attributes<'_>, Malformed>> {
    attributes.filter_map(move |attribute| match attribute {
        Ok((kind, value)) if kind == wanted => Some(Ok(message::Attributes::new(value))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::SockProtocol;

    use super::*;

    #[test]
    fn a_family_that_the_kernel_does_not_have_is_none() {
        let mut exchange = Exchange::open(SockProtocol::NetlinkGeneric).unwrap();
        assert_eq!(family(&mut exchange, b"nlctrl").unwrap(), Some(CONTROL));
        assert_eq!(family(&mut exchange, b"no-such").unwrap(), None);
    }
}
