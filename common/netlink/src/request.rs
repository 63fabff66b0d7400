//! Writes requests: neli's messages and attributes, with what they all have in common.

use std::io::Cursor;

use neli::consts::nl::{NlType, NlmF};
use neli::consts::rtnl::{RtaType, Rtm};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::rtnl::{Rtattr, RtattrBuilder};
use neli::types::{Buffer, RtBuffer};
use neli::{Size, ToBytes};

use crate::error::BuildError;

/// Longest payload of one attribute; far above all we send.
const MAX_PAYLOAD: usize = 4096;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Version of the families that are asked: `nlctrl` is at 2 and `ethtool` at 1, and neither looks at it.
const GENERIC_VERSION: u8 = 1;
/// Where `nlmsg_seq` stands.
const SEQUENCE: std::ops::Range<usize> = 8..12;

/// A request, ready but for its sequence number.
#[derive(Debug)]
pub(crate) struct Request {
    /// What it does, for errors.
    pub(crate) name: &'static str,
    bytes: Vec<u8>,
}

impl Request {
    /// A request to change something.
    pub(crate) fn change<P: Size + ToBytes>(
        name: &'static str,
        kind: Rtm,
        flags: NlmF,
        body: P,
    ) -> Result<Self, BuildError> {
        Self::new(name, kind, flags | NlmF::ACK, body)
    }

    /// A request for one thing.
    pub(crate) fn single<P: Size + ToBytes>(
        name: &'static str,
        kind: Rtm,
        body: P,
    ) -> Result<Self, BuildError> {
        Self::new(name, kind, NlmF::ACK, body)
    }

    /// A request for a table.
    pub(crate) fn dump<P: Size + ToBytes>(
        name: &'static str,
        kind: Rtm,
        body: P,
    ) -> Result<Self, BuildError> {
        Self::new(name, kind, NlmF::DUMP, body)
    }

    /// A request to a family of generic netlink: `struct genlmsghdr` (linux/genetlink.h) and attributes.
    pub(crate) fn generic(
        name: &'static str,
        family: u16,
        command: u8,
        attributes: Attributes<u16>,
    ) -> Result<Self, BuildError> {
        let mut body = Cursor::new(vec![command, GENERIC_VERSION, 0, 0]);
        body.set_position(4);
        let attributes = attributes.finish();
        attributes.to_bytes(&mut body).map_err(BuildError::of)?;
        Self::new(name, family, NlmF::ACK, Buffer::from(body.into_inner()))
    }

    fn new<T: NlType, P: Size + ToBytes>(
        name: &'static str,
        kind: T,
        flags: NlmF,
        body: P,
    ) -> Result<Self, BuildError> {
        let message = NlmsghdrBuilder::default()
            .nl_type(kind)
            .nl_flags(flags | NlmF::REQUEST)
            .nl_payload(NlPayload::Payload(body))
            .build()
            .map_err(BuildError::of)?;
        let mut bytes = Cursor::new(Vec::new());
        message.to_bytes(&mut bytes).map_err(BuildError::of)?;
        Ok(Self {
            name,
            bytes: bytes.into_inner(),
        })
    }

    /// One that the kernel has no answer to: `NLMSG_NOOP`, not to be acknowledged.
    #[cfg(test)]
    pub(crate) fn silent() -> Result<Self, BuildError> {
        Self::new("say nothing", 1_u16, NlmF::empty(), Buffer::new())
    }

    /// The bytes to send under a sequence number.
    pub(crate) fn numbered(&mut self, sequence: u32) -> &[u8] {
        if let Some(field) = self.bytes.get_mut(SEQUENCE) {
            field.copy_from_slice(&sequence.to_ne_bytes());
        }
        &self.bytes
    }
}

/// The attributes of a request, in order.
#[derive(Debug)]
pub(crate) struct Attributes<T>(RtBuffer<T, Buffer>);

impl<T: RtaType> Attributes<T> {
    pub(crate) fn new() -> Self {
        Self(RtBuffer::new())
    }

    /// Adds an attribute of plain bytes.
    pub(crate) fn bytes(mut self, kind: u16, payload: &[u8]) -> Result<Self, BuildError> {
        if payload.len() > MAX_PAYLOAD {
            let length = payload.len();
            let text = format!("attribute {kind} of {length} bytes, at most {MAX_PAYLOAD}");
            return Err(BuildError::of(text));
        }
        self.0.push(attribute(kind, payload)?);
        Ok(self)
    }

    /// Adds a number.
    pub(crate) fn number(self, kind: u16, value: u32) -> Result<Self, BuildError> {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a string, with the closing NUL that some attributes want and all accept.
    pub(crate) fn text(self, kind: u16, text: &[u8]) -> Result<Self, BuildError> {
        self.bytes(kind, &[text, b"\0"].concat())
    }

    /// Adds what `add` adds, if there is a value.
    pub(crate) fn maybe<V>(
        self,
        value: Option<V>,
        add: impl FnOnce(Self, V) -> Result<Self, BuildError>,
    ) -> Result<Self, BuildError> {
        match value {
            Some(value) => add(self, value),
            None => Ok(self),
        }
    }

    /// Adds an attribute of a fixed header, which may be empty, followed by attributes.
    pub(crate) fn nest(
        mut self,
        kind: u16,
        header: &[u8],
        inner: Attributes<u16>,
    ) -> Result<Self, BuildError> {
        let mut outer = attribute(kind | NESTED, header)?;
        for attribute in inner.0 {
            outer = outer.nest(&attribute).map_err(BuildError::of)?;
        }
        self.0.push(outer);
        Ok(self)
    }

    pub(crate) fn finish(self) -> RtBuffer<T, Buffer> {
        self.0
    }
}

fn attribute<T: RtaType>(kind: u16, payload: &[u8]) -> Result<Rtattr<T, Buffer>, BuildError> {
    RtattrBuilder::default()
        .rta_type(T::from(kind))
        .rta_payload(Buffer::from(payload))
        .build()
        .map_err(BuildError::of)
}
