//! When slices are written: the first change at once, then at most once per interval, in a burst of five and then at a
//! third of that rate; a device that is gone may jump the queue once. A flapping link must not become a load on the
//! cluster, times its number of nodes. Pure.

use std::time::{Duration, Instant};

use network_driver_kubernetes::TokenBucket;

/// Writes at the full rate before the bucket is empty.
const BURST: u32 = 5;
/// How many intervals it takes to gain one more.
const REFILL_INTERVALS: u32 = 3;

/// Decides when the next write may go out.
#[derive(Debug)]
pub struct Damper {
    interval: Duration,
    bucket: TokenBucket,
    last: Option<Instant>,
    /// Whether an urgent write has gone out of turn since the last ordinary one.
    jumped: bool,
}

impl Damper {
    /// A damper with this interval; zero damps nothing.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            bucket: TokenBucket::new(BURST, interval.saturating_mul(REFILL_INTERVALS), now),
            last: None,
            jumped: false,
        }
    }

    /// How long a change that is there now has to wait.
    pub fn wait(&mut self, now: Instant, urgent: bool) -> Duration {
        if self.interval.is_zero() || (urgent && !self.jumped) {
            return Duration::ZERO;
        }
        let since = self.last.map(|last| now.saturating_duration_since(last));
        let turn = since.map_or(Duration::ZERO, |since| self.interval.saturating_sub(since));
        turn.max(self.bucket.wait(now))
    }

    /// A write has gone out.
    pub fn written(&mut self, now: Instant, urgent: bool) {
        let in_turn = self.wait(now, false).is_zero();
        self.jumped = urgent && !in_turn;
        self.bucket.take(now);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_change_goes_at_once_and_a_flapping_link_is_damped() {
        let start = Instant::now();
        let mut damper = Damper::new(Duration::from_secs(10), start);
        let mut writes = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            if damper.wait(now, false).is_zero() {
                damper.written(now, false);
                writes.push(second);
            }
        }
        assert_eq!(writes.get(..5), Some(&[0, 10, 20, 30, 40][..]));
        // Then one each 30 s, the one that came in during the burst included.
        assert!((20..=24).contains(&writes.len()), "{writes:?}");
        let gaps = writes.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.clone().all(|gap| gap >= 10), "{writes:?}");
        assert_eq!(gaps.clone().next_back(), Some(30));
    }

    #[test]
    fn a_loss_jumps_the_queue_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut damper = Damper::new(Duration::from_secs(10), start);
        damper.written(start, false);
        assert_eq!(damper.wait(at(1), false), Duration::from_secs(9));
        assert!(damper.wait(at(1), true).is_zero());
        damper.written(at(1), true);
        assert_eq!(damper.wait(at(2), true), Duration::from_secs(9));
        assert!(damper.wait(at(11), true).is_zero());
        damper.written(at(11), true);
        assert!(damper.wait(at(12), true).is_zero(), "the turn was kept");
    }

    #[test]
    fn no_interval_damps_nothing() {
        let start = Instant::now();
        let mut damper = Damper::new(Duration::ZERO, start);
        for _ in 0..100 {
            assert!(damper.wait(start, false).is_zero());
            damper.written(start, false);
        }
    }
}
