//! A share of the stories, for one of several nodes.

use std::num::NonZeroUsize;
use std::str::FromStr;

use anyhow::{Context as _, ensure};

/// Every `of`th story, beginning with the `first` (from 0). The order stays, so that each node ends with an uninstall.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    first: usize,
    of: NonZeroUsize,
}

impl Part {
    /// The stories that are in it.
    pub(crate) fn choose<T>(self, all: impl Iterator<Item = T>) -> Vec<T> {
        all.skip(self.first).step_by(self.of.get()).collect()
    }
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, of) = text.split_once('/').context("it is not like 1/2")?;
        let (number, of): (usize, NonZeroUsize) = (number.parse()?, of.parse()?);
        ensure!(
            (1..=of.get()).contains(&number),
            "there is no part {number} of {of}"
        );
        let first = number.saturating_sub(1);
        Ok(Self { first, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_all_and_none_twice() {
        let all = 1..=7;
        let part = |text: &str| text.parse::<Part>().unwrap().choose(all.clone());
        assert_eq!(part("1/1"), all.clone().collect::<Vec<_>>());
        assert_eq!(
            [part("1/3"), part("2/3"), part("3/3")],
            [vec![1, 4, 7], vec![2, 5], vec![3, 6]]
        );
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "0/2", "3/2", "1/0", "a/2", "-1/2"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
