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
    let skipped = match message.kind {
        DONE => Some(4),
        _ if message.flags & FLAG_CAPPED != 0 => HEADER.checked_add(4),
        _ => u32_at(message.body, 4)
            .and_then(|length| usize::try_from(length).ok())
            .and_then(|length| length.checked_next_multiple_of(4)?.checked_add(4)),
    };
    let rest = skipped.and_then(|skipped| message.body.get(skipped..));
    let attributes = Attributes::new(rest.unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recorded;

    fn header(length: u32, kind: u16, flags: u16) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn every_message_of_a_datagram_is_found() {
        let bytes = recorded::bytes(recorded::LINKS);
        let kinds: Vec<_> = Messages::new(&bytes).map(|m| m.unwrap().kind).collect();
        assert_eq!(kinds, [16, 16, 16, 16, 16, DONE]);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_reading_with_an_error() {
        for length in [0, 4, 15, 17, u32::MAX] {
            let bytes = header(length, 16, 0);
            let found: Vec<_> = Messages::new(&bytes).collect();
            assert_eq!(found.len(), 1, "{length}");
            assert!(found[0].is_err(), "{length}");
        }
        for attribute in [
            &[0, 0, 1, 0][..],
            &[3, 0, 1, 0],
            &[9, 0, 1, 0, 0, 0, 0, 0],
            &[1],
        ] {
            let found: Vec<_> = Attributes::new(attribute).collect();
            assert_eq!(found.len(), 1, "{attribute:?}");
            assert!(found[0].is_err(), "{attribute:?}");
        }
    }

    #[test]
    fn attribute_types_come_without_flags() {
        let nested = 0x8034_u16.to_ne_bytes();
        let bytes = [&[4, 0][..], &nested].concat();
        let found: Vec<_> = Attributes::new(&bytes).map(Result::unwrap).collect();
        assert_eq!(found, [(52, &[][..])]);
    }

    #[test]
    fn strings_end_at_the_first_nul_if_there_is_one() {
        for (bytes, want) in [
            (&b"ab\0c"[..], &b"ab"[..]),
            (b"ab", b"ab"),
            (b"", b""),
            (b"\0", b""),
        ] {
            assert_eq!(until_nul(bytes), want);
        }
    }

    #[test]
    fn the_words_of_the_kernel_are_found_behind_any_form_of_error() {
        let words = |request: &[u8], kind, flags| {
            let mut body = (-17_i32).to_ne_bytes().to_vec();
            body.extend(request);
            body.extend([8, 0, 2, 0, 1, 1, 1, 1]); // NLMSGERR_ATTR_OFFS
            body.extend([7, 0, 1, 0, b'n', b'o', 0, 0]);
            let bytes = [header(0, kind, flags), body].concat();
            let length = u32::try_from(bytes.len()).unwrap().to_ne_bytes();
            let bytes = [&length, &bytes[4..]].concat();
            let message = Messages::new(&bytes).next().unwrap().unwrap();
            verdict(&message)
                .map(|(code, words)| (code, words.map(<[u8]>::to_vec)))
                .unwrap()
        };
        let whole = [header(22, 19, 0), vec![0; 8]].concat();
        let no = Some(b"no".to_vec());
        assert_eq!(words(&whole, ERROR, 0x200), (-17, no.clone()));
        assert_eq!(words(&header(22, 19, 0), ERROR, 0x300), (-17, no.clone()));
        assert_eq!(words(&[], DONE, 0x200), (-17, no));
        assert_eq!(words(&whole, ERROR, 0), (-17, None));
        assert_eq!(words(&header(u32::MAX, 19, 0), ERROR, 0x200), (-17, None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_go_on_for_ever(bytes in recorded::damaged()) {
            let messages: Vec<_> = Messages::new(&bytes).flatten().collect();
            prop_assert!(messages.len() <= bytes.len() / 16);
            for message in messages {
                prop_assert!(message.body.len() < bytes.len());
                let _ = verdict(&message);
                let attributes = Attributes::new(message.body).flatten().count();
                prop_assert!(attributes <= message.body.len() / 4);
            }
        }
    }
}
