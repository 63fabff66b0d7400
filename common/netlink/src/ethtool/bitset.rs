//! A set of numbers as ethtool sends it in the compact form: words of 32 bits (`ETHTOOL_A_BITSET_*`,
//! linux/ethtool_netlink.h).

use crate::error::{BuildError, Malformed};
use crate::message::{self, u32_at};
use crate::request::Attributes;

const BITS: u16 = 3;
const SIZE: u16 = 2;
const VALUE: u16 = 4;
const MASK: u16 = 5;

/// A set. Without anything read it is empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bitset<'a> {
    words: &'a [u8],
}

impl<'a> Bitset<'a> {
    /// Reads it. Its mask, where there is one, is all there are.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut set = Self::default();
        for attribute in message::Attributes::new(bytes) {
            match attribute? {
                (VALUE, words) if words.len().is_multiple_of(4) => set.words = words,
                (VALUE, _) => return Err(Malformed("a set is cut off")),
                (BITS, _) => return Err(Malformed("a set is not in its compact form")),
                _ => {}
            }
        }
        Ok(set)
    }

    /// Whether the number is in it.
    pub(super) fn has(self, number: u32) -> bool {
        let (word, bit) = place(number);
        let word = word.checked_mul(4).and_then(|at| u32_at(self.words, at));
        word.is_some_and(|word| word & bit != 0)
    }
}

/// Index of the word that has a number, and the number's bit in it.
fn place(number: u32) -> (usize, u32) {
    let word = usize::try_from(number / 32).unwrap_or(usize::MAX);
    (word, 1_u32.rotate_left(number))
}

/// The attributes of a change: numbers, and whether each is to be in the set.
pub(super) fn change(numbers: &[(u32, bool)]) -> Result<Attributes<u16>, BuildError> {
    let mut values = Vec::new();
    let mut mask = Vec::new();
    for (number, is_in) in numbers {
        let (word, bit) = place(*number);
        let size = values.len().max(word.saturating_add(1));
        values.resize(size, 0_u32);
        mask.resize(size, 0_u32);
        if let (Some(value), Some(mask)) = (values.get_mut(word), mask.get_mut(word)) {
            *mask |= bit;
            *value |= if *is_in { bit } else { 0 };
        }
    }
    let bytes = |words: &[u32]| {
        words
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect::<Vec<_>>()
    };
    let bits = u32::try_from(mask.len())
        .unwrap_or(u32::MAX)
        .saturating_mul(32);
    Attributes::new()
        .number(SIZE, bits)?
        .bytes(VALUE, &bytes(&values))?
        .bytes(MASK, &bytes(&mask))
}
