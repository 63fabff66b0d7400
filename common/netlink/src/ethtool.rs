//! Offload features of links, asked and changed over ethtool's family of generic netlink (linux/ethtool_netlink.h).
//!
//! Each request waits for the kernel's lock of links, as a link's own do (`ethnl_default_doit`, net/ethtool/netlink.c), and
//! no driver is asked to read them. Sets of features travel in their compact form, by number; what the numbers mean is
//! asked once.

mod bitset;
mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use network_driver_common::model::Feature;
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use crate::error::{BuildError, Malformed, OpenSocketError, RequestError};
use crate::exchange::Exchange;
use crate::message;
use crate::netns::Netns;
use crate::request::{Attributes, Request};
use bitset::Bitset;
pub(crate) use kernel::FeatureNames;
use kernel::Kernel;

/// Size of `struct genlmsghdr`.
const HEADER: usize = 4;
/// `ETHTOOL_MSG_FEATURES_GET` and `_SET`.
const GET: u8 = 11;
const SET: u8 = 12;
/// `ETHTOOL_A_FEATURES_*`.
const FEATURES_HEADER: u16 = 1;
const FEATURES_HW: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
const FEATURES_NOCHANGE: u16 = 5;
/// `ETHTOOL_A_HEADER_*`.
const HEADER_DEV_INDEX: u16 = 1;
const HEADER_FLAGS: u16 = 3;
/// `ETHTOOL_FLAG_*`: answer with compact sets; do not tell what a change came to.
const COMPACT_BITSETS: u32 = 1;
const OMIT_REPLY: u32 = 2;

/// Offload features of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Features {
    /// Whether each that can be changed is wanted. What is wanted need not be active: it may need another one.
    pub wanted: BTreeMap<Feature, bool>,
    /// Those that are active, of all.
    pub active: BTreeSet<Feature>,
}

/// A socket to ethtool in the namespace it was opened in, which it keeps alive. A kernel without that family (before
/// Linux 5.7, or built without) has no features to tell or change.
#[derive(Debug)]
pub struct Ethtool(Exchange);

impl Ethtool {
    /// Opens in the calling thread's namespace.
    pub fn open() -> Result<Self, OpenSocketError> {
        Exchange::open(SockProtocol::NetlinkGeneric).map(Self)
    }

    /// Opens in another namespace.
    pub fn open_in(netns: &Netns) -> Result<Self, OpenSocketError> {
        netns.run(Self::open).map_err(OpenSocketError::Enter)?
    }

    /// When to give up, as [`crate::Socket::set_deadline`].
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.0.set_deadline(deadline);
    }

    /// The features of a link; none where the kernel does not tell.
    ///
    /// # Errors
    /// `ENODEV` when `index` names no link.
    pub fn features(&mut self, index: u32) -> Result<Features, RequestError> {
        let Some(kernel) = Kernel::known(&mut self.0)? else {
            return Ok(Features::default());
        };
        let mut found = Features::default();
        let asked = self.0.ask(get(kernel.family, index), &mut |message| {
            found = parse(message.body, &kernel.names)?;
            Ok(())
        });
        match asked {
            Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(Features::default()),
            asked => asked.map(|()| found),
        }
    }

    /// Says which features are wanted of a link, or not; all others stay as they are. One that the kernel does not know is
    /// passed over.
    pub fn want(
        &mut self,
        index: u32,
        wanted: &BTreeMap<Feature, bool>,
    ) -> Result<(), RequestError> {
        let Some(kernel) = Kernel::known(&mut self.0)? else {
            return Ok(());
        };
        let named = kernel.names.numbered();
        let known = named.filter_map(|(number, name)| Some((number, *wanted.get(name)?)));
        let known: Vec<_> = known.collect();
        if known.is_empty() {
            return Ok(());
        }
        self.0.change(set(kernel.family, index, &known))
    }
}

fn header(index: u32, flags: u32) -> Result<Attributes<u16>, BuildError> {
    let header = Attributes::new()
        .number(HEADER_DEV_INDEX, index)?
        .number(HEADER_FLAGS, flags)?;
    Attributes::new().nest(FEATURES_HEADER, &[], header)
}

fn get(family: u16, index: u32) -> Result<Request, BuildError> {
    let attributes = header(index, COMPACT_BITSETS)?;
    Request::generic("read offload features", family, GET, attributes)
}

fn set(family: u16, index: u32, wanted: &[(u32, bool)]) -> Result<Request, BuildError> {
    let flags = COMPACT_BITSETS | OMIT_REPLY;
    let attributes = header(index, flags)?.nest(FEATURES_WANTED, &[], bitset::change(wanted)?)?;
    Request::generic("change offload features", family, SET, attributes)
}

/// Reads the body of an `ETHTOOL_MSG_FEATURES_GET_REPLY`.
pub(crate) fn parse(body: &[u8], names: &FeatureNames) -> Result<Features, Malformed> {
    let [mut hardware, mut wanted, mut active, mut never] = [Bitset::default(); 4];
    for attribute in message::Attributes::behind(body, HEADER)? {
        match attribute? {
            (FEATURES_HW, value) => hardware = Bitset::parse(value)?,
            (FEATURES_WANTED, value) => wanted = Bitset::parse(value)?,
            (FEATURES_ACTIVE, value) => active = Bitset::parse(value)?,
            (FEATURES_NOCHANGE, value) => never = Bitset::parse(value)?,
            _ => {}
        }
    }
    let mut features = Features::default();
    for (number, name) in names.numbered() {
        if hardware.has(number) && !never.has(number) {
            let is_wanted = wanted.has(number);
            features.wanted.insert(name.clone(), is_wanted);
        }
        if active.has(number) {
            features.active.insert(name.clone());
        }
    }
    Ok(features)
}

#[cfg(test)]
mod tests;
