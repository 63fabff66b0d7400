//! Links of kinds, or with options, that the driver never makes.

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifla, Rtm};

use super::{Namespace, TestingError};
use crate::error::BuildError;
use crate::link::request::body;
use crate::request::{Attributes, Request};

/// `IFLA_IFNAME`, `IFLA_LINK`, `IFLA_LINKINFO`, `IFLA_INFO_KIND` and `IFLA_INFO_DATA` (linux/if_link.h).
const NAME: u16 = 3;
const PARENT: u16 = 5;
const INFO: u16 = 18;
const KIND: u16 = 1;
const DATA: u16 = 2;

impl Namespace {
    /// Makes a link of a kind, with options of that kind as the kernel numbers them.
    pub fn add_link(
        &self,
        name: &str,
        kind: &str,
        parent: Option<&str>,
        options: &[(u16, &[u8])],
    ) -> Result<(), TestingError> {
        let parent = parent.map(|name| self.link(name)).transpose()?;
        let request = || -> Result<Request, BuildError> {
            let mut data = Attributes::new();
            for (option, value) in options {
                data = data.bytes(*option, value)?;
            }
            let info = Attributes::new()
                .text(KIND, kind.as_bytes())?
                .nest(DATA, &[], data)?;
            let attributes: Attributes<Ifla> = Attributes::new()
                .text(NAME, name.as_bytes())?
                .maybe(parent, |list, parent| list.number(PARENT, parent.index))?
                .nest(INFO, &[], info)?;
            let flags = NlmF::CREATE | NlmF::EXCL;
            Request::change(
                "make a link",
                Rtm::Newlink,
                flags,
                body(0, attributes, None)?,
            )
        };
        Ok(self.socket()?.exchange().change(request())?)
    }
}
