//! The node, seen from inside: its programs, its daemons, its processes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::wait::{Seen, until};

/// The node's files; `node/init` puts them here.
const DIR: &str = "/run/e2e";

/// Runs a program of the node and returns what it printed.
///
/// # Errors
/// It cannot be run, or failed: with what it wrote to standard error.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    let command = || format!("{program} {}", args.join(" "));
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(command)?;
    ensure!(
        output.status.success(),
        "{}: {}: {}{}",
        command(),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim(),
        String::from_utf8_lossy(&output.stdout).trim(),
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip -json …`.
///
/// # Errors
/// `ip` failed.
pub(crate) fn ip_json(args: &str) -> Result<Value> {
    let mut all = vec!["-j"];
    all.extend(args.split_whitespace());
    let text = run("ip", &all)?;
    if text.trim().is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    serde_json::from_str(&text).with_context(|| format!("ip {}: {text}", all.join(" ")))
}

/// Runs `ip …`.
///
/// # Errors
/// `ip` failed.
pub(crate) fn ip(args: &str) -> Result<()> {
    run("ip", &args.split_whitespace().collect::<Vec<_>>()).map(|_| ())
}

/// Sends a packet from the world outside and waits for its echo.
///
/// # Errors
/// There was none within a second.
pub(crate) fn ping_from_outside(address: &str) -> Result<()> {
    let arguments = ["netns", "exec", "ext", "busybox", "ping"];
    run(
        "ip",
        &[&arguments[..], &["-c1", "-W1", address][..]].concat(),
    )
    .map(|_| ())
}

/// What the node runs beside pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    ApiServer,
    Kubelet,
    Runtime,
}

impl Daemon {
    fn name(self) -> &'static str {
        match self {
            Self::ApiServer => "apiserver",
            Self::Kubelet => "kubelet",
            Self::Runtime => runtime(),
        }
    }

    fn pid(self) -> Option<String> {
        fs::read_to_string(format!("{DIR}/pid/{}", self.name())).ok()
    }

    /// Ends the daemon and waits until it is gone.
    ///
    /// # Errors
    /// It did not end.
    pub(crate) async fn stop(self) -> Result<()> {
        self.end("stop").await
    }

    /// Kills the daemon, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// It is still there.
    pub(crate) async fn kill(self) -> Result<()> {
        self.end("kill").await
    }

    async fn end(self, verb: &str) -> Result<()> {
        self.ask(verb)?;
        let what = format!("{} stopped", self.name());
        until(&what, Duration::from_secs(30), async || {
            Ok(Seen::when(self.pid().is_none(), "it runs"))
        })
        .await
    }

    /// Starts the daemon again; does not wait until it works.
    ///
    /// # Errors
    /// The node does not listen.
    pub(crate) fn start(self) -> Result<()> {
        self.ask("start")
    }

    /// Stops the daemon in its tracks until what is returned is dropped.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn hold(self) -> Result<Held> {
        let pid = self.pid();
        let pid = pid.with_context(|| format!("{} does not run", self.name()))?;
        Held::new(pid.trim())
    }

    /// Ends the daemon and starts it again.
    ///
    /// # Errors
    /// It did not end.
    pub(crate) async fn restart(self) -> Result<()> {
        self.stop().await?;
        self.start()
    }

    fn ask(self, verb: &str) -> Result<()> {
        let line = format!("{verb} {}\n", self.name());
        fs::write(format!("{DIR}/control"), line).context("ask PID 1 of the node")
    }
}

/// The container runtime of this node: `containerd` or `crio`, as the kubelet is told; its socket comes and goes.
pub(crate) fn runtime() -> &'static str {
    let told = fs::read_to_string(format!("{DIR}/kubelet.conf.d/runtime.conf"));
    if told.is_ok_and(|told| told.contains("crio.sock")) {
        "crio"
    } else {
        "containerd"
    }
}

/// Sends a signal, such as `KILL`, to a process of the node.
///
/// # Errors
/// No such process.
pub(crate) fn signal(name: &str, pid: &str) -> Result<()> {
    run("kill", &["-s", name, pid]).map(|_| ())
}

/// A process that does nothing (SIGSTOP) until this is dropped.
#[derive(Debug)]
pub(crate) struct Held(String);

impl Held {
    /// Stops a process in its tracks.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn new(pid: &str) -> Result<Self> {
        signal("STOP", pid)?;
        Ok(Self(pid.to_owned()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        drop(signal("CONT", &self.0));
    }
}

/// The one process of the node that was started as this program.
///
/// # Errors
/// There is none, or several.
pub(crate) fn process(program: &str) -> Result<String> {
    let found = pids(|command| {
        let first = command.split(|byte| *byte == 0).next();
        first == Some(program.as_bytes())
    })?;
    let [pid] = found.as_slice() else {
        bail!("processes of {program}: {found:?}");
    };
    Ok(pid.clone())
}

/// Processes of the node whose command line is such.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn pids(such: impl Fn(&[u8]) -> bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_string_lossy().into_owned();
        let is_process = pid.bytes().all(|b| b.is_ascii_digit());
        if is_process && such(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// What the container runtime has logged.
///
/// # Errors
/// It cannot be read.
pub(crate) fn log_of_runtime() -> Result<String> {
    let path = format!("{DIR}/log/{}.log", runtime());
    let log = fs::read(&path).with_context(|| path)?;
    Ok(String::from_utf8_lossy(&log).into_owned())
}

/// Copies the logs of the node's daemons and of all containers.
///
/// # Errors
/// The folder cannot be made.
pub(crate) fn keep_logs(to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let to = to.to_string_lossy();
    run("cp", &["-rL", &format!("{DIR}/log"), &to])?;
    run("cp", &["-rL", "/var/log/pods", &to]).map(|_| ())
}
