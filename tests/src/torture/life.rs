//! The life of a pod as the kubelet leads it: every step is tried again until it works, whoever dies meanwhile.
//!
//! It looks at the pod itself: a container that was created has all its interfaces, from then until the pod is ended.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::time::Instant;

use super::bed::Bed;
use super::cards::Card;
use super::random::Random;
use crate::cluster::{Claim, PATIENCE, PodHandle};
use crate::kubelet::ClaimName;
use crate::wait::slowed;

/// Between two looks at a pod that runs.
const LOOK: Duration = Duration::from_millis(10);
/// The kubelet waits longer between two tries.
const RETRY: Duration = Duration::from_millis(20);

/// In which order a pod ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Stop, Unprepare, Remove: the kubelet's order.
    InOrder,
    /// Unprepare comes first, as after a forced deletion.
    UnpreparedFirst,
    /// Remove comes without Stop.
    NeverStopped,
}

/// What a life is like.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Its cards.
    pub(super) cards: Vec<Card>,
    /// Whether each has a claim of its own.
    pub(super) claim_each: bool,
    /// How it ends.
    pub(super) end: End,
}

impl Plan {
    /// One of those that there are for these cards, of which at least `least` are taken.
    pub(super) fn draw(random: &mut Random, mut cards: Vec<Card>, least: usize) -> Self {
        if random.coin() {
            cards.reverse();
        }
        if random.coin() {
            cards.truncate(least.max(1));
        }
        Self {
            cards,
            claim_each: random.coin(),
            end: random.pick(End::InOrder, &[End::UnpreparedFirst, End::NeverStopped]),
        }
    }
}

/// A pod that lives.
#[derive(Debug)]
pub(super) struct Life<'a> {
    bed: &'a Bed,
    plan: Plan,
    claims: Vec<Claim>,
    pod: PodHandle<'a>,
}

impl<'a> Life<'a> {
    /// A pod that is scheduled: its claims are there and allocated.
    pub(super) fn new(bed: &'a Bed, name: &str, plan: Plan) -> Self {
        let size = if plan.claim_each { 1 } else { plan.cards.len() };
        let groups = plan.cards.chunks(size.max(1)).enumerate();
        let claims: Vec<_> = groups
            .map(|(number, cards)| claim(bed, &format!("{name}-{number}"), cards))
            .collect();
        let pod = bed.cluster.pod(name, &claims.iter().collect::<Vec<_>>());
        Self {
            bed,
            plan,
            claims,
            pod,
        }
    }

    /// Prepares, makes a sandbox and a container, whatever it takes.
    pub(super) async fn start(&self) -> anyhow::Result<()> {
        self.prepare().await?;
        self.run().await?;
        self.create_container().await
    }

    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        let prepare = async || Ok(self.pod.prepare().await?);
        retried("Prepare", prepare).await
    }

    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let run = async || Ok(self.pod.run().await?);
        retried("RunPodSandbox", run).await
    }

    pub(super) async fn create_container(&self) -> anyhow::Result<()> {
        let create = async || self.create_container_once().await;
        retried("CreateContainer", create).await?;
        self.has_its_devices().context("at the container's start")
    }

    /// Tries to make a container; says why not.
    pub(super) async fn create_container_once(&self) -> anyhow::Result<()> {
        self.pod.start_container().await?;
        Ok(())
    }

    /// I1: all interfaces are in the pod, up, with address and route.
    pub(super) fn has_its_devices(&self) -> anyhow::Result<()> {
        let state = self.pod.state()?.to_string();
        for card in &self.plan.cards {
            for trace in self.bed.cards.traces(*card) {
                ensure!(
                    state.lines().any(|line| line.starts_with(&trace)),
                    "I1: a container of {} runs without {:?} in its pod:\n{state}",
                    self.bed.cards.device(*card),
                    trace.trim_end(),
                );
            }
        }
        Ok(())
    }

    /// Looks at the pod until something is over.
    pub(super) async fn holds_until(&self, mut over: impl FnMut() -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !over() {
            ensure!(
                started.elapsed() < slowed(PATIENCE),
                "waited in vain while the pod ran"
            );
            self.has_its_devices()?;
            tokio::time::sleep(slowed(LOOK)).await;
        }
        self.has_its_devices()
    }

    /// The far end of a cable answers.
    pub(super) async fn pings(&self) -> anyhow::Result<()> {
        for card in &self.plan.cards {
            self.pod.ping(card.far()).await?;
        }
        Ok(())
    }

    /// Ends the pod, whose container has its devices until then.
    pub(super) async fn end(&self) -> anyhow::Result<()> {
        self.has_its_devices().context("before the pod's end")?;
        self.give_up().await
    }

    /// Ends the pod however far it got, and deletes its claims.
    pub(super) async fn give_up(&self) -> anyhow::Result<()> {
        match self.plan.end {
            End::InOrder => {
                self.leave(self.pod.stop()).await?;
                self.unprepare().await?;
                self.leave(self.pod.remove()).await?;
            }
            End::UnpreparedFirst => {
                self.unprepare().await?;
                self.leave(self.pod.stop()).await?;
                self.leave(self.pod.remove()).await?;
            }
            End::NeverStopped => {
                self.leave(self.pod.remove()).await?;
                self.unprepare().await?;
            }
        }
        for claim in &self.claims {
            self.bed.cluster.api.delete_claim("default", &claim.name);
        }
        Ok(())
    }

    /// The sandbox dies and the pod gets another, without a Prepare in between.
    pub(super) async fn new_sandbox(&self) -> anyhow::Result<()> {
        self.leave(self.pod.stop()).await?;
        self.leave(self.pod.remove()).await?;
        self.run().await
    }

    pub(super) async fn unprepare(&self) -> anyhow::Result<()> {
        retried("Unprepare", async || self.pod.unprepare().await).await?;
        // Said twice, it stays said.
        for claim in &self.claims {
            let again = async || self.bed.cluster.unprepare_claim(claim).await;
            retried("a repeated Unprepare", again).await?;
        }
        Ok(())
    }

    /// A step with which the pod's namespace may end. Where no hook is there to hold it, the cards in it fall home as
    /// hardware does.
    async fn leave(&self, step: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        self.bed.ending(&self.pod, step).await
    }

    /// The sandbox fails in the runtime after the hook has done its part, and the pod gets another.
    pub(super) async fn fail_sandbox(&self) -> anyhow::Result<()> {
        self.leave(self.pod.remove()).await?;
        self.run().await
    }

    /// Its claims as the kubelet names them.
    pub(super) fn names(&self) -> Vec<ClaimName> {
        self.claims.iter().map(Claim::kubelet_name).collect()
    }
}

fn claim(bed: &Bed, name: &str, cards: &[Card]) -> Claim {
    let builder = cards.iter().fold(bed.cluster.claim(name), |builder, card| {
        let device = bed.cards.device(*card);
        builder.device(&device).config(&card.config())
    });
    builder.create()
}

/// Tries a step until it works.
async fn retried(
    what: &str,
    mut step: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let Err(error) = step().await else {
            return Ok(());
        };
        if started.elapsed() > slowed(PATIENCE) {
            bail!("{what} still fails after {PATIENCE:?}: {error:#}");
        }
        tokio::time::sleep(slowed(RETRY)).await;
    }
}
