//! When an event must be answered. The runtime goes on *without* us when an answer is late, so an error in time is
//! worth more than a success too late.

use std::time::{Duration, Instant};

/// Share of the runtime's timeout, in percent, after which work stops and undoes what it did.
const STOP_PERCENT: u32 = 60;

/// Share of the runtime's timeout, in percent, by which an answer is given, whatever the work is at.
const ANSWER_PERCENT: u32 = 85;

/// The time limits of one event, counted from its arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    arrived: Instant,
    timeout: Duration,
}

impl Deadline {
    /// The limits of an event that arrived then, of a runtime that waits this long.
    pub(crate) fn new(arrived: Instant, timeout: Duration) -> Self {
        Self { arrived, timeout }
    }

    /// How long the runtime waits.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// When to stop and undo.
    pub(crate) fn stop_at(&self) -> Instant {
        self.after(STOP_PERCENT)
    }

    /// When the answer is given, whatever the work is at.
    pub(crate) fn answer_at(&self) -> Instant {
        self.after(ANSWER_PERCENT)
    }

    fn after(&self, percent: u32) -> Instant {
        let share = self.timeout.saturating_mul(percent).checked_div(100);
        let end = self.arrived.checked_add(share.unwrap_or_default());
        end.unwrap_or(self.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_stops_at_60_percent_and_is_answered_at_85() {
        let arrived = Instant::now();
        let deadline = Deadline::new(arrived, Duration::from_secs(2));
        assert_eq!(deadline.stop_at() - arrived, Duration::from_millis(1200));
        assert_eq!(deadline.answer_at() - arrived, Duration::from_millis(1700));
    }
}
