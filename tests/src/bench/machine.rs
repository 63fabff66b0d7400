//! What the figures depend on besides the driver: printed above every report.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// The machine, as far as it says.
#[derive(Debug)]
pub(super) struct Machine {
    /// Name and value, in the order in which they are shown.
    facts: Vec<(&'static str, String)>,
    cpus: usize,
    load_before: String,
}

impl Machine {
    /// Looks at it, before anything is measured.
    pub(super) fn read() -> Self {
        let version = read("/proc/sys/kernel/version");
        let words = version.split_whitespace();
        let preempt = words.filter(|word| word.starts_with("PREEMPT"));
        let preempt = preempt.collect::<Vec<_>>().join(" ");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "optimised"
        };
        let facts = vec![
            ("kernel", read("/proc/sys/kernel/osrelease")),
            ("HZ", kernel_option("CONFIG_HZ=")),
            ("preemption", or_unknown(&preempt)),
            ("rcu_normal", read("/sys/kernel/rcu_normal")),
            ("rcu_expedited", read("/sys/kernel/rcu_expedited")),
            ("CPUs", cpus.to_string()),
            ("revision", revision()),
            ("build", build.to_owned()),
        ];
        Self {
            facts,
            cpus,
            load_before: load(),
        }
    }

    /// The first lines of a report, with the load as it was and as it is now.
    pub(super) fn header(&self, load_after: &str) -> String {
        let facts = self
            .facts
            .iter()
            .map(|(name, value)| format!("{name} {value}"));
        let facts = facts.collect::<Vec<_>>().join(", ");
        let mut text = format!(
            "{facts}\nload average {} before, {load_after} after\n",
            self.load_before
        );
        if self.is_busy() {
            text.push_str(
                "the machine was busy before the start: times are too long and ratios unsteady\n",
            );
        }
        text
    }

    pub(super) fn json(&self, load_after: &str) -> Value {
        let mut object: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        object.insert("loadBefore".to_owned(), json!(self.load_before));
        object.insert("loadAfter".to_owned(), json!(load_after));
        object.insert("busy".to_owned(), json!(self.is_busy()));
        Value::Object(object)
    }

    /// Whether more than half of the processors had work before anything was measured.
    fn is_busy(&self) -> bool {
        let cpus = u32::try_from(self.cpus).map_or(1.0, f64::from);
        let load: f64 = self.load_before.parse().unwrap_or_default();
        load > cpus / 2.0
    }
}

/// The load average of the last minute.
pub(super) fn load() -> String {
    let text = read("/proc/loadavg");
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

fn read(path: &str) -> String {
    or_unknown(&fs::read_to_string(path).unwrap_or_default())
}

fn or_unknown(text: &str) -> String {
    match text.trim() {
        "" => "unknown".to_owned(),
        text => text.to_owned(),
    }
}

/// An option of the kernel's configuration, where the kernel or the distribution shows it.
fn kernel_option(prefix: &str) -> String {
    let release = read("/proc/sys/kernel/osrelease");
    let shown = output("gzip", &["-dc", "/proc/config.gz"]);
    let config = shown.or_else(|| fs::read_to_string(format!("/boot/config-{release}")).ok());
    let config = config.unwrap_or_default();
    let value = config.lines().find_map(|line| line.strip_prefix(prefix));
    or_unknown(value.unwrap_or_default())
}

fn revision() -> String {
    let here = env!("CARGO_MANIFEST_DIR");
    let described = output("git", &["-C", here, "describe", "--always", "--dirty"]);
    or_unknown(&described.unwrap_or_default())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}
