//! Runs fuzz targets. A *target* is a function of bytes that stand for what comes from outside; whatever they are, it
//! must neither panic nor take much memory or time, and what it reads and can write must come back the same.
//!
//! Targets are tests of the crates themselves (`src/fuzzing.rs` of each), so that they reach parsers that are private.
//! The bytes to begin with, real ones, are files in the crate's `testdata/fuzz/TARGET/`. One target, two ways to run:
//!
//! - in `cargo test`: all files, then mutations of them for [`SECONDS`] (`FUZZ_SECONDS`), by proptest, which shrinks;
//!   `FUZZ_SEED` repeats a run. A crash is kept beside the other files, so it fails again until it is mended.
//! - in `make fuzz`: libFuzzer, which looks for new ways through the code, for as long as one likes.
#![deny(missing_docs)]
#![allow(clippy::panic, reason = "a target that fails, fails its test")]

#[cfg(not(fuzzing))]
mod mutate;
#[cfg(not(fuzzing))]
mod short;

use std::path::{Path, PathBuf};

/// Longest input, in bytes: more than any one message that the targets read.
pub const MAX_BYTES: usize = 16 * 1024;

/// Time that `cargo test` gives to the mutations of one target, seconds. `FUZZ_SECONDS` changes it.
pub const SECONDS: u64 = 1;

/// A fuzz target of a crate.
#[derive(Debug)]
pub struct Target {
    name: &'static str,
    corpus: PathBuf,
}

impl Target {
    /// The target of this name in the crate whose `CARGO_MANIFEST_DIR` this is.
    pub fn new(crate_dir: &str, name: &'static str) -> Self {
        let corpus = Path::new(crate_dir).join("testdata/fuzz").join(name);
        Self { name, corpus }
    }

    /// Feeds the target, and prints how often.
    ///
    /// # Panics
    /// When the target does, or takes more than it may; the message says where the input was kept.
    #[cfg(not(fuzzing))]
    pub fn run(&self, target: fn(&[u8])) {
        short::run(self, target);
    }

    /// Lets libFuzzer feed the target. Does not return.
    #[cfg(fuzzing)]
    pub fn run(&self, target: fn(&[u8])) {
        let Self { name, corpus } = self;
        assert!(corpus.is_dir(), "{name}: no corpus at {}", corpus.display());
        bolero::check!().for_each(|bytes: &[u8]| target(bytes));
    }
}
