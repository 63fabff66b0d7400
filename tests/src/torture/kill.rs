//! A daemon dies at each fail point while a pod lives, and is started again a moment later.

use std::collections::BTreeMap;

use anyhow::Context as _;
use network_driver_common::bus::Component;
use network_driver_common::fail::Point;

use super::bed::{Bed, CARDS};
use super::life::{End, Life, Plan};
use super::random::Random;
use super::tally::{Tally, tell};
use crate::cluster::{PATIENCE, Setup};
use crate::invariants::{AtRest, Rest};
use crate::runtime::Style;
use crate::wait::until_true;

/// Longest time that a daemon stays dead, milliseconds.
const DEAD: u64 = 300;
/// More devices than a slice holds (128).
const MANY: usize = 130;
/// How the line of runs on real cards begins, for `tests/vm/run`.
const REAL_CARDS: &str = "kill points on real cards";

/// Which runs.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    /// At these points.
    pub(super) points: Vec<Point>,
    /// With these seeds.
    pub(super) seeds: std::ops::Range<u64>,
    /// On which cards.
    pub(super) on: On,
}

/// On which cards pods live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum On {
    /// Ends of cables.
    Cables,
    /// Real ones: a whole card, a function, or both, by the seed.
    RealCards,
}

impl On {
    fn tally(self) -> Tally {
        let what = match self {
            Self::Cables => "kill points",
            Self::RealCards => REAL_CARDS,
        };
        Tally::new(what, "runs hold I1–I10")
    }

    async fn bed(self, setup: Setup) -> anyhow::Result<Bed> {
        match self {
            Self::Cables => Bed::new(setup, 3).await,
            Self::RealCards => Bed::on_this_machine(setup).await,
        }
    }

    fn plan(self, random: &mut Random, seed: u64) -> Plan {
        let mut plan = Plan::draw(random, CARDS.to_vec(), 1);
        if self == Self::RealCards {
            let [whole, function] = CARDS;
            plan.cards = match seed % 3 {
                0 => vec![whole],
                1 => vec![function],
                _ => vec![whole, function],
            };
        }
        plan
    }

    /// The command that repeats a run.
    fn again(self, point: Point, seed: u64) -> String {
        let make = match self {
            Self::Cables => "torture",
            Self::RealCards => "vm TESTS=torture",
        };
        format!("make {make} TORTURE=\"--point {point} --seed {seed}\"")
    }
}

/// What a run needs that is costly to make: runs that need the same share it while all goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ground {
    /// Index of the runtime's style.
    style: usize,
    /// With more devices than a slice holds.
    wide: bool,
}

impl Ground {
    fn of(point: Point, seed: u64) -> Self {
        let wide = point == Point::SliceBetween;
        let styles = u64::try_from(Style::ALL.len()).unwrap_or(1);
        // The newest first: the short form has few seeds.
        let turn = usize::try_from(seed.checked_rem(styles).unwrap_or_default());
        let last = Style::ALL.len().saturating_sub(1);
        Self {
            style: last.saturating_sub(turn.unwrap_or_default()),
            wide,
        }
    }

    fn setup(self, setup: Setup) -> Setup {
        let style = Style::ALL.get(self.style).cloned();
        let setup = setup
            .style(style.unwrap_or(Style::CONTAINERD_2_4))
            .cdi_confirmed();
        if self.wide {
            setup.links("port", MANY)
        } else {
            setup
        }
    }
}

/// Carries the runs out.
pub(super) async fn run(setup: &Setup, runs: &Runs) -> anyhow::Result<Tally> {
    let mut tally = runs.on.tally();
    let mut grounds: BTreeMap<Ground, Vec<(Point, u64)>> = BTreeMap::new();
    for seed in runs.seeds.clone() {
        for point in &runs.points {
            let ground = grounds.entry(Ground::of(*point, seed)).or_default();
            ground.push((*point, seed));
        }
    }
    for (ground, mut left) in grounds {
        left.reverse();
        while !left.is_empty() {
            let setup = ground.setup(setup.clone());
            on_one_bed(setup, runs.on, &mut left, &mut tally).await?;
        }
    }
    Ok(tally)
}

