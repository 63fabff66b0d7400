//! The page that the demonstration writes: at most 100 columns, plain text where it is no terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use super::millis;

/// Longest line.
const COLUMNS: usize = 100;

/// Standard output, with numbered steps.
#[derive(Debug)]
pub(super) struct Page {
    steps: usize,
    bold: (&'static str, &'static str),
}

impl Page {
    pub(super) fn new() -> Self {
        let bold = if io::stdout().is_terminal() {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        Self { steps: 0, bold }
    }

    /// A line that stands out.
    pub(super) fn title(&mut self, text: &str) -> anyhow::Result<()> {
        let (on, off) = self.bold;
        self.write(&format!("{on}{text}{off}\n\n"))
    }

    /// The heading of the next step, with how long it took.
    pub(super) fn step(&mut self, text: &str, took: Option<Duration>) -> anyhow::Result<()> {
        self.steps = self.steps.saturating_add(1);
        let (on, off) = self.bold;
        let number = self.steps;
        let took = took.map(|took| format!("  ({})", millis(took)));
        let took = took.unwrap_or_default();
        self.write(&format!("{on}{number}  {text}{off}{took}\n"))
    }

    /// Indented lines; too long ones are broken between words.
    pub(super) fn text(&mut self, text: &str) -> anyhow::Result<()> {
        self.lines(text, "   ")
    }

    /// Lines that need the whole width.
    pub(super) fn wide(&mut self, text: &str) -> anyhow::Result<()> {
        self.lines(text, "")
    }

    fn lines(&mut self, text: &str, indent: &str) -> anyhow::Result<()> {
        let mut out = String::new();
        for line in text.lines() {
            let mut line = format!("{indent}{}", line.trim_end());
            while let Some(at) = break_at(&line) {
                let rest = line.split_off(at);
                writeln!(out, "{line}")?;
                line = format!("{indent}      {}", rest.trim_start());
            }
            writeln!(out, "{line}")?;
        }
        out.push('\n');
        self.write(&out)
    }

    #[expect(clippy::unused_self, reason = "whoever writes has the page")]
    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// Where a line that is too long is broken: its last space that still fits; nowhere when there is none.
fn break_at(line: &str) -> Option<usize> {
    let (limit, _) = line.char_indices().nth(COLUMNS)?;
    let at = line.get(..=limit)?.rfind(' ')?;
    let indent = line.len().saturating_sub(line.trim_start().len());
    (at > indent).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_and_never_for_ever() {
        assert_eq!(break_at("short line"), None);
        let words = "four ".repeat(30);
        assert_eq!(break_at(&words), Some(99));
        assert_eq!(break_at(&"x".repeat(150)), None);
        assert_eq!(break_at(&format!("      {}", "x".repeat(150))), None);
    }
}
