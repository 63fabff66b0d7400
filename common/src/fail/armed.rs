//! Fail points as they are in a build for tests.

use std::fmt;
use std::process;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

use super::{Point, VARIABLE};

/// Time in which an answer that was given to the runtime of the process is on its way: a socket of this machine.
const ANSWERED: Duration = Duration::from_millis(20);

static SWITCHES: OnceLock<Vec<Switch>> = OnceLock::new();

/// A step that was made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fail point {0}")]
pub struct Injected(Point);

/// [`VARIABLE`] cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {text:?} {why}")]
pub struct InvalidSwitch {
    text: String,
    why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Error,
    Delay(Duration),
    Pause,
}

/// What is to happen at a point, and when.
#[derive(Debug)]
struct Switch {
    point: Point,
    action: Action,
    /// At which passing.
    nth: u32,
    passed: AtomicU32,
}

impl FromStr for Switch {
    type Err = InvalidSwitch;

    fn from_str(text: &str) -> Result<Self, InvalidSwitch> {
        let invalid = |why| InvalidSwitch {
            text: text.to_owned(),
            why,
        };
        let (name, what) = text.split_once('=').ok_or(invalid("is no POINT=ACTION"))?;
        let mut points = Point::ALL.iter().copied();
        let point = points
            .find(|point| point.name() == name)
            .ok_or(invalid("names no point"))?;
        let (action, nth) = what.split_once('#').unwrap_or((what, "1"));
        let delay = action
            .strip_prefix("delay(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|millis| millis.parse().ok());
        let action = match (action, delay) {
            (_, Some(millis)) => Action::Delay(Duration::from_millis(millis)),
            ("kill", _) => Action::Kill,
            ("pause", _) => Action::Pause,
            ("error", _) if point.can_fail() => Action::Error,
            ("error", _) => return Err(invalid("names a point that cannot fail")),
            _ => return Err(invalid("names no action (kill, error, delay(MS), pause)")),
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0);
        Ok(Self {
            point,
            action,
            nth: nth.ok_or(invalid("has no number of 1 or more behind #"))?,
            passed: AtomicU32::new(0),
        })
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}#{}", self.point, self.action, self.nth)
    }
}

fn parse(text: &str) -> Result<Vec<Switch>, InvalidSwitch> {
    let switches = text.split(';').map(str::trim);
    let switches = switches.filter(|text| !text.is_empty());
    switches.map(str::parse).collect()
}

/// Reads what is to happen where. Points that are passed before do nothing.
///
/// # Errors
/// [`VARIABLE`] cannot be read.
pub fn arm() -> Result<(), InvalidSwitch> {
    let switches = parse(&std::env::var(VARIABLE).unwrap_or_default())?;
    for switch in &switches {
        say(&format!("armed: {switch}"));
    }
    // Armed twice is armed.
    drop(SWITCHES.set(switches));
    Ok(())
}

fn switches(point: Point) -> impl Iterator<Item = &'static Switch> {
    let all = SWITCHES.get().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |switch| switch.point == point)
}

/// Passes a point whose step can fail.
///
/// # Errors
/// When it was made to.
pub fn check(point: Point) -> Result<(), Injected> {
    switches(point).try_for_each(Switch::pass)
}

/// Passes a point.
pub fn pass(point: Point) {
    // A point that cannot fail is not armed with an error.
    check(point).unwrap_or_default();
}

/// Passes a point a moment later, once an answer has been sent.
pub fn soon(point: Point) {
    if switches(point).next().is_some() {
        std::thread::spawn(move || {
            std::thread::sleep(ANSWERED);
            pass(point);
        });
    }
}

/// Waits a moment, so that an answer can be sent, and passes a point.
pub async fn late(point: Point) {
    if switches(point).next().is_some() {
        tokio::time::sleep(ANSWERED).await;
        pass(point);
    }
}

impl Switch {
    fn pass(&self) -> Result<(), Injected> {
        let before = self.passed.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) != self.nth {
            return Ok(());
        }
        say(&self.to_string());
        match self.action {
            Action::Kill => {
                // Nothing of the process runs after it, no destructor, no buffer is written.
                kill(Pid::this(), Signal::SIGKILL).unwrap_or_default();
                process::abort();
            }
            Action::Error => Err(Injected(self.point)),
            Action::Delay(time) => {
                std::thread::sleep(time);
                Ok(())
            }
            Action::Pause => {
                // To this thread: one to the process stops the others first, and this one goes on meanwhile.
                raise(Signal::SIGSTOP).unwrap_or_default();
                Ok(())
            }
        }
    }
}

/// Into the daemon's log, whatever its form: the next line may never be written.
fn say(what: &str) {
    #[expect(
        clippy::print_stderr,
        reason = "the log may not be open yet, and must not be buffered"
    )]
    {
        eprintln!("fail point {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_and_those_that_make_no_sense_are_refused() {
        let read = parse("attach.moved=delay(300)#2; attach.kept=error;").unwrap();
        let read: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(read, ["attach.moved=Delay(300ms)#2", "attach.kept=Error#1"]);
        for (text, why) in [
            ("attach.moved", "is no POINT=ACTION"),
            ("attach.flown=kill", "names no point"),
            ("attach.moved=explode", "names no action"),
            ("attach.up=error", "names a point that cannot fail"),
            ("attach.moved=kill#0", "has no number"),
        ] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_switch_acts_at_its_passing_and_only_then() {
        let switch: Switch = "attach.kept=error#2".parse().unwrap();
        assert_eq!(switch.pass(), Ok(()));
        assert_eq!(switch.pass(), Err(Injected(Point::AttachKept)));
        assert_eq!(switch.pass(), Ok(()));
    }
}
