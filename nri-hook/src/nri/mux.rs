//! The multiplexer that carries several byte streams over NRI's one socket (containerd/nri
//! `pkg/net/multiplex`).
//!
//! A frame is an 8-byte header, connection id and payload length as big-endian `u32`, and the payload. There is
//! no opening or closing; each id is a byte stream, so a message may span frames and [`super::ttrpc`] puts it
//! together again.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::ttrpc;

/// Longest payload we send. Every Go runtime reads ttrpc through a 4096-byte buffer and closes the connection
/// without a word when a frame does not fit.
pub(crate) const MAX_PAYLOAD_OUT: usize = 4096;

/// Longest payload we take: one whole ttrpc message.
pub(crate) const MAX_PAYLOAD_IN: usize = ttrpc::MAX_DATA.saturating_add(ttrpc::HEADER);

const HEADER: usize = 8;

/// Which of the byte streams a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// Id 1: the runtime calls the Plugin service, which we serve.
    Plugin,
    /// Id 2: we call the Runtime service.
    Runtime,
}

impl Channel {
    /// Number of the stream in a frame's header.
    pub(crate) const fn id(self) -> u32 {
        match self {
            Self::Plugin => 1,
            Self::Runtime => 2,
        }
    }

    fn from_id(id: u32) -> Option<Self> {
        match id {
            1 => Some(Self::Plugin),
            2 => Some(Self::Runtime),
            _ => None,
        }
    }
}

/// A piece of one byte stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Whose piece it is.
    pub(crate) channel: Channel,
    /// The bytes.
    pub(crate) payload: Bytes,
}

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFrameError {
    /// The socket failed.
    #[error("read a frame from the runtime")]
    Io(#[from] std::io::Error),
    /// The runtime closed the connection inside a frame.
    #[error("the runtime closed the connection inside a frame")]
    Truncated,
    /// A frame that holds more than a message can have.
    #[error("frame of {length} bytes on connection {id} exceeds {MAX_PAYLOAD_IN}")]
    TooLong {
        /// Connection id of the frame.
        id: u32,
        /// Length of its payload as announced.
        length: u32,
    },
}

/// Reads the next frame of a stream that we know; those of other streams are skipped, as the Go side does.
/// `None` when the runtime has closed the connection between two frames.
///
/// # Cancel safety
/// Not cancel safe: a frame that was begun is lost.
pub(crate) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Frame>, ReadFrameError> {
    loop {
        let mut header = BytesMut::with_capacity(HEADER);
        if read_up_to(reader, &mut header, HEADER).await? < HEADER {
            return if header.is_empty() {
                Ok(None)
            } else {
                Err(ReadFrameError::Truncated)
            };
        }
        let (id, length) = parse_header(&header);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_PAYLOAD_IN {
            return Err(ReadFrameError::TooLong { id, length });
        }
        // Grows as bytes arrive: an announced length alone allocates nothing.
        let mut payload = BytesMut::new();
        if read_up_to(reader, &mut payload, size).await? < size {
            return Err(ReadFrameError::Truncated);
        }
        if let Some(channel) = Channel::from_id(id) {
            let payload = payload.freeze();
            return Ok(Some(Frame { channel, payload }));
        }
    }
}

fn parse_header(header: &[u8]) -> (u32, u32) {
    let number = |at: usize| {
        let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    (number(0), number(4))
}

/// Reads until the buffer holds `size` bytes or the stream ends; how many it holds then.
async fn read_up_to(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    size: usize,
) -> std::io::Result<usize> {
    while buffer.len() < size {
        let missing = size.saturating_sub(buffer.len());
        let limit = u64::try_from(missing).unwrap_or(u64::MAX);
        if (&mut *reader).take(limit).read_buf(buffer).await? == 0 {
            break;
        }
    }
    Ok(buffer.len())
}

/// The frames that carry a message on a stream, ready to be written in one go.
pub(crate) fn frames(channel: Channel, message: &[u8]) -> Bytes {
    let count = message.len().div_ceil(MAX_PAYLOAD_OUT);
    let size = message.len().saturating_add(count.saturating_mul(HEADER));
    let mut out = BytesMut::with_capacity(size);
    for payload in message.chunks(MAX_PAYLOAD_OUT) {
        out.put_u32(channel.id());
        out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        out.put_slice(payload);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read_all(mut bytes: &[u8]) -> Result<Vec<Frame>, ReadFrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut bytes).await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn no_frame_we_send_holds_more_than_4096_bytes() {
        for size in [0, 1, 4096, 4097, 8192, 20_000] {
            let message: Vec<u8> = (0..=250).cycle().take(size).collect();
            let sent = read_all(&frames(Channel::Plugin, &message)).await.unwrap();
            assert!(sent.iter().all(|f| f.payload.len() <= 4096), "{size}");
            let joined: Vec<u8> = sent.iter().flat_map(|f| f.payload.to_vec()).collect();
            assert_eq!(joined, message, "{size}");
        }
    }

    #[tokio::test]
    async fn frames_of_unknown_streams_are_skipped() {
        let bytes = b"\0\0\0\x07\0\0\0\x02xx\0\0\0\x02\0\0\0\x01y";
        let got = read_all(bytes).await.unwrap();
        let payload = Bytes::from_static(b"y");
        let channel = Channel::Runtime;
        assert_eq!(got, [Frame { channel, payload }]);
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_refused_by_its_header() {
        let error = read_all(b"\0\0\0\x01\0\x40\0\x0b").await.unwrap_err();
        assert!(matches!(error, ReadFrameError::TooLong { id: 1, .. }));
        let error = read_all(b"\0\0\0\x01\0\x40\0\x0a").await.unwrap_err();
        assert!(matches!(error, ReadFrameError::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_crash_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            drop(runtime.block_on(read_all(&bytes)));
        }
    }
}
