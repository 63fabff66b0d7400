//! What became of the containers of many rounds.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

/// What became of a container that names a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was not created, or not started: what was said.
    Refused(String),
    /// It runs, and has had the claim's interface from its start.
    Whole,
    /// It started without the claim's interface.
    Bare(String),
}

/// The fates of all rounds of one kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    refused: u32,
    whole: u32,
    bare: Vec<String>,
    /// Pods without a claim that ran, and what kept others from it.
    plain: u32,
    hindered: Vec<String>,
    /// By which part of the gate.
    gates: BTreeSet<&'static str>,
}

/// The gates, by what they say.
const GATES: [(&str, &str); 4] = [
    (
        "unresolvable CDI devices",
        "the runtime: CDI id not defined",
    ),
    ("is not attached to this pod", "the hook at CreateContainer"),
    ("is not in the pod's network namespace", "the start hook"),
    ("NRI RunPodSandbox failed", "the hook at RunPodSandbox"),
];

impl Tally {
    /// Counts a round.
    ///
    /// # Errors
    /// The container was refused by nothing that is a gate.
    pub(super) fn count(&mut self, fate: Fate, plain: Result<()>) -> Result<()> {
        match fate {
            Fate::Refused(said) => {
                let gate = GATES.iter().find(|(text, _)| said.contains(text));
                ensure!(gate.is_some(), "refused, but by no gate: {said}");
                self.gates.extend(gate.map(|(_, name)| name));
                self.refused = self.refused.saturating_add(1);
            }
            Fate::Whole => self.whole = self.whole.saturating_add(1),
            Fate::Bare(why) => self.bare.push(why),
        }
        match plain {
            Ok(()) => self.plain = self.plain.saturating_add(1),
            Err(error) => self.hindered.push(format!("{error:#}")),
        }
        Ok(())
    }

    /// Rounds so far.
    pub(super) fn rounds(&self) -> usize {
        let begun = self.refused.saturating_add(self.whole);
        usize::try_from(begun)
            .unwrap_or(usize::MAX)
            .saturating_add(self.bare.len())
    }

    /// The numbers, for people.
    pub(super) fn line(&self, hook: &str) -> String {
        let rounds = self.rounds();
        let gates: Vec<_> = self.gates.iter().copied().collect();
        format!(
            "gate closed, hook {hook}: {} of {rounds} refused{}, {} with the NIC, {} bare; plain pods {} of {rounds}",
            self.refused,
            if gates.is_empty() {
                String::new()
            } else {
                format!(" ({})", gates.join(", "))
            },
            self.whole,
            self.bare.len(),
            self.plain,
        )
    }

    /// Checks that no container ran without its interface and no other pod was hindered.
    ///
    /// # Errors
    /// One did, or was: what was seen.
    pub(super) fn check(&self, hook: &str) -> Result<()> {
        ensure!(
            self.bare.is_empty(),
            "hook {hook}: ran bare: {:#?}",
            self.bare
        );
        ensure!(
            self.hindered.is_empty(),
            "hook {hook}: pods without a claim: {:#?}",
            self.hindered
        );
        Ok(())
    }
}
