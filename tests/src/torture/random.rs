//! Numbers that look random and follow from a seed, so that a run can be repeated.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// What follows from two seeds.
    pub(super) fn new(seed: u64, other: u64) -> Self {
        let mut random = Self(seed ^ other.rotate_left(32));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of 0 … `count` - 1; 0 where there is nothing to choose.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.next().checked_rem(count).unwrap_or_default()
    }

    /// One of the two, as likely as the other.
    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Less than so many milliseconds.
    pub(super) fn millis(&mut self, below: u64) -> Duration {
        Duration::from_millis(self.below(below))
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, first: T, others: &[T]) -> T {
        let count = u64::try_from(others.len()).unwrap_or_default();
        let index = self.below(count.saturating_add(1)).checked_sub(1);
        let index = index.and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| others.get(index).copied())
            .unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seeds_give_the_same_numbers_and_all_choices_come() {
        let draw = |seed| {
            let mut random = Random::new(seed, 7);
            (0..50).map(|_| random.pick(0, &[1, 2])).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for choice in 0..3 {
            assert!(draw(1).contains(&choice));
        }
    }
}
