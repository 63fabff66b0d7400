//! What the suite measured and counted, printed at its end.

use std::sync::Mutex;
use std::time::Duration;

use crate::suite::say;

static MEASURED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes a series of times under a name.
pub(crate) fn note(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default().as_millis();
    line(format!(
        "{name:36} median {} ms ({}-{}, n={})",
        at(times.len() / 2),
        at(0),
        at(times.len().saturating_sub(1)),
        times.len()
    ));
}

/// Notes a line.
pub(crate) fn line(line: String) {
    if let Ok(mut measured) = MEASURED.lock() {
        measured.push(line);
    }
}

/// Prints what was noted.
pub(crate) fn print() {
    for line in MEASURED.lock().iter().flat_map(|lines| lines.iter()) {
        say(line);
    }
}
