//! What the daemons use and write while nothing happens, and what one pod makes them write.

use std::time::Duration;

use network_driver_common::bus::Component;

use super::process::{Work, memory};
use super::report::{Budget, Report, Row, Unit};
use super::sample::Samples;
use super::{LINKS, progress};
use crate::cluster::Cluster;
use crate::daemon::ALL;

/// How long is looked at a quiet node.
const LOOK: Duration = Duration::from_secs(10);
/// How long nothing must have been written until nothing more is expected.
const QUIET: Duration = Duration::from_millis(700);
/// Pods whose writes are counted.
const PODS: u32 = 5;

/// Resources that the daemons write.
const SLICES: &str = "resourceslices";
const STATUS: &str = "resourceclaims/status";
const EVENTS: &str = "events";

pub(super) async fn run(cluster: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    settled(cluster).await;
    progress(&format!("{} s of idleness", LOOK.as_secs()));
    let before = used(cluster)?;
    let written = writes(cluster);
    tokio::time::sleep(LOOK).await;
    let after = used(cluster)?;
    let done = after.iter().zip(&before).map(|(now, then)| now.since(then));
    let share = done.sum::<Duration>().as_secs_f64() / LOOK.as_secs_f64();
    let what = format!("idle CPU, all three, {LINKS} links");
    let row = Row::new(what, Unit::Percent, Samples::one(share * 100.0));
    report.add(row.budget(Budget::Value(0.1)));
    for component in ALL {
        let (name, pid) = (component.as_str(), cluster.pid(component)?);
        let rss = Samples::one(memory(pid, "VmRSS")?);
        let most = match component {
            Component::NriHook => 6.0,
            Component::Discovery | Component::DraPlugin => 10.0,
        };
        let row = Row::new(format!("memory of {name}"), Unit::MiB, rss);
        report.add(row.budget(Budget::Value(most)));
        let own = Samples::one(memory(pid, "RssAnon")?);
        let what = format!("memory of {name}, less files");
        report.add(Row::new(what, Unit::MiB, own));
    }
    let what = "API writes while idle";
    let idle = writes(cluster).since(&written).total();
    let row = Row::new(what, Unit::Count, count(idle));
    report.add(row.budget(Budget::Value(0.0)));
    pods(cluster, report).await
}

/// Pods start and end, one after another.
async fn pods(cluster: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    progress("the writes of a pod");
    let mut per_pod = [const { Vec::new() }; 3];
    for number in 0..PODS {
        let before = writes(cluster);
        let claim = cluster.claim(&format!("written-{number}")).device("eth1");
        let claim = claim.interface("net1", "10.1.1.2/24").create();
        let pod = cluster.pod(&format!("written-{number}"), &[&claim]);
        pod.start().await?;
        settled(cluster).await;
        pod.end().await?;
        settled(cluster).await;
        let Writes(made) = writes(cluster).since(&before);
        for (all, one) in per_pod.iter_mut().zip(made) {
            all.push(f64::from(u32::try_from(one)?));
        }
    }
    let [slices, status, events] = per_pod.map(Samples::from);
    let row = |what: &str, samples| Row::new(format!("{what} per pod"), Unit::Count, samples);
    report.add(row("slice writes", slices).budget(Budget::Value(0.0)));
    report.add(row("claim status writes", status).budget(Budget::Value(1.0)));
    report.add(row("events", events));
    Ok(())
}

/// What each daemon has used so far.
pub(super) fn used(cluster: &Cluster) -> anyhow::Result<Vec<Work>> {
    let of = |component| Work::of(cluster.pid(component)?);
    ALL.into_iter().map(of).collect()
}

fn count(writes: usize) -> Samples {
    Samples::one(u32::try_from(writes).map_or(f64::INFINITY, f64::from))
}

/// Waits until nothing has been written for a while.
async fn settled(cluster: &Cluster) {
    loop {
        let before = writes(cluster);
        tokio::time::sleep(QUIET).await;
        if writes(cluster) == before {
            return;
        }
    }
}

/// Writes so far of slices, claim statuses and events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Writes([usize; 3]);

fn writes(cluster: &Cluster) -> Writes {
    Writes([SLICES, STATUS, EVENTS].map(|resource| cluster.api.writes(resource)))
}

impl Writes {
    fn since(self, before: &Self) -> Self {
        let mut pairs = self.0.into_iter().zip(before.0);
        Self([(); 3].map(|()| {
            pairs
                .next()
                .map_or(0, |(now, then)| now.saturating_sub(then))
        }))
    }

    fn total(self) -> usize {
        self.0.iter().sum()
    }
}
