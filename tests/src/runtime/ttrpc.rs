//! ttrpc messages: a 10-byte header (length, stream id, type, flags; big-endian) and a protobuf envelope.

use std::io;

/// Largest message.
const MAX_MESSAGE: usize = 4 << 20;
const HEADER: usize = 10;

/// Type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Response,
}

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) stream: u32,
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        let kind = match self.kind {
            Kind::Request => 1,
            Kind::Response => 2,
        };
        let mut out = Vec::with_capacity(self.payload.len().saturating_add(HEADER));
        out.extend(length.to_be_bytes());
        out.extend(self.stream.to_be_bytes());
        out.extend([kind, 0]);
        out.extend(&self.payload);
        out
    }
}

/// Puts messages together from the byte stream of one connection.
#[derive(Debug, Default)]
pub(super) struct Assembler(Vec<u8>);

impl Assembler {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The stream is no ttrpc of unary calls.
    pub(super) fn next(&mut self) -> io::Result<Option<Message>> {
        let Some((header, rest)) = self.0.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *header;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(io::Error::other(format!("message of {length} bytes")));
        }
        let kind = match (kind, flags) {
            (1, 0) => Kind::Request,
            (2, 0) => Kind::Response,
            other => return Err(io::Error::other(format!("type and flags {other:?}"))),
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let message = Message {
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind,
            payload: payload.to_vec(),
        };
        self.0 = rest.to_vec();
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_put_together_across_pieces() {
        let message = |stream, payload: &[u8]| Message {
            stream,
            kind: Kind::Response,
            payload: payload.to_vec(),
        };
        let mut bytes = message(1, b"hello").encode();
        assert_eq!(bytes[..10], [0, 0, 0, 5, 0, 0, 0, 1, 2, 0]);
        bytes.extend(message(3, b"").encode());
        let mut assembler = Assembler::default();
        let mut got = Vec::new();
        for piece in bytes.chunks(3) {
            assembler.push(piece);
            got.extend(assembler.next().unwrap());
        }
        assert_eq!(got, [message(1, b"hello"), message(3, b"")]);
    }

    #[test]
    fn other_types_and_giants_are_refused() {
        for header in [
            [0, 0, 0, 0, 0, 0, 0, 1, 3, 0],
            [0, 0x50, 0, 0, 0, 0, 0, 1, 1, 0],
        ] {
            let mut assembler = Assembler::default();
            assembler.push(&header);
            assert!(assembler.next().is_err());
        }
    }
}
