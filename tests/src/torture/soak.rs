//! Pods start and end on every card while some daemon is always dying.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::future::join_all;

use super::bed::Bed;
use super::cards::Card;
use super::life::{Life, Plan};
use super::random::Random;
use super::tally::{Tally, again};
use crate::cluster::Setup;
use crate::daemon::ALL;
use crate::invariants::{AtRest, Rest};

/// Pods at a time; each has two cards to choose from.
const PODS: u8 = 4;
/// Shortest time between the start of a daemon and the next kill, and what may be added to it, milliseconds.
const PERIOD: (u64, u64) = (150, 200);
/// Longest time that a daemon stays dead, milliseconds.
const DEAD: u64 = 100;

/// What the workers and the killer share.
struct Soak<'a> {
    bed: &'a Bed,
    pods: u64,
    seed: u64,
    begun: AtomicU64,
    kills: AtomicU64,
    over: AtomicBool,
    tally: Mutex<Tally>,
}

/// So many lives of pods.
pub(super) async fn run(setup: &Setup, pods: u64, seed: u64) -> anyhow::Result<Tally> {
    let bed = Bed::new(setup.clone(), PODS.saturating_mul(2)).await?;
    let before = AtRest::of(&bed.cluster)?;
    let what = "soak, 8 devices, a daemon killed every 250 ms";
    let soak = Soak {
        bed: &bed,
        pods,
        seed,
        begun: AtomicU64::new(0),
        kills: AtomicU64::new(0),
        over: AtomicBool::new(false),
        tally: Mutex::new(Tally::new(what, "pods, nothing lost")),
    };
    let work = async {
        join_all((0..PODS).map(|number| soak.worker(number))).await;
        soak.over.store(true, Ordering::Release);
    };
    let ((), killed) = tokio::join!(work, soak.killer());
    let end = async {
        killed?;
        bed.cluster.ready().await?;
        before.holds(&bed.cluster).await
    };
    let end = end.await;
    if end.is_err() {
        soak.count("the end of the soak", &end);
    }
    let kills = soak.kills.load(Ordering::Relaxed);
    let mut tally = soak
        .tally
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    tally.add(&format!("{kills} kills"));
    let slowest = bed.cluster.runtime.slowest_answer().as_millis();
    tally.add(&format!("slowest answer of the hook {slowest} ms"));
    Ok(tally)
}

impl Soak<'_> {
    fn count(&self, run: &str, result: &anyhow::Result<Rest>) {
        let again = again("soak", self.pods, self.seed);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.count(run, result, &again);
    }

    async fn worker(&self, number: u8) {
        let first = number.saturating_mul(2).saturating_add(1);
        let cards = vec![Card(first), Card(first.saturating_add(1))];
        let mut random = Random::new(self.seed, number.into());
        while !self.over.load(Ordering::Acquire) {
            let pod = self.begun.fetch_add(1, Ordering::Relaxed);
            if pod >= self.pods {
                return;
            }
            let plan = Plan::draw(&mut random, cards.clone(), 1);
            let lived = self.life(pod, plan, random.millis(50)).await;
            let lived = lived.map(|()| Rest::Whole);
            self.count(&format!("pod {pod} of the soak"), &lived);
            if lived.is_err() {
                self.over.store(true, Ordering::Release);
            }
        }
    }

    async fn life(&self, pod: u64, plan: Plan, time: Duration) -> anyhow::Result<()> {
        let life = Life::new(self.bed, &format!("soak-{pod}"), plan);
        life.start().await.context("start")?;
        tokio::time::sleep(time).await;
        life.end().await.context("end")
    }

    /// Kills one daemon after the other until the work is over.
    async fn killer(&self) -> anyhow::Result<()> {
        let mut random = Random::new(self.seed, u64::MAX);
        let (cluster, [first, others @ ..]) = (&self.bed.cluster, ALL);
        while !self.over.load(Ordering::Acquire) {
            let period = random.millis(PERIOD.1);
            tokio::time::sleep(period.saturating_add(Duration::from_millis(PERIOD.0))).await;
            let component = random.pick(first, &others);
            ensure!(
                !cluster.has_ended(component),
                "I10: {} has ended by itself:\n{}",
                component.as_str(),
                cluster.tail(component)
            );
            cluster.kill_daemon(component)?;
            self.kills.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(random.millis(DEAD)).await;
            self.bed.start(component, "").await?;
        }
        Ok(())
    }
}
