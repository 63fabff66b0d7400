//! What is done again and again to a node whose eight devices are all in pods.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use network_driver_common::bus::Component;

use super::bed::Bed;
use super::cards::Card;
use super::life::{End, Life, Plan};
use super::random::Random;
use super::tally::{Tally, again};
use crate::cluster::{DRIVER, PATIENCE, Setup};
use crate::daemon::{ALL, Binaries};
use crate::invariants::{AtRest, Rest, records};
use crate::kubelet::{DraVersion, Kubelet};
use crate::wait::{slowed, until_true};

/// Cards of the node, two to a pod.
const CARDS: u8 = 8;
/// Those of a pod that starts late.
const LATE: (Card, Card) = (Card(7), Card(8));
/// When the API server is back, what is to be written has been written.
const SETTLE: Duration = Duration::from_secs(3);
/// Between two pings over each interface.
const PING: Duration = Duration::from_millis(50);

const SLICES: &str = "resourceslices";
const STATUS: &str = "resourceclaims/status";

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The state database is deleted while dra-plugin is dead.
    DatabaseLost,
    /// A kubelet starts: it deletes the slices, registers the driver anew and prepares every claim again.
    KubeletRestart,
    /// The container runtime restarts.
    RuntimeRestart,
    /// The API server answers nothing for so long, while another pod starts whose claims are prepared.
    ApiAway(Duration),
    /// The daemons end, as on `helm upgrade`, and these take their place; then those that were there come back.
    Replaced(Binaries),
}

impl Fault {
    fn tally(&self) -> Tally {
        match self {
            Self::DatabaseLost => Tally::new(
                "database deleted with 8 devices out",
                "rebuilt, all devices returned later",
            ),
            Self::KubeletRestart => Tally::new(
                "kubelet restarts with 8 devices out and pings running",
                "with the same answers, no packet lost",
            ),
            Self::RuntimeRestart => Tally::new(
                "runtime restarts with 8 devices out and pings running",
                "adopted, no packet lost",
            ),
            Self::ApiAway(_) => Tally::new(
                "API server away with 8 devices out and pings running",
                "noticed by no pod, and made up for with one write at most for each object",
            ),
            Self::Replaced(_) => Tally::new(
                "replaced by the earlier release and back with 8 devices out and pings running",
                "taken over, no packet lost",
            ),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::DatabaseLost => "database",
            Self::KubeletRestart => "kubelet",
            Self::RuntimeRestart => "runtime",
            Self::ApiAway(_) => "api",
            Self::Replaced(_) => "upgrade",
        }
    }
}

/// So many rounds. The pods of a round are new where the fault could have harmed them otherwise.
pub(super) async fn run(
    setup: &Setup,
    fault: Fault,
    rounds: u64,
    seed: u64,
) -> anyhow::Result<Tally> {
    let bed = Bed::new(setup.clone(), CARDS).await?;
    let before = AtRest::of(&bed.cluster)?;
    let mut tally = fault.tally();
    let mut random = Random::new(seed, 8);
    for round in 0..rounds {
        let result = one(&bed, &before, &fault, round, &mut random).await;
        let name = fault.name();
        let again = again(name, rounds, seed);
        tally.count(&format!("{name} round {round}"), &result, &again);
        if result.is_err() {
            break;
        }
    }
    Ok(tally)
}

