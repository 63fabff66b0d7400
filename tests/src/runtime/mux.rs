//! NRI's multiplexer: frames of an 8-byte header (connection id, length, both big-endian) and a payload.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Connection on which the runtime is the client of the plugin.
pub(super) const PLUGIN: u32 = 1;
/// Connection on which the plugin is the client of the runtime.
pub(super) const RUNTIME: u32 = 2;

/// Largest frame that the reader of Go runtimes takes: the size of its buffer.
pub(super) const MAX_FRAME: usize = 4096;

/// Reads a frame; `None` at the end of the stream.
///
/// # Errors
/// The stream failed, ended within a frame, or the frame is larger than Go's reader takes.
pub(super) async fn read_frame(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(u32, Vec<u8>)>> {
    let id = match from.read_u32().await {
        Ok(id) => id,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(from.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        let text = format!("frame of {length} bytes: cannot allocate memory");
        return Err(io::Error::other(text));
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some((id, payload)))
}

/// Writes a message as Go's ttrpc does: its first 4096 bytes as one frame, the rest as another.
///
/// # Errors
/// The stream failed.
pub(super) async fn write_message(
    to: &mut (impl AsyncWrite + Unpin),
    id: u32,
    message: &[u8],
) -> io::Result<()> {
    let (first, rest) = message
        .split_at_checked(MAX_FRAME)
        .unwrap_or((message, &[]));
    for payload in [first, rest] {
        if payload.is_empty() {
            continue;
        }
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        to.write_u32(id).await?;
        to.write_u32(length).await?;
        to.write_all(payload).await?;
    }
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_id_length_payload() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, PLUGIN, b"abc").await.unwrap();
        assert_eq!(bytes, [0, 0, 0, 1, 0, 0, 0, 3, b'a', b'b', b'c']);
        let mut from = bytes.as_slice();
        assert_eq!(
            read_frame(&mut from).await.unwrap(),
            Some((1, b"abc".to_vec()))
        );
        assert_eq!(read_frame(&mut from).await.unwrap(), None);
    }

    #[tokio::test]
    async fn frames_of_4096_bytes_pass_and_4097_do_not() {
        for (length, passes) in [(4096_u32, true), (4097, false)] {
            let mut bytes = vec![0, 0, 0, 2];
            bytes.extend(length.to_be_bytes());
            bytes.resize(8 + length as usize, 0);
            assert_eq!(
                read_frame(&mut bytes.as_slice()).await.is_ok(),
                passes,
                "{length}"
            );
        }
    }

    #[tokio::test]
    async fn a_long_message_goes_as_a_first_and_a_last_frame() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, PLUGIN, &[7; 10_000])
            .await
            .unwrap();
        assert_eq!(bytes[4..8], 4096_u32.to_be_bytes());
        assert_eq!(bytes[8 + 4096 + 4..][..4], 5904_u32.to_be_bytes());
    }
}
