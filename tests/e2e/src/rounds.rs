//! How often a story that goes in rounds goes round: a few times by default, `E2E_ROUNDS` times where that is set.

use std::time::Duration;

/// A round takes no longer.
const ROUND: Duration = Duration::from_mins(1);

/// Rounds of a story that has so many by default.
pub(crate) fn rounds(default: u32) -> u32 {
    asked().unwrap_or(default)
}

/// Time that the rounds that were asked for need beyond what any story may take.
pub(crate) fn more_time() -> Duration {
    ROUND.saturating_mul(asked().unwrap_or(0))
}

fn asked() -> Option<u32> {
    let asked = std::env::var("E2E_ROUNDS").ok()?.parse().ok()?;
    (asked > 0).then_some(asked)
}
