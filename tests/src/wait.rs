//! Waiting for what another process does: always for a condition, always with a deadline.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// How often a condition is looked at on a machine of ordinary speed: to look costs time too.
const PACE: Duration = Duration::from_millis(5);

/// A time that a machine of ordinary speed needs, as long as this one may take: times `NETWORK_DRIVER_TEST_SLOWNESS`, a
/// whole number, where that is set. An emulated machine is some five times slower.
pub fn slowed(time: Duration) -> Duration {
    let factor = std::env::var("NETWORK_DRIVER_TEST_SLOWNESS").ok();
    let factor = factor.and_then(|text| text.parse().ok()).unwrap_or(1);
    time.saturating_mul(factor)
}

/// Looks until `probe` gives something. The limit is for a machine of ordinary speed ([`slowed`]).
///
/// # Errors
/// It gave nothing within the limit; the error names what was waited for.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let (started, limit, pace) = (Instant::now(), slowed(limit), slowed(PACE));
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if started.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        tokio::time::sleep(pace).await;
    }
}

/// Looks until the condition holds.
///
/// # Errors
/// It did not hold within the limit.
pub async fn until_true(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    until(what, limit, async || condition().then_some(())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_waited_for_and_named_when_it_never_holds() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), async || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.await.unwrap(), 3);
        let missed = until_true("the moon", Duration::from_millis(1), || false).await;
        assert!(missed.unwrap_err().to_string().contains("the moon"));
    }
}
