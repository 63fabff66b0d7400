//! The sub-command `preflight`: what the node must have before the driver can work there, looked at before the daemons
//! start. The chart runs it as an init container.
//!
//! Each check is a line: `ok`, `warn` (works, but look at it) or `FAIL` (can never work until somebody changes it), with
//! the cure. What is not `ok` goes to the container's termination message too, where `kubectl describe pod` shows it.
//! Whatever may come right by itself is not a FAIL: the daemons wait for that, and say so in `/readyz`.

mod directory;
mod gate;
mod kubelet;
mod mounts;
mod node;
mod runtime;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use network_driver_common::runtime::{Exit, print};

use crate::args::{DaemonArgs, PreflightArgs};
use crate::nri::Identity;
use directory::{Directory, Ground};
use mounts::Mounts;

/// Exit code when a check fails.
const FAILED: u8 = 7;

/// Most bytes of a termination message that the kubelet keeps.
const MAX_MESSAGE: usize = 4096;

/// Said where a directory or socket is there but not ours to use: the usual reason.
const SELINUX: &str =
    "on a node with SELinux set podSecurityContext.seLinuxOptions to {type: spc_t}";

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    /// What was looked at, one word.
    check: &'static str,
    /// What it is like, and for anything but `ok` what to do.
    text: String,
}

impl Finding {
    fn new(verdict: Verdict, check: &'static str, text: impl Into<String>) -> Self {
        Self {
            verdict,
            check,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verdict,
            check,
            text,
        } = self;
        write!(f, "{verdict:<4}  {check:<8}  {text}")
    }
}

/// Why the driver cannot work on this node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "preflight: {failed} of {checks} checks failed: the driver cannot work on this node until that is changed"
)]
struct PreflightError {
    failed: usize,
    checks: usize,
}

/// Makes all checks, prints a line for each, and leaves the termination message.
///
/// # Errors
/// A check failed: exit code 7.
pub(crate) async fn run(args: &PreflightArgs, daemon: &DaemonArgs) -> Result<(), Exit> {
    let identity = Identity::new(&daemon.nri_plugin_name, &daemon.nri_plugin_index)
        .and_then(|identity| identity.with_suffix("preflight"));
    let identity = identity.map_err(|error| Exit::new(FAILED, error))?;
    let mounts = Mounts::read();
    let mut findings = vec![
        node::kernel(),
        kubelet::check(&mounts, &args.kubelet_root_dir, &args.termination_log),
        runtime::check(&daemon.nri_socket, &identity, daemon.cdi_confirmed).await,
    ];
    findings.extend(directories(args, daemon).iter().map(|it| it.check(&mounts)));
    findings.push(gate::install(
        &args.start_hook,
        daemon.start_hook_dir.as_deref(),
    ));
    findings.push(node::settings());
    findings.push(node::links());
    report(&findings, &args.termination_log)
}

/// The directories that the daemons write to.
fn directories(args: &PreflightArgs, daemon: &DaemonArgs) -> [Directory; 3] {
    let directory = |check, path: &PathBuf, setting, ground| Directory {
        check,
        path: path.clone(),
        setting,
        ground,
    };
    [
        directory("cdi", &daemon.cdi_dir, "cdi.dir", Ground::Any),
        directory(
            "records",
            &args.records_dir,
            "draPlugin.stateDir",
            Ground::Disk,
        ),
        directory(
            "state",
            &daemon.state_dir,
            "nriHook.stateDir",
            Ground::Memory,
        ),
    ]
}

fn report(findings: &[Finding], termination_log: &Path) -> Result<(), Exit> {
    let lines: String = findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    print(&lines);
    // Written to where it exists only: outside a container nobody reads it.
    if termination_log.exists() {
        fs::write(termination_log, message(findings))?;
    }
    let failed = findings.iter().filter(|it| it.verdict == Verdict::Fail);
    match (failed.count(), findings.len()) {
        (0, _) => Ok(()),
        (failed, checks) => Err(Exit::new(FAILED, PreflightError { failed, checks })),
    }
}

/// What is not as it should be, the worst first; all is well when it is empty.
fn message(findings: &[Finding]) -> String {
    let mut worst: Vec<_> = findings
        .iter()
        .filter(|it| it.verdict != Verdict::Ok)
        .collect();
    worst.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
    let mut text = String::new();
    for finding in worst {
        text.push_str(&format!("{finding}\n"));
    }
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_holds_what_is_wrong_worst_first_and_is_short_enough() {
        let findings = [
            Finding::new(Verdict::Ok, "kernel", "6.12.1"),
            Finding::new(Verdict::Warn, "links", "none is left"),
            Finding::new(Verdict::Fail, "runtime", "NRI is off"),
        ];
        assert_eq!(
            message(&findings),
            "FAIL  runtime   NRI is off\nwarn  links     none is left\n"
        );
        let long = Finding::new(Verdict::Fail, "runtime", "ü".repeat(MAX_MESSAGE));
        assert!(message(&[long]).len() <= MAX_MESSAGE);
        assert_eq!(message(&findings[..1]), "");
    }

    #[test]
    fn only_a_fail_ends_in_an_error_and_all_lines_are_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("termination-log");
        let warned = [Finding::new(Verdict::Warn, "links", "none is left")];
        report(&warned, &log).unwrap();
        assert!(!log.exists(), "outside a container nothing is written");
        fs::write(&log, "").unwrap();
        report(&warned, &log).unwrap();
        assert_eq!(
            fs::read_to_string(&log).unwrap(),
            "warn  links     none is left\n"
        );
        let failed = [Finding::new(Verdict::Fail, "cdi", "read-only")];
        report(&failed, &log).unwrap_err();
        assert_eq!(
            fs::read_to_string(&log).unwrap(),
            "FAIL  cdi       read-only\n"
        );
    }
}
