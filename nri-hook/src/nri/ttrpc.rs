//! ttrpc, the RPC protocol inside the multiplexer's streams (containerd/ttrpc `PROTOCOL.md`), as far as NRI uses
//! it: unary calls.
//!
//! A message is a 10-byte header, length and stream id as big-endian `u32`, type, flags, and the data, a
//! protobuf [`Request`] or [`Response`]. This file knows bytes and rules; who answers is [`super::service`]'s.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use network_driver_proto::ttrpc::{Request, Response, Status};
use prost::Message as _;

/// Size of a message's header in bytes.
pub(crate) const HEADER: usize = 10;

/// Longest data of a message in bytes; either side refuses more.
pub(crate) const MAX_DATA: usize = 4 << 20;

/// Longest error text we send, in bytes. It ends in an event of the pod.
const MAX_ERROR_TEXT: usize = 1024;

const TYPE_REQUEST: u8 = 1;
const TYPE_RESPONSE: u8 = 2;

/// Status of an answer: gRPC's numbers, those we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// The event was refused.
    Unknown,
    /// The request cannot be read.
    InvalidArgument,
    /// The answer was due before the work was done.
    DeadlineExceeded,
    /// More than we take.
    ResourceExhausted,
    /// We do not serve this method. Runtimes then fall back to `StateChange`.
    Unimplemented,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// The number on the wire.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::Unknown => 2,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::ResourceExhausted => 8,
            Self::Unimplemented => 12,
            Self::Internal => 13,
        }
    }
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// What kind of error.
    pub(crate) code: Code,
    /// A sentence for people.
    pub(crate) message: String,
}

impl Failure {
    /// An error of this kind.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MAX_ERROR_TEXT));
        Self { code, message }
    }
}

/// What a ttrpc message is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// A call.
    Request {
        /// Which call of this connection.
        stream: u32,
        /// The call.
        request: Request,
    },
    /// The answer to a call.
    Response {
        /// Which call it answers.
        stream: u32,
        /// The answer.
        response: Response,
    },
}

/// Why a byte stream is no ttrpc.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// Longer than a message may be.
    #[error("ttrpc message of {0} bytes exceeds {MAX_DATA}")]
    TooLong(u32),
    /// Data that is not the protobuf message its type says.
    #[error("ttrpc message on stream {stream} cannot be decoded")]
    Malformed {
        /// Which call.
        stream: u32,
        /// What the decoder found.
        #[source]
        source: prost::DecodeError,
    },
}

/// Puts messages together from the pieces of one byte stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pending: BytesMut,
}

impl Decoder {
    /// Takes the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.pending.extend_from_slice(piece);
    }

    /// The next whole message, if there is one. Types that NRI does not use are skipped.
    ///
    /// # Errors
    /// When the stream cannot be followed any further.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message>, DecodeError> {
        loop {
            let Some(mut header) = self.pending.first_chunk::<HEADER>().map(|h| &h[..]) else {
                return Ok(None);
            };
            let (length, stream, kind) = (header.get_u32(), header.get_u32(), header.get_u8());
            let size = usize::try_from(length).unwrap_or(usize::MAX);
            if size > MAX_DATA {
                return Err(DecodeError::TooLong(length));
            }
            if self.pending.len() < HEADER.saturating_add(size) {
                return Ok(None);
            }
            self.pending.advance(HEADER);
            let data = self.pending.split_to(size).freeze();
            let malformed = |source| DecodeError::Malformed { stream, source };
            match kind {
                TYPE_REQUEST => {
                    let request = Request::decode(data).map_err(malformed)?;
                    return Ok(Some(Message::Request { stream, request }));
                }
                TYPE_RESPONSE => {
                    let response = Response::decode(data).map_err(malformed)?;
                    return Ok(Some(Message::Response { stream, response }));
                }
                _ => {}
            }
        }
    }
}

/// A call as bytes.
pub(crate) fn encode_request(stream: u32, request: &Request) -> Bytes {
    encode(stream, TYPE_REQUEST, request)
}

/// The answer to a call. An absent status means OK.
pub(crate) fn response(answer: Result<Vec<u8>, Failure>) -> Response {
    match answer {
        Ok(payload) => Response {
            status: None,
            payload,
        },
        Err(Failure { code, message }) => Response {
            status: Some(Status {
                code: code.number(),
                message,
            }),
            payload: Vec::new(),
        },
    }
}

/// The answer to a call as bytes.
pub(crate) fn encode_response(stream: u32, response: &Response) -> Bytes {
    encode(stream, TYPE_RESPONSE, response)
}

fn encode(stream: u32, kind: u8, message: &impl prost::Message) -> Bytes {
    let size = message.encoded_len();
    let mut out = BytesMut::with_capacity(HEADER.saturating_add(size));
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u32(stream);
    out.put_u8(kind);
    out.put_u8(0);
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(method: &str) -> Request {
        Request {
            service: "s".into(),
            method: method.into(),
            ..Request::default()
        }
    }

    #[test]
    fn messages_come_together_from_any_pieces() {
        let mut bytes = encode_request(1, &request("A")).to_vec();
        bytes.extend(encode_response(1, &response(Ok(vec![7; 5000]))));
        for size in [1, 3, 10, 4096, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.feed(piece);
                while let Some(message) = decoder.next_message().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got.len(), 2, "pieces of {size}");
            assert_eq!(
                got[0],
                Message::Request {
                    stream: 1,
                    request: request("A")
                }
            );
            let Message::Response { response, .. } = &got[1] else {
                panic!("no response in pieces of {size}");
            };
            assert_eq!(response.payload.len(), 5000);
        }
    }

    #[test]
    fn a_message_longer_than_4_mib_is_refused_by_its_header() {
        let mut decoder = Decoder::default();
        decoder.feed(b"\0\x40\0\x01\0\0\0\x01\x01\0");
        assert!(matches!(
            decoder.next_message(),
            Err(DecodeError::TooLong(0x40_0001))
        ));
    }

    #[test]
    fn an_error_text_is_cut_on_a_character() {
        let failure = Failure::new(Code::Unknown, "ü".repeat(1000));
        assert_eq!(failure.message.len(), 1024);
        let failure = Failure::new(Code::Unknown, format!("a{}", "ü".repeat(1000)));
        assert_eq!(failure.message.len(), 1023);
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_decoder(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.feed(&piece);
                while let Ok(Some(_)) = decoder.next_message() {}
            }
        }
    }
}
