//! What a process uses, as the kernel counts it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Memory in MiB: a line of `/proc/<pid>/status`, such as `VmRSS` (resident) or `RssAnon` (resident and no file's).
pub(crate) fn memory(pid: u32, line: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mut lines = status.lines().filter_map(|l| l.split_once(':'));
    let found = lines.find(|(name, _)| *name == line);
    let kib = found.and_then(|(_, value)| value.split_whitespace().next());
    let kib: u32 = kib.with_context(|| format!("no {line}"))?.parse()?;
    Ok(f64::from(kib) / 1024.0)
}

/// Processor time of the living threads of a process, by thread: the first field of `/proc/<pid>/task/*/schedstat`,
/// exact to the nanosecond where `stat` counts in hundredths of a second.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(BTreeMap<OsString, Duration>);

impl Work {
    /// As it is now.
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut work = Self::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?;
            // A thread that has ended since is no loss: an idle one, of a pool.
            let Ok(counts) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let nanos = counts.split(' ').next().context("an empty schedstat")?;
            let time = Duration::from_nanos(nanos.parse()?);
            work.0.insert(thread.file_name(), time);
        }
        Ok(work)
    }

    /// What was done since then.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let done = self.0.iter().map(|(thread, time)| {
            let then = before.0.get(thread).copied().unwrap_or_default();
            time.saturating_sub(then)
        });
        done.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_ever_more_time() {
        let pid = std::process::id();
        assert!(memory(pid, "VmRSS").unwrap() > memory(pid, "RssAnon").unwrap());
        assert!(memory(pid, "VmNonsense").is_err());
        let before = Work::of(pid).unwrap();
        let mut sum = 0_u64;
        while Work::of(pid).unwrap().since(&before).is_zero() {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(sum > 0);
    }
}
