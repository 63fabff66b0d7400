//! What the daemons hold after many lives of pods, beside what they held after a few.

use std::time::Duration;

use anyhow::ensure;

use super::bed::{Bed, CARDS};
use super::life::{Life, Plan};
use super::random::Random;
use super::tally::{Tally, again, tell};
use crate::bench::memory;
use crate::cluster::Setup;
use crate::daemon::ALL;
use crate::invariants::{AtRest, Rest};

/// The runtime of the daemons ends idle threads after 10 s.
const IDLE: Duration = Duration::from_secs(11);
/// What memory may have grown by, in percent, and in MiB where that is more: a page here and there.
const GROWTH: (f64, f64) = (5.0, 0.5);

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    files: usize,
    threads: usize,
    /// Own memory, MiB.
    memory: f64,
}

impl Held {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let count = |of: &str| {
            Ok::<_, std::io::Error>(std::fs::read_dir(format!("/proc/{pid}/{of}"))?.count())
        };
        Ok(Self {
            files: count("fd")?,
            threads: count("task")?,
            memory: memory(pid, "RssAnon")?,
        })
    }
}

/// So many lives, after half as many that do not count: some things are remembered for minutes, such as events.
pub(super) async fn run(setup: &Setup, lives: u64, seed: u64) -> anyhow::Result<Tally> {
    let bed = Bed::new(setup.clone(), 2).await?;
    let before = AtRest::of(&bed.cluster)?;
    let mut random = Random::new(seed, 16);
    let mut tally = Tally::new("leaks", "daemons hold what they held before");
    let warm_up = lives.div_ceil(2);
    lead(&bed, &mut random, 0..warm_up).await?;
    let first = held(&bed).await?;
    lead(&bed, &mut random, warm_up..lives.saturating_add(warm_up)).await?;
    let last = held(&bed).await?;
    before.holds(&bed.cluster).await?;
    for ((component, first), last) in ALL.into_iter().zip(first).zip(last) {
        let name = component.as_str();
        tell(&format!(
            "  {name} after {warm_up} and {lives} more pods: files {} and {}, threads {} and {}, memory {:.1} and {:.1} MiB",
            first.files, last.files, first.threads, last.threads, first.memory, last.memory
        ));
        let again = again("leaks", lives, seed);
        tally.count(name, &compare(first, last), &again);
    }
    tally.add(&format!("{lives} pods"));
    Ok(tally)
}

fn compare(first: Held, last: Held) -> anyhow::Result<Rest> {
    let allowed = (first.memory * (1.0 + GROWTH.0 / 100.0)).max(first.memory + GROWTH.1);
    ensure!(last.files <= first.files, "files: {first:?}, then {last:?}");
    ensure!(
        last.threads <= first.threads,
        "threads: {first:?}, then {last:?}"
    );
    ensure!(last.memory <= allowed, "memory: {first:?}, then {last:?}");
    Ok(Rest::Whole)
}

async fn lead(bed: &Bed, random: &mut Random, pods: std::ops::Range<u64>) -> anyhow::Result<()> {
    for pod in pods {
        let plan = Plan::draw(random, CARDS.to_vec(), 1);
        let life = Life::new(bed, &format!("leak-{pod}"), plan);
        life.start().await?;
        life.end().await?;
    }
    Ok(())
}

/// What each daemon holds once it has nothing to do.
async fn held(bed: &Bed) -> anyhow::Result<Vec<Held>> {
    tokio::time::sleep(IDLE).await;
    let held = ALL
        .into_iter()
        .map(|component| Held::of(bed.cluster.pid(component)?));
    held.collect()
}
