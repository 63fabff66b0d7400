//! The run within `cargo test`: all known inputs, then mutations of them for a bounded time.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::mutate::mutations;
use crate::{MAX_BYTES, SECONDS, Target};

/// Inputs between two looks at the clock and at memory.
const BATCH: u32 = 256;
/// Most memory that the process may gain: no input is longer than [`MAX_BYTES`], and nothing of it is kept.
const MAX_GAIN_BYTES: u64 = 128 << 20;
/// Longest time for one input: far more than any needs, also on a busy machine.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Feeds the target, and prints how often.
pub(crate) fn run(target: &Target, function: fn(&[u8])) {
    let name = target.name;
    let (seconds, seed) = (seconds(), seed());
    let memory = peak_memory_bytes();
    let corpus = corpus(target);
    for (path, bytes) in &corpus {
        if let Err(reason) = feed(function, bytes) {
            panic!("{name}: crashes on {}: {reason}", path.display());
        }
    }
    let inputs = Cell::new(corpus.len());
    let all = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let strategy = mutations(all);
    let end = Instant::now().checked_add(Duration::from_secs(seconds));
    // A runner counts its inputs over all its runs, so each batch has one of its own.
    let mut batches = (0..).map(|batch| runner(seed, batch));
    while end.is_some_and(|end| Instant::now() < end) {
        let case = |bytes: Vec<u8>| {
            inputs.set(inputs.get().saturating_add(1));
            feed(function, &bytes).map_err(TestCaseError::fail)
        };
        let Some(mut runner) = batches.next() else {
            break;
        };
        match runner.run(&strategy, case) {
            Ok(()) => {}
            Err(TestError::Fail(reason, bytes)) => {
                let kept = keep(target, &bytes);
                panic!("{name}: crashes on {kept} (FUZZ_SEED={seed}): {reason}");
            }
            Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
        }
        let gain = peak_memory_bytes().saturating_sub(memory);
        assert!(
            gain <= MAX_GAIN_BYTES,
            "{name}: took {gain} bytes of memory within {BATCH} inputs (FUZZ_SEED={seed})"
        );
    }
    let inputs = inputs.get();
    say(&format!("{name}: {inputs} inputs, 0 crashes (seed {seed})"));
}

fn runner(seed: u64, batch: u64) -> TestRunner {
    let mut bytes = [0; 32];
    let numbers = [seed, batch].map(u64::to_le_bytes).concat();
    bytes
        .iter_mut()
        .zip(numbers)
        .for_each(|(byte, number)| *byte = number);
    let config = Config {
        cases: BATCH,
        failure_persistence: None,
        max_shrink_iters: 10_000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Gives the target one input.
fn feed(function: fn(&[u8]), bytes: &[u8]) -> Result<(), String> {
    let started = Instant::now();
    catch_unwind(AssertUnwindSafe(|| function(bytes))).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "panic".to_owned())
    })?;
    let took = started.elapsed();
    if took > MAX_TIME {
        return Err(format!("{} bytes took {took:?}", bytes.len()));
    }
    Ok(())
}

/// The target's files.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let (name, dir) = (target.name, target.corpus.display());
    let entries = fs::read_dir(&target.corpus);
    let entries = entries.unwrap_or_else(|error| panic!("{name}: read {dir}: {error}"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.map(|entry| entry.path());
            let path = path.unwrap_or_else(|error| panic!("{name}: read {dir}: {error}"));
            let bytes = fs::read(&path);
            let bytes =
                bytes.unwrap_or_else(|error| panic!("{name}: read {}: {error}", path.display()));
            assert!(bytes.len() <= MAX_BYTES, "{} is too long", path.display());
            (path, bytes)
        })
        .collect();
    assert!(!files.is_empty(), "{name}: no input to begin with in {dir}");
    files.sort();
    files
}

/// Writes down what the target cannot take.
fn keep(target: &Target, bytes: &[u8]) -> String {
    let name = format!("crash-{:08x}", crc32fast::hash(bytes));
    let path = target.corpus.join(name);
    match fs::write(&path, bytes) {
        Ok(()) => path.display().to_string(),
        Err(error) => format!("{bytes:?}, which cannot be kept: {error}"),
    }
}

/// The most memory that the process has had in use so far (`VmHWM`).
fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let peak = peak.unwrap_or_else(|| panic!("no VmHWM in /proc/self/status"));
    peak.saturating_mul(1024)
}

fn seconds() -> u64 {
    number("FUZZ_SECONDS").unwrap_or(SECONDS)
}

/// Without `FUZZ_SEED` each run has its own.
fn seed() -> u64 {
    number("FUZZ_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let nanos = now.unwrap_or_default().as_nanos();
        u64::try_from(nanos).unwrap_or_default()
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Also where the test harness keeps what a passing test prints to itself.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    use proptest::strategy::{Strategy as _, ValueTree as _};

    use super::*;

    /// One at a time: they measure the memory of the whole process.
    static ALONE: Mutex<()> = Mutex::new(());

    fn target(dir: &std::path::Path) -> Target {
        fs::write(dir.join("seed"), b"abcdefgh").unwrap();
        Target {
            name: "toy",
            corpus: dir.to_owned(),
        }
    }

    fn crash(function: fn(&[u8])) -> (String, Vec<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        let panic = catch_unwind(AssertUnwindSafe(|| run(&target, function))).unwrap_err();
        let kept = corpus(&target)
            .into_iter()
            .filter(|(path, _)| !path.ends_with("seed"))
            .map(|(_, bytes)| bytes);
        let kept = kept.collect();
        (*panic.downcast::<String>().unwrap(), kept)
    }

    #[test]
    fn a_crash_is_found_made_small_and_kept() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, kept) = crash(|bytes| assert!(!bytes.contains(&0xff), "boom"));
        assert!(
            text.contains("toy: crashes on") && text.contains("boom"),
            "{text}"
        );
        assert_eq!(kept.len(), 1);
        assert!(kept[0].contains(&0xff), "{kept:?}");
    }

    #[test]
    fn memory_without_bound_is_a_crash() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, _) = crash(|bytes| {
            static ONCE: std::sync::Once = std::sync::Once::new();
            if bytes.len() > 8 {
                ONCE.call_once(|| drop(std::hint::black_box(vec![1_u8; 256 << 20])));
            }
        });
        assert!(text.contains("bytes of memory"), "{text}");
    }

    #[test]
    fn a_kept_crash_fails_again_by_its_name() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let target = target(dir.path());
        fs::write(dir.path().join("crash-1"), b"x").unwrap();
        let function: fn(&[u8]) = |bytes| assert!(bytes != b"x", "boom");
        let panic = catch_unwind(AssertUnwindSafe(|| run(&target, function))).unwrap_err();
        let text = panic.downcast::<String>().unwrap();
        assert!(text.contains("crash-1: boom"), "{text}");
    }

    #[test]
    fn inputs_go_on_coming_for_the_whole_time() {
        static FED: AtomicUsize = AtomicUsize::new(0);
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        run(&target(dir.path()), |_| {
            FED.fetch_add(1, Ordering::Relaxed);
        });
        // More than the seed and one batch.
        assert!(FED.load(Ordering::Relaxed) > 1 + BATCH as usize);
    }

    #[test]
    fn a_seed_repeats_a_run() {
        let inputs = |seed| {
            let strategy = mutations(vec![b"abcdefgh".to_vec()]);
            let mut runner = runner(seed, 0);
            let mut value = || strategy.new_tree(&mut runner).unwrap().current();
            (0..20).map(|_| value()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }
}
