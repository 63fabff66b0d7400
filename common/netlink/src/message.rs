//! Splits the kernel's bytes into netlink messages and their attributes: the one parser behind dumps, single answers
//! and events. It copies nothing, allocates nothing and never indexes; what a message means is left to `link`,
//! `address` and `route`.

use std::net::IpAddr;

use crate::error::Malformed;

/// `NLMSG_ERROR`: an error, or the acknowledgement of a request (linux/netlink.h).
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
pub(crate) const FLAG_DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_CAPPED`: an error message without the body of the request.
const FLAG_CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: an error message with attributes.
const FLAG_ACK_ATTRIBUTES: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;
/// All but `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// `AF_INET` and `AF_INET6`.
pub(crate) const INET: u8 = 2;
pub(crate) const INET6: u8 = 10;

/// A netlink message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// `nlmsg_type`.
    pub(crate) kind: u16,
    /// `nlmsg_flags`.
    pub(crate) flags: u16,
    /// `nlmsg_seq`: that of the request it answers, 0 for an event.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// The messages of a datagram.
#[derive(Debug, Clone)]
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Messages<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn take(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let message = self.0.get(..length)?;
        let found = Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            body: message.get(HEADER..)?,
        };
        self.0 = after(self.0, length);
        Some(found)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let found = self.take();
        if found.is_none() {
            self.0 = &[]; // where the next one starts is unknown
        }
        Some(found.ok_or(Malformed("a message is cut off")))
    }
}

/// The attributes of a message or of a nested attribute: type without flags, and payload.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Those behind a fixed header of `header` bytes.
    pub(crate) fn behind(body: &'a [u8], header: usize) -> Result<Self, Malformed> {
        let bytes = body.get(header..);
        bytes.map(Self).ok_or(Malformed("a header is cut off"))
    }

    fn take(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        let attribute = self.0.get(..length)?;
        let found = (
            u16_at(attribute, 2)? & ATTRIBUTE_TYPE_MASK,
            attribute.get(4..)?,
        );
        self.0 = after(self.0, length);
        Some(found)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let found = self.take();
        if found.is_none() {
            self.0 = &[];
        }
        Some(found.ok_or(Malformed("an attribute is cut off")))
    }
}

/// What follows something of `length` bytes and its padding to four.
pub(crate) fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

/// The answer in a message of type [`ERROR`] or [`DONE`]: its code (0, or a negative errno), and the kernel's words.
pub(crate) fn verdict<'a>(message: &Message<'a>) -> Result<(i32, Option<&'a [u8]>), Malformed> {
    let code = u32_at(message.body, 0).ok_or(Malformed("an error message is cut off"))?;
    let code = code.cast_signed();
    if message.flags & FLAG_ACK_ATTRIBUTES == 0 {
        return Ok((code, None));
    }
    let code_and_request = match message.kind {
        DONE => 4,
        _ if message.flags & FLAG_CAPPED != 0 => HEADER.saturating_add(4),
        _ => u32_at(message.body, 4)
            .and_then(|length| usize::try_from(length).ok())
            .unwrap_or(usize::MAX - 8)
            .next_multiple_of(4)
            .saturating_add(4),
    };
    let attributes = Attributes::new(message.body.get(code_and_request..).unwrap_or_default());
    let words = attributes.flatten().find(|(kind, _)| *kind == ERROR_TEXT);
    Ok((code, words.map(|(_, bytes)| until_nul(bytes))))
}

/// The bytes of a C string: up to the first NUL, if there is one.
pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A C string as text; bytes that are none are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(until_nul(bytes)).into_owned()
}

pub(crate) fn u8_at(bytes: &[u8], offset: usize) -> Option<u8> {
    bytes.get(offset).copied()
}

pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// An attribute that is one number.
pub(crate) fn number(bytes: &[u8]) -> Result<u32, Malformed> {
    u32_at(bytes, 0).ok_or(Malformed("a number is cut off"))
}

/// An attribute that is an address of the family.
pub(crate) fn address(family: u8, bytes: &[u8]) -> Result<IpAddr, Malformed> {
    let address = match family {
        INET => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        INET6 => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    };
    address.ok_or(Malformed("an address is cut off"))
}
