//! A token bucket: a burst at once, then a steady rate. It keeps no clock: the caller says what time it is.

use std::time::{Duration, Instant};

/// Counts what may happen now.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: u32,
    refill: Duration,
    tokens: u32,
    /// When the newest whole token came in.
    since: Instant,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens that gains one each `refill`.
    pub fn new(capacity: u32, refill: Duration, now: Instant) -> Self {
        Self {
            capacity,
            refill,
            tokens: capacity,
            since: now,
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }

    /// How long until there is a token; zero when there is one now.
    pub fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        if self.tokens > 0 {
            return Duration::ZERO;
        }
        let passed = now.saturating_duration_since(self.since);
        self.refill.saturating_sub(passed)
    }

    /// Whether nothing was taken lately: such a bucket can be forgotten.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens == self.capacity
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let refill = self.refill.as_nanos().max(1);
        let gained = passed.as_nanos().checked_div(refill).unwrap_or_default();
        let gained = u32::try_from(gained).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(gained).min(self.capacity);
        let whole = self.refill.checked_mul(gained).unwrap_or(passed);
        self.since = self.since.checked_add(whole).unwrap_or(now);
        if self.tokens == self.capacity {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = TokenBucket::new(2, Duration::from_secs(10), start);
        assert!(bucket.is_full(start));
        assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
        assert_eq!(bucket.wait(at(4)), Duration::from_secs(6));
        assert!(!bucket.take(at(9)));
        assert!(bucket.take(at(10)) && !bucket.take(at(19)));
        assert!(bucket.take(at(20)), "time between tokens is not lost");
        assert!(!bucket.is_full(at(30)));
        assert!(bucket.is_full(at(10_000)));
        assert!(bucket.take(at(10_000)) && bucket.take(at(10_000)) && !bucket.take(at(10_000)));
    }
}
