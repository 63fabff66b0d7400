//! Measured values and what is said of them.

use std::time::{Duration, Instant};

/// Values of one thing, in the order in which they were measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    /// One value that stands for itself.
    pub(super) fn one(value: f64) -> Self {
        Self(vec![value])
    }

    /// The sum of counts.
    pub(super) fn total(counts: &[f64]) -> Self {
        Self::one(counts.iter().sum())
    }

    /// Adds a time, in milliseconds.
    pub(super) fn add(&mut self, time: Duration) {
        self.0.push(millis(time));
    }

    /// The value below which so many percent of the values lie; 100 is the largest.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        let rank = last.saturating_mul(percent).saturating_add(50) / 100;
        sorted.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// The value in the middle.
    pub(super) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<f64>> for Samples {
    fn from(values: Vec<f64>) -> Self {
        Self(values)
    }
}

/// How long something takes.
pub(super) fn timed<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

/// A time in milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut samples = Samples::default();
        assert!(samples.median().is_nan());
        for ms in [5, 1, 4, 2, 3] {
            samples.add(Duration::from_millis(ms));
        }
        let of = |percent| samples.percentile(percent);
        assert!((of(0) - 1.0).abs() < 1e-9);
        assert!((of(50) - 3.0).abs() < 1e-9);
        assert!((of(100) - 5.0).abs() < 1e-9);
        assert!((of(99) - 5.0).abs() < 1e-9);
        assert_eq!(samples.count(), 5);
    }
}
