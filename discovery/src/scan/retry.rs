//! A reading of the node that is repeated when the node changes under it.

use network_driver_netlink::RequestError;

use crate::chain;

/// How often a reading that failed is repeated.
const REPEATS: u32 = 5;

/// Reads until a reading is whole; the last failure, if none is.
pub(super) async fn until_whole<T, Reading>(
    mut read: impl FnMut() -> Reading,
) -> Result<T, RequestError>
where
    Reading: Future<Output = Result<T, RequestError>>,
{
    for _ in 0..REPEATS {
        match read().await {
            Ok(whole) => return Ok(whole),
            Err(error) => tracing::debug!(err = chain(&error), "dump repeated"),
        }
    }
    read().await
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// Reads a node that changes during the first `times` readings. What came of it, and the number of readings.
    async fn read(times: u32) -> (Result<&'static str, RequestError>, u32) {
        let mut readings = 0;
        let whole = until_whole(|| {
            readings = u32::saturating_add(readings, 1);
            ready(if readings > times {
                Ok("whole")
            } else {
                Err(RequestError::Unsteady {
                    request: "list links",
                    attempts: 1,
                })
            })
        });
        let whole = whole.await;
        (whole, readings)
    }

    #[tokio::test]
    async fn a_reading_that_was_interrupted_is_repeated_and_not_for_ever() {
        for (interruptions, readings) in [(0, 1), (1, 2), (5, 6)] {
            let (whole, read) = read(interruptions).await;
            assert_eq!((whole.unwrap(), read), ("whole", readings));
        }
        let (none, readings) = read(u32::MAX).await;
        assert!(matches!(none, Err(RequestError::Unsteady { .. })));
        assert_eq!(readings, 6);
    }
}