async fn one(
    bed: &Bed,
    before: &AtRest,
    fault: &Fault,
    round: u64,
    random: &mut Random,
) -> anyhow::Result<Rest> {
    // The pod that starts while the API server is away has the last two.
    let away = matches!(fault, Fault::ApiAway(_));
    let cards = if away {
        LATE.0.0.saturating_sub(1)
    } else {
        CARDS
    };
    let lives: Vec<_> = (1..=cards)
        .step_by(2)
        .map(|number| {
            let mut plan = Plan::draw(
                random,
                vec![Card(number), Card(number.saturating_add(1))],
                2,
            );
            if *fault == Fault::RuntimeRestart {
                // containerd tells nobody of the end of pods that it had before it was restarted.
                plan.end = End::InOrder;
            }
            Life::new(bed, &format!("round-{round}-{number}"), plan)
        })
        .collect();
    for life in &lives {
        life.start().await?;
    }
    let (over, pings) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pinging = async {
        while !over.load(Ordering::Acquire) {
            for life in &lives {
                life.has_its_devices()?;
                life.pings().await.context("a packet was lost")?;
                pings.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(PING).await;
        }
        Ok(())
    };
    let harm = async {
        let done = harm(bed, fault, &lives, round).await;
        over.store(true, Ordering::Release);
        done
    };
    tokio::try_join!(harm, pinging)?;
    ensure!(pings.load(Ordering::Relaxed) > 0, "nothing was pinged");
    if *fault == Fault::DatabaseLost {
        // Until the hook has given the records back, discovery is told that no device is in use.
        let same = || before.holds_meanwhile(&bed.cluster).is_ok();
        until_true("the devices to be published again", PATIENCE, same).await?;
    }
    before.holds_meanwhile(&bed.cluster)?;
    for life in &lives {
        life.end().await?;
    }
    before.holds(&bed.cluster).await
}

async fn harm(bed: &Bed, fault: &Fault, lives: &[Life<'_>], round: u64) -> anyhow::Result<()> {
    let cluster = &bed.cluster;
    let recorded = records(cluster)?;
    match fault {
        Fault::DatabaseLost => {
            cluster.kill_daemon(Component::DraPlugin)?;
            cluster.lose_database()?;
            cluster.start_daemon(Component::DraPlugin)?;
            cluster.ready().await?;
            let rebuilt = || records(cluster).is_ok_and(|found| found == recorded);
            until_true("the records to be rebuilt", PATIENCE, rebuilt).await?;
        }
        Fault::KubeletRestart => {
            cluster.api.wipe_slices();
            let kubelet = Kubelet::start(cluster.kubelet.root(), DraVersion::CURRENT)?;
            kubelet.registered(DRIVER, PATIENCE).await?;
            for life in lives {
                let names = life.names();
                let [first, again] = [
                    kubelet.prepare(DRIVER, &names).await?,
                    kubelet.prepare(DRIVER, &names).await?,
                ];
                ensure!(first == again, "two answers: {first:?} and {again:?}");
                let devices: BTreeMap<_, _> = first
                    .into_iter()
                    .map(|(uid, devices)| {
                        let devices = devices.map_err(|text| anyhow::anyhow!(text))?;
                        Ok((uid, devices.into_iter().map(|d| d.device).collect()))
                    })
                    .collect::<anyhow::Result<_>>()?;
                for (uid, devices) in devices {
                    ensure!(
                        recorded.get(&uid) == Some(&devices),
                        "another answer for {uid}: {devices:?}"
                    );
                }
            }
            let published = || cluster.api.devices().len() == usize::from(CARDS);
            until_true("the slices to be back", PATIENCE, published).await?;
        }
        Fault::RuntimeRestart => {
            let registrations = cluster.runtime.registrations();
            cluster.runtime.restart().await?;
            bed.all_ready(Component::NriHook, registrations).await?;
        }
        Fault::ApiAway(time) => return api_away(bed, *time, round).await,
        Fault::Replaced(earlier) => {
            let present = replace(bed, earlier.clone()).await?;
            ensure!(
                records(cluster)? == recorded,
                "the earlier release has other records"
            );
            replace(bed, present).await?;
        }
    }
    ensure!(records(cluster)? == recorded, "the records are others");
    Ok(())
}

/// Ends the daemons, all of them before one is started anew; returns those that ran.
async fn replace(bed: &Bed, binaries: Binaries) -> anyhow::Result<Binaries> {
    let cluster = &bed.cluster;
    let registrations = cluster.runtime.registrations();
    for component in ALL {
        cluster.stop_daemon(component)?;
    }
    let before = cluster.use_binaries(binaries);
    for component in ALL {
        bed.start(component, "").await?;
    }
    bed.all_ready(Component::NriHook, registrations).await?;
    Ok(before)
}

/// The API server goes away after the Prepare of a pod, and comes back some time after its start.
async fn api_away(bed: &Bed, time: Duration, round: u64) -> anyhow::Result<()> {
    let api = &bed.cluster.api;
    let plan = Plan {
        cards: vec![LATE.0, LATE.1],
        claim_each: false,
        end: End::InOrder,
    };
    let late = Life::new(bed, &format!("late-{round}"), plan);
    late.prepare().await?;
    // What the starts before it have to say is said.
    tokio::time::sleep(slowed(SETTLE)).await;
    let before = [SLICES, STATUS].map(|resource| api.writes(resource));
    api.set_down(true);
    late.run().await?;
    late.create_container().await?;
    tokio::time::sleep(time).await;
    late.pings().await?;
    api.set_down(false);
    bed.cluster.ready().await?;
    let [slices, statuses] = before;
    let told = || api.writes(STATUS) > statuses;
    until_true("the late claim's status", PATIENCE, told).await?;
    tokio::time::sleep(slowed(SETTLE)).await;
    let slices = api.writes(SLICES).saturating_sub(slices);
    let statuses = api.writes(STATUS).saturating_sub(statuses);
    ensure!(
        slices <= api.slices().len() && statuses == 1,
        "{slices} writes of slices and {statuses} of one claim's status when the API server was back"
    );
    late.end().await
}
