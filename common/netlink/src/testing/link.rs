//! Links of kinds, or with options, that the driver never makes.

use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifla, Rtm};

use super::{Namespace, TestingError};
use crate::error::BuildError;
use crate::link::attribute as ifla;
use crate::link::request::body;
use crate::request::{Attributes, Request};

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
                .text(ifla::INFO_KIND, kind.as_bytes())?
                .nest(ifla::INFO_DATA, &[], data)?;
            let attributes: Attributes<Ifla> = Attributes::new()
                .text(ifla::IFNAME, name.as_bytes())?
                .maybe(parent, |list, parent| list.number(ifla::LINK, parent.index))?
                .nest(ifla::LINKINFO, &[], info)?;
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
