//! Waiting for a condition, with a deadline and the last state in the error.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// What a look at the world showed.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    /// It is so.
    Yes(T),
    /// Not yet; this is how it was instead.
    Not(String),
}

impl Seen<()> {
    /// `Yes` if the condition holds, else the state as it was.
    pub(crate) fn when(holds: bool, state: impl Into<String>) -> Self {
        if holds {
            Self::Yes(())
        } else {
            Self::Not(state.into())
        }
    }
}

/// A time that a machine of ordinary speed needs, as long as this one may take: times `NETWORK_DRIVER_TEST_SLOWNESS`, a
/// whole number, where that is set.
pub(crate) fn slowed(time: Duration) -> Duration {
    let factor = std::env::var("NETWORK_DRIVER_TEST_SLOWNESS").ok();
    let factor = factor.and_then(|text| text.parse().ok()).unwrap_or(1);
    time.saturating_mul(factor)
}

/// Looks until it is so. An error of a look is a state like any other: the API server may be away for a while.
///
/// # Errors
/// It was not so in time: says what was waited for, and the last state.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let (started, within) = (Instant::now(), slowed(within));
    loop {
        let state = match look().await {
            Ok(Seen::Yes(value)) => return Ok(value),
            Ok(Seen::Not(state)) => state,
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() > within {
            bail!("{what}: not within {within:?}; last seen: {state}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks all the while and fails when it is once not so.
///
/// # Errors
/// It was not so; says what should have been, and the state.
pub(crate) async fn throughout(
    what: &str,
    time: Duration,
    mut look: impl AsyncFnMut() -> Result<Seen<()>>,
) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < time {
        if let Seen::Not(state) = look().await? {
            bail!(
                "{what}: no longer after {:?}; seen: {state}",
                started.elapsed()
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
