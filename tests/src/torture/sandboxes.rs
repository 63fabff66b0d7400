//! Sandboxes that fail and are made again: of the runtime's own doing, by a refusal of the hook, and while the hook is
//! dead.

use anyhow::{Context as _, ensure};
use network_driver_common::bus::Component;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bed::{Bed, CARDS};
use super::life::{Life, Plan};
use super::random::Random;
use super::tally::{Tally, again};
use crate::cluster::Setup;
use crate::invariants::{AtRest, Rest};

/// What becomes of a pod's sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It fails in the runtime once the hook has done its part: no container ever runs in it, no Stop comes.
    FailsAfterUs,
    /// It dies while its container runs.
    Dies,
    /// The hook refuses it before anything moved.
    RefusedBefore,
    /// The hook refuses it with a link moved.
    RefusedMidway,
    /// The hook is slow with a link moved, and gives up in time.
    Slow,
    /// The hook stands still with a link moved: the runtime throws it out and goes on.
    Hangs,
    /// It dies while the hook is dead.
    DiesUnseen,
}

impl Fate {
    /// The fail points of the hook that bring it about.
    fn switches(self) -> Option<&'static str> {
        match self {
            Self::RefusedBefore => Some("attach.kept=error"),
            Self::RefusedMidway => Some("attach.moved=error"),
            // The runtime waits 2 s; the hook is to give up at 60 % of that and answer by 85 %.
            Self::Slow => Some("attach.moved=delay(1300)"),
            Self::Hangs => Some("attach.moved=pause"),
            Self::FailsAfterUs | Self::Dies | Self::DiesUnseen => None,
        }
    }
}

/// So many pods.
pub(super) async fn run(setup: &Setup, pods: u64, seed: u64) -> anyhow::Result<Tally> {
    let bed = Bed::new(setup.clone(), 3).await?;
    let bystander = bed.bystander().await?;
    let mut before = AtRest::of(&bed.cluster)?;
    let mut tally = Tally::new(
        "sandboxes that fail or die and are made again",
        "nothing lost",
    );
    let mut random = Random::new(seed, 7);
    for pod in 0..pods {
        let fate = random.pick(
            Fate::Dies,
            &[
                Fate::FailsAfterUs,
                Fate::RefusedBefore,
                Fate::RefusedMidway,
                Fate::Slow,
                Fate::Hangs,
                Fate::DiesUnseen,
            ],
        );
        let plan = Plan::draw(&mut random, CARDS.to_vec(), 1);
        if fate == Fate::Hangs {
            before = before.with_a_late_answer();
        }
        let result = one(&bed, &before, &format!("sandbox-{pod}"), fate, plan).await;
        let result = match bystander.has_its_devices() {
            Ok(()) => result,
            Err(error) => Err(error.context("the bystander")),
        };
        let again = again("sandboxes", pods, seed);
        tally.count(&format!("pod {pod} ({fate:?})"), &result, &again);
        if result.is_err() {
            break;
        }
    }
    Ok(tally)
}

async fn one(
    bed: &Bed,
    before: &AtRest,
    name: &str,
    fate: Fate,
    plan: Plan,
) -> anyhow::Result<Rest> {
    let passed = || {
        let log = bed.cluster.log(Component::NriHook);
        log.matches("fail point attach").count()
    };
    let passed_before = passed();
    if let Some(switches) = fate.switches() {
        bed.arm(Component::NriHook, switches).await?;
    }
    let life = Life::new(bed, name, plan);
    life.prepare().await?;
    life.run().await?;
    match fate {
        Fate::FailsAfterUs => life.fail_sandbox().await?,
        Fate::Dies => {
            life.create_container().await?;
            life.new_sandbox().await?;
        }
        Fate::DiesUnseen => {
            life.create_container().await?;
            bed.cluster.kill_daemon(Component::NriHook)?;
            life.new_sandbox().await?;
            // The id of the sandbox before is still defined: the start hook alone is in the way.
            ensure!(
                life.create_container_once().await.is_err(),
                "I1: a container runs while its devices are at home"
            );
            let registrations = bed.cluster.runtime.registrations();
            bed.start(Component::NriHook, "").await?;
            bed.all_ready(Component::NriHook, registrations).await?;
        }
        Fate::Hangs => {
            let hook = i32::try_from(bed.cluster.pid(Component::NriHook)?)?;
            ensure!(
                life.create_container_once().await.is_err(),
                "I1: the hook stands still"
            );
            kill(Pid::from_raw(hook), Signal::SIGCONT)?;
        }
        Fate::RefusedBefore | Fate::RefusedMidway | Fate::Slow => {}
    }
    ensure!(
        passed() > passed_before || fate.switches().is_none(),
        "no fail point was passed"
    );
    life.create_container()
        .await
        .context("in the new sandbox")?;
    life.pings().await?;
    life.end().await?;
    before.holds(&bed.cluster).await
}
