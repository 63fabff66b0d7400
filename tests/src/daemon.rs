//! The real binaries: where they are, and how one is run inside a network namespace.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use network_driver_common::bus::Component;
use network_driver_netlink::Netns;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a daemon may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// Where the three binaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// In the given directory, else next to the running executable or one above (`target/<profile>`).
    ///
    /// # Errors
    /// One of the three is not there.
    pub fn find(dir: Option<&Path>) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("where is this executable?")?;
        let places: Vec<&Path> = match dir {
            Some(dir) => vec![dir],
            None => own.ancestors().skip(1).take(2).collect(),
        };
        let has_all = |place: &&&Path| ALL.iter().all(|c| place.join(c.as_str()).is_file());
        match places.iter().find(has_all) {
            Some(place) => Ok(Self(place.to_path_buf())),
            None => bail!(
                "discovery, dra-plugin and nri-hook are not all in {places:?}: build them with `cargo build --bins`"
            ),
        }
    }

    /// The start hook, which is no daemon.
    pub(crate) fn start_hook(&self) -> PathBuf {
        self.0.join("start-hook")
    }

    /// The path of one.
    pub fn path(&self, component: Component) -> PathBuf {
        self.0.join(component.as_str())
    }
}

/// The three daemons in an order in which they may be started; any other must do as well.
pub const ALL: [Component; 3] = [
    Component::Discovery,
    Component::DraPlugin,
    Component::NriHook,
];

/// A running daemon. Killed when dropped; after a failed test its log is printed.
#[derive(Debug)]
pub struct Daemon {
    component: Component,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a binary in a network namespace, in a mount namespace of its own where `sysfs` shows that network
    /// namespace. `environment` is all that it gets. Its output is appended to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        component: Component,
        binary: &Path,
        arguments: &[String],
        home: &Netns,
        sysfs: &Path,
        log: &Path,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let sysfs = sysfs.to_owned();
        // A child has the namespaces of the thread that makes it; this thread ends afterwards.
        let child = home.run(move || {
            mount_sysfs(&sysfs)?;
            command.spawn().context("spawn")
        })?;
        Ok(Self {
            component,
            child: child.with_context(|| format!("cannot start {}", binary.display()))?,
            log: log.to_owned(),
        })
    }

    /// Which one it is.
    pub fn component(&self) -> Component {
        self.component
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It did not end in time.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM)?;
        let started = Instant::now();
        while started.elapsed() < STOP_DEADLINE {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!(
            "{} did not end within {STOP_DEADLINE:?} of SIGTERM",
            self.component.as_str()
        )
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Nobody knows.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Killed twice is killed.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let name = self.component.as_str();
            let tail = self.log_tail(60);
            #[expect(
                clippy::print_stderr,
                reason = "shown by the test runner when a test fails"
            )]
            {
                eprintln!("--- last lines of {name} ---\n{tail}");
            }
        }
    }
}

/// Gives the calling thread a mount namespace with a sysfs of its network namespace.
pub(crate) fn mount_sysfs(at: &Path) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(none, "/", none, private, none).context("make mounts private")?;
    mount(Some("sysfs"), at, Some("sysfs"), MsFlags::MS_RDONLY, none).context("mount sysfs")
}

#[cfg(test)]
mod tests {
    use network_driver_netlink::testing::Namespace;

    use super::*;

    #[test]
    fn a_missing_binary_is_a_clear_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("cargo build --bins"), "{error}");
    }

    #[test]
    fn netns_a_daemon_sees_its_namespace_and_the_sysfs_of_it_only() {
        let dir = tempfile::tempdir().unwrap();
        let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        home.veth("seen0", &far, "unseen0").unwrap();
        let sysfs = dir.path().join("sys");
        std::fs::create_dir(&sysfs).unwrap();
        let list = [sysfs.join("class/net").to_str().unwrap().to_owned()];
        let log = dir.path().join("log");
        let ls = Path::new("/bin/ls");
        let home = home.netns();
        let started = Daemon::start(Component::Discovery, ls, &list, home, &sysfs, &log, &[]);
        let mut daemon = started.unwrap();
        assert!(daemon.child.wait().unwrap().success());
        let tail = daemon.log_tail(9);
        // The bonding driver, where it is loaded, puts a file among the links.
        let links = tail.lines().filter(|name| *name != "bonding_masters");
        assert_eq!(links.collect::<Vec<_>>(), ["lo", "seen0"]);
        assert!(
            !sysfs.join("class").exists(),
            "the mount is the daemon's alone"
        );
    }
}