/// As many runs as go well on one bed, and one more.
async fn on_one_bed(
    setup: Setup,
    on: On,
    runs: &mut Vec<(Point, u64)>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let bed = on.bed(setup).await.context("make a node")?;
    let bystander = bed.bystander().await.context("start the bystander")?;
    let before = AtRest::of(&bed.cluster)?;
    while let Some((point, seed)) = runs.pop() {
        let result = one(&bed, &bystander, &before, on, point, seed).await;
        let again = on.again(point, seed);
        tally.count(&format!("{point} seed {seed}"), &result, &again);
        if result.is_err() {
            for component in crate::daemon::ALL {
                let tail = bed.cluster.tail(component);
                tell(&format!("--- {} ---\n{tail}", component.as_str()));
            }
        }
        if !matches!(result, Ok(Rest::Whole)) {
            break;
        }
    }
    Ok(())
}

/// Which daemon passes a point.
fn component(point: Point) -> Component {
    match point.name().split_once('.') {
        Some(("scan" | "slice", _)) => Component::Discovery,
        Some(("attach" | "detach", _) | (_, "home")) => Component::NriHook,
        _ => Component::DraPlugin,
    }
}

/// Whether a pod passes the point before it runs.
fn is_of_the_start(point: Point) -> bool {
    matches!(
        point.name().split_once('.'),
        Some(("prepare" | "attach", _))
    )
}

/// Whether the pod may be deleted at the daemon's death: the point is passed before the runtime has its answer.
fn may_be_given_up(point: Point) -> bool {
    point.name().starts_with("attach.") && point != Point::AttachAnswered
}

/// At which passing the daemon dies: there is one for each device, or just one.
fn passing(point: Point, random: &mut Random, plan: &Plan) -> u64 {
    match point {
        Point::AttachMoved
        | Point::AttachAddressed
        | Point::AttachUp
        | Point::AttachRouted
        | Point::DetachMoved
        | Point::DetachRestored => {
            let devices = u64::try_from(plan.cards.len()).unwrap_or(1);
            random.below(devices).saturating_add(1)
        }
        _ => 1,
    }
}

async fn one(
    bed: &Bed,
    bystander: &Life<'_>,
    before: &AtRest,
    on: On,
    point: Point,
    seed: u64,
) -> anyhow::Result<Rest> {
    let index = Point::ALL.iter().position(|other| *other == point);
    let mut random = Random::new(seed, u64::try_from(index.unwrap_or_default())?);
    let mut plan = on.plan(&mut random, seed);
    if point == Point::DetachReceived && plan.end == End::UnpreparedFirst {
        // The devices are home before the runtime says anything.
        plan.end = End::InOrder;
    }
    let component = component(point);
    let nth = passing(point, &mut random, &plan);
    let registrations = bed.cluster.runtime.registrations();
    bed.arm(component, &format!("{point}=kill#{nth}")).await?;
    let life = Life::new(bed, &format!("web-{seed}"), plan);
    let dead = random.millis(DEAD);
    let revived = std::sync::atomic::AtomicBool::new(false);
    let is_revived = || revived.load(std::sync::atomic::Ordering::Acquire);
    let given_up = may_be_given_up(point) && random.coin();
    let pod = async {
        if given_up {
            life.prepare().await?;
            life.run().await?;
            return life.give_up().await.context("give up");
        }
        life.start().await.context("start")?;
        if point == Point::SliceBetween || point == Point::SliceWritten {
            // As a kubelet does that starts.
            bed.cluster.api.wipe_slices();
        }
        if is_of_the_start(point) || component == Component::Discovery {
            life.holds_until(is_revived)
                .await
                .context("while it runs")?;
            life.pings().await?;
        }
        life.end().await.context("end")
    };
    let revive = async {
        bed.revive(component, dead).await?;
        revived.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    };
    tokio::try_join!(pod, revive)?;
    // Armed once and revived once.
    bed.all_ready(component, registrations.saturating_add(1))
        .await?;
    bystander.has_its_devices().context("the bystander")?;
    bystander.pings().await.context("the bystander")?;
    if component == Component::Discovery {
        until_true("slices", PATIENCE, || !bed.cluster.api.slices().is_empty()).await?;
    }
    before.holds(&bed.cluster).await
}
