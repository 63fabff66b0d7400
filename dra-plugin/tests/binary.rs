//! The binary as an operator meets it: exit codes, sentences, sockets. The API server and discovery are away all the
//! time, which must keep nothing from starting.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The binary with directories of its own, and a kubeconfig of a server that is not there.
fn command(dir: &Path) -> Command {
    let kubeconfig = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}]}"#;
    std::fs::write(dir.join("kubeconfig"), kubeconfig).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dra-plugin"));
    for (flag, value) in [
        ("--kubeconfig", "kubeconfig"),
        ("--kubelet-root-dir", "kubelet"),
        ("--state-dir", "state"),
        ("--bus-dir", "bus"),
    ] {
        command.arg(flag).arg(dir.join(value));
    }
    command.args(["--node-name", "node-1", "--http-address", "127.0.0.1:0"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A daemon that is killed with the test.
struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Self {
        let mut command = command(dir);
        let daemon = Self(command.stderr(Stdio::null()).spawn().unwrap());
        let registration = registration(dir);
        let start = Instant::now();
        while !registration.exists() {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no registration socket within 10 s"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn registration(dir: &Path) -> std::path::PathBuf {
    dir.join("kubelet/plugins_registry/network.example.com@reg.sock")
}

fn refused(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    let line = text.lines().find(|line| line.starts_with("error: "));
    (output.status.code(), line.unwrap_or_default().to_owned())
}

#[test]
fn it_starts_without_its_peers_and_ends_well_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path());
    let claims = command(dir.path())
        .args(["claims", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(claims.stdout).unwrap(), "[]\n");
    let ready = command(dir.path()).arg("ready").output().unwrap();
    let (code, line) = refused(&ready);
    assert_eq!(code, Some(1));
    for part in ["api: ", "hook: ", "inventory: ", "kubelet: "] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("store: "), "{line}");
    let pid = Pid::from_raw(i32::try_from(daemon.0.id()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    assert!(!registration(dir.path()).exists());
    assert!(
        !dir.path()
            .join("kubelet/plugins/network.example.com/plugin@dra.sock")
            .exists()
    );
    assert!(!dir.path().join("bus/dra-plugin/bus.sock").exists());
}

#[test]
fn a_second_process_on_the_same_state_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(dir.path());
    let (code, line) = refused(&command(dir.path()).output().unwrap());
    assert_eq!(code, Some(4), "{line}");
    assert!(line.contains("is in use by another process"), "{line}");
    assert!(registration(dir.path()).exists());
    assert!(daemon.0.try_wait().unwrap().is_none());
}

#[test]
fn a_daemon_that_was_killed_is_followed_by_another_at_once() {
    let dir = tempfile::tempdir().unwrap();
    drop(Daemon::start(dir.path()));
    assert!(
        registration(dir.path()).exists(),
        "a killed process leaves its sockets"
    );
    let start = Instant::now();
    std::fs::remove_file(registration(dir.path())).unwrap();
    drop(Daemon::start(dir.path()));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_cannot_work_is_refused_with_a_sentence_and_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(100);
    let state = dir.path().join("file");
    std::fs::write(&state, "").unwrap();
    let state = state.join("state").display().to_string();
    for (flag, value, want_code, want) in [
        (
            "--node-name",
            "",
            3,
            "the name of this node is missing (--node-name, NODE_NAME)",
        ),
        (
            "--kubelet-root-dir",
            long.as_str(),
            3,
            "shorten --driver-name or --kubelet-root-dir",
        ),
        (
            "--kubeconfig",
            "/nonexistent",
            3,
            "use kubeconfig /nonexistent",
        ),
        ("--state-dir", state.as_str(), 6, "(--state-dir)"),
    ] {
        let mut command = command(dir.path());
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut again = Command::new(command.get_program());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let given = args.next().unwrap();
            again
                .arg(&arg)
                .arg(if arg == flag { value.into() } else { given });
        }
        let (code, line) = refused(&again.output().unwrap());
        assert_eq!(code, Some(want_code), "{flag}: {line}");
        assert!(line.contains(want), "{flag}: {line}");
        command.stdin(Stdio::null());
    }
    let bad = command(dir.path())
        .args(["--driver-name", "Not A Name"])
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(2));
}
