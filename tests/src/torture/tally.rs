//! What came of many runs, as one line for people.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write as _};

use crate::invariants::Rest;

/// The runs of one kind.
#[derive(Debug)]
pub(super) struct Tally {
    what: String,
    promise: &'static str,
    good: usize,
    runs: usize,
    quarantined: usize,
    notes: Vec<String>,
}

impl Tally {
    /// No run yet. The line is `<what>: N of N <promise>`.
    pub(super) fn new(what: impl Into<String>, promise: &'static str) -> Self {
        Self {
            what: what.into(),
            promise,
            good: 0,
            runs: 0,
            quarantined: 0,
            notes: Vec::new(),
        }
    }

    /// Counts a run. A failed one is told at once, with the command that repeats it.
    pub(super) fn count(&mut self, run: &str, result: &anyhow::Result<Rest>, again: &str) {
        self.runs = self.runs.saturating_add(1);
        match result {
            Ok(rest) => {
                self.good = self.good.saturating_add(1);
                if let Rest::Quarantined(devices) = rest {
                    self.quarantined = self.quarantined.saturating_add(1);
                    tell(&format!(
                        "{run}: in quarantine and named: {}",
                        join(devices)
                    ));
                }
            }
            Err(error) => tell(&format!("FAILED {run}: {error:#}\n  again: {again}")),
        }
    }

    /// Adds a note about the runs.
    pub(super) fn add(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Whether every run was good, and there was one.
    pub(super) fn is_good(&self) -> bool {
        self.good == self.runs && self.runs > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            promise,
            good,
            runs,
            quarantined,
            notes,
        } = self;
        let mut notes = notes.clone();
        if *quarantined > 0 {
            notes.push(format!("{quarantined} with a device in quarantine"));
        }
        write!(f, "{what}: {good} of {runs} {promise}")?;
        if notes.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", notes.join(", "))
        }
    }
}

/// The command that repeats so many of one thing.
pub(super) fn again(what: &str, count: u64, seed: u64) -> String {
    format!("make torture TORTURE=\"--only {what} --{what} {count} --seed {seed}\"")
}

fn join(devices: &BTreeSet<String>) -> String {
    let devices: Vec<_> = devices.iter().map(String::as_str).collect();
    devices.join(", ")
}

/// Says something at once.
pub(super) fn tell(line: &str) {
    // Nobody listens when standard output is closed.
    drop(writeln!(io::stdout(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_what_held_and_none_at_all_is_not_good() {
        let mut tally = Tally::new("kill points", "runs hold");
        assert!(!tally.is_good());
        tally.count("one", &Ok(Rest::Whole), "");
        assert!(tally.is_good());
        tally.count("two", &Err(anyhow::anyhow!("lost")), "torture");
        assert!(!tally.is_good());
        assert_eq!(tally.to_string(), "kill points: 1 of 2 runs hold");
    }
}
