//! Damage done to known inputs.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::MAX_BYTES;

/// Numbers at which lengths and counters go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    3,
    4,
    5,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// One change.
#[derive(Debug, Clone)]
enum Edit {
    /// Another byte.
    Set(Index, u8),
    /// One bit.
    Flip(Index, u8),
    /// A number of 1, 2, 4 or 8 bytes, this end first or last.
    Number(Index, u64, usize, bool),
    /// More bytes.
    Insert(Index, Vec<u8>),
    /// Fewer bytes.
    Remove(Index, usize),
    /// A piece of this or another input once more.
    Copy(Index, Vec<u8>, Index, usize),
    /// The end is missing.
    Cut(Index),
}

/// Inputs with some changes each, and random bytes now and then.
pub(crate) fn mutations(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec(edit(inputs.clone()), 1..8);
    let mutated = (select(inputs), edits).prop_map(|(input, edits)| {
        let mut bytes = edits.into_iter().fold(input, apply);
        bytes.truncate(MAX_BYTES);
        bytes
    });
    prop_oneof![
        19 => mutated,
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

fn edit(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Edit> {
    let place = any::<Index>;
    prop_oneof![
        3 => (place(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        3 => (place(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        3 => (place(), select(NUMBERS.to_vec()), select(vec![1, 2, 4, 8]), any::<bool>())
            .prop_map(|(at, number, size, big)| Edit::Number(at, number, size, big)),
        2 => (place(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        2 => (place(), 1..16_usize).prop_map(|(at, count)| Edit::Remove(at, count)),
        3 => (place(), select(inputs), place(), 1..64_usize)
            .prop_map(|(at, other, from, count)| Edit::Copy(at, other, from, count)),
        1 => place().prop_map(Edit::Cut),
    ]
}

fn apply(mut bytes: Vec<u8>, edit: Edit) -> Vec<u8> {
    let place = |at: Index, bytes: &[u8]| at.index(bytes.len().saturating_add(1));
    match edit {
        Edit::Set(at, byte) => {
            let at = place(at, &bytes);
            replace(&mut bytes, at, &[byte]);
        }
        Edit::Flip(at, bit) => {
            let at = place(at, &bytes);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Edit::Number(at, number, size, big) => {
            let (little, at) = (number.to_le_bytes(), place(at, &bytes));
            let mut number = little.get(..size).unwrap_or_default().to_vec();
            if big {
                number.reverse();
            }
            replace(&mut bytes, at, &number);
        }
        Edit::Insert(at, new) => insert(&mut bytes, at, &new),
        Edit::Remove(at, count) => {
            let at = place(at, &bytes);
            let end = at.saturating_add(count).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Copy(at, other, from, count) => {
            let from = place(from, &other);
            let end = from.saturating_add(count).min(other.len());
            insert(&mut bytes, at, other.get(from..end).unwrap_or_default());
        }
        Edit::Cut(at) => {
            let at = place(at, &bytes);
            bytes.truncate(at);
        }
    }
    bytes
}

/// Puts bytes over those that are there, as many as there is room for.
fn replace(bytes: &mut [u8], at: usize, new: &[u8]) {
    let there = bytes.get_mut(at..).unwrap_or_default();
    there.iter_mut().zip(new).for_each(|(old, new)| *old = *new);
}

fn insert(bytes: &mut Vec<u8>, at: Index, new: &[u8]) {
    let at = at.index(bytes.len().saturating_add(1));
    bytes.splice(at..at, new.iter().copied());
}
