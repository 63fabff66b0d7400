//! `nri-hook preflight` as the kubelet runs it: exit code, lines, termination message.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs it over directories of its own; nobody listens at the NRI socket.
fn preflight(dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nri-hook"));
    for (flag, value) in [
        ("--nri-socket", "nri.sock"),
        ("--cdi-dir", "cdi"),
        ("--state-dir", "state"),
    ] {
        command.arg(flag).arg(dir.join(value));
    }
    command.arg("preflight");
    for (flag, value) in [
        ("--records-dir", "records"),
        ("--kubelet-root-dir", "kubelet"),
        ("--termination-log", "termination-log"),
    ] {
        command.arg(flag).arg(dir.join(value));
    }
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_node_that_can_never_work_is_refused_with_the_cures_where_kubectl_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("termination-log"), "").unwrap();
    let output = preflight(dir.path());
    assert_eq!(output.status.code(), Some(7), "{output:?}");

    let lines = String::from_utf8(output.stdout).unwrap();
    for line in [
        "ok    kernel",
        "ok    cdi",
        "FAIL  kubelet",
        "FAIL  runtime",
    ] {
        assert!(lines.contains(line), "{line} is not in {lines}");
    }
    let message = fs::read_to_string(dir.path().join("termination-log")).unwrap();
    for part in [
        "set kubelet.rootDir",
        "no NRI socket at",
        "enable_nri = true",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let well = message.lines().find(|line| line.starts_with("ok"));
    assert_eq!(well, None, "only what is wrong");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: preflight: 2 of "), "{error}");
}
