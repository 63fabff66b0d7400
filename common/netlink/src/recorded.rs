//! Bytes recorded from a kernel, for tests (`testdata/*.hex`: comment lines, then hexadecimal digits).

use proptest::prelude::*;

use crate::message::{Message, Messages};

pub(crate) const LINKS: &str = include_str!("../testdata/links.hex");
pub(crate) const HARDWARE_LINK: &str = include_str!("../testdata/hardware_link.hex");
pub(crate) const ADDRESSES: &str = include_str!("../testdata/addresses.hex");
pub(crate) const ROUTES: &str = include_str!("../testdata/routes.hex");
pub(crate) const FEATURES: &str = include_str!("../testdata/features.hex");
pub(crate) const FEATURE_NAMES: &str = include_str!("../testdata/feature_names.hex");

pub(crate) fn bytes(recorded: &str) -> Vec<u8> {
    let lines = recorded.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u8> = lines.flat_map(str::bytes).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The messages of a recording, less the end of the dump.
pub(crate) fn messages(bytes: &[u8]) -> Vec<Message<'_>> {
    let all = Messages::new(bytes).map(Result::unwrap);
    all.filter(|message| message.kind != crate::message::DONE)
        .collect()
}

/// Random bytes, and recordings of every kind with some bytes changed or cut off.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let recordings = [
        LINKS,
        HARDWARE_LINK,
        ADDRESSES,
        ROUTES,
        FEATURES,
        FEATURE_NAMES,
    ]
    .map(bytes);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    let recorded = (
        prop::sample::select(recordings.to_vec()),
        changes,
        any::<prop::sample::Index>(),
    );
    let damaged = recorded.prop_map(|(mut bytes, changes, end)| {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(end.index(bytes.len()).max(64));
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..256), damaged]
}
