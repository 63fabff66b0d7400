//! A node on which links change without pause, thousands of times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use network_driver_common::bus::Component;
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkChange, Socket};
use serde_json::json;

use super::idle::used;
use super::process::memory;
use super::report::{Budget, Report, Row, Unit};
use super::sample::Samples;
use super::{LINKS, Options, progress, setup};
use crate::cluster::{Cluster, PATIENCE};
use crate::wait::until_true;

/// How long it lasts.
const LASTS: Duration = Duration::from_mins(1);
/// Changes a second; each is one event for whoever listens.
const RATE: u32 = 5000;
/// Changes at a stroke, so that a stroke is long enough to be kept time with.
const STROKE: usize = 10;
/// Least time between two writes of a slice; of changes without an end every third is used.
const INTERVAL: Duration = Duration::from_millis(1500);
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(200);

/// MTUs that the links change between, and the one that they have in the end.
const MTUS: [u32; 2] = [1400, 1500];
const LAST_MTU: u32 = 1300;

pub(super) async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    progress(&format!("{} s of a storm", LASTS.as_secs()));
    let prefix = "port";
    let setup = setup(options)
        .links(prefix, LINKS)
        .publish_interval(INTERVAL);
    let cluster = Cluster::start(setup).await?;
    let discovery = cluster.pid(Component::Discovery)?;
    let written = || cluster.api.writes("resourceslices");
    let (work, before) = (used(&cluster)?, written());

    let storm = Storm::begin(cluster.node.home(), prefix)?;
    let mut most: f64 = 0.0;
    while storm.begun.elapsed() < LASTS {
        tokio::time::sleep(LOOK).await;
        most = most.max(memory(discovery, "VmRSS")?);
    }
    let lasted = storm.begun.elapsed();
    let writes = written().saturating_sub(before);
    let changes = storm.end()?;

    let calm = Instant::now();
    let last = json!({"int": LAST_MTU});
    let is_right = || {
        let published = cluster.api.devices();
        let mut mtus = published
            .values()
            .map(|device| device.attributes.get("mtu"));
        published.len() == LINKS && mtus.all(|mtu| mtu == Some(&last))
    };
    until_true("the slices to be right", PATIENCE, is_right).await?;
    let mut right = Samples::default();
    right.add(calm.elapsed());

    let done = used(&cluster)?.into_iter().zip(work);
    let done: Duration = done.map(|(now, then)| now.since(&then)).sum();
    let a_second = f64::from(changes) / lasted.as_secs_f64();
    let share = 100.0 * done.as_secs_f64() / lasted.as_secs_f64();
    let per_interval = f64::from(u32::try_from(writes)?) / (lasted.as_secs_f64() / 2.0);
    let row = |what: &str, unit, samples| Row::new(format!("storm: {what}"), unit, samples);
    report.add(row("changes a second", Unit::Count, Samples::one(a_second)));
    let cpu = row("CPU, all three", Unit::Percent, Samples::one(share));
    report.add(cpu.budget(Budget::Value(50.0)));
    let memory = row(
        "memory of discovery, at most",
        Unit::MiB,
        Samples::one(most),
    );
    report.add(memory.budget(Budget::Value(64.0)));
    let writes = row(
        "slice writes in 2 s",
        Unit::Count,
        Samples::one(per_interval),
    );
    report.add(writes.budget(Budget::Value(1.0)));
    let right = row("its end to right slices", Unit::Millis, right);
    report.add(right.budget(Budget::Value(5000.0)));
    Ok(())
}

/// A thread that changes the MTU of one link after the other.
struct Storm {
    begun: Instant,
    over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u32>>,
}

impl Storm {
    fn begin(home: &Namespace, prefix: &str) -> anyhow::Result<Self> {
        let links = (0..LINKS).map(|number| Ok(home.link(&format!("{prefix}{number}"))?.index));
        let links: Vec<u32> = links.collect::<anyhow::Result<_>>()?;
        let (socket, over) = (home.socket()?, Arc::new(AtomicBool::new(false)));
        let begun = Instant::now();
        let thread = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || blow(socket, &links, begun, &over))
        };
        Ok(Self {
            begun,
            over,
            thread,
        })
    }

    /// Lets the links come to rest; how often they were changed before.
    fn end(self) -> anyhow::Result<u32> {
        self.over.store(true, Ordering::Release);
        let ended = self.thread.join().ok();
        ended.context("the storm panicked")?
    }
}

/// Keeps to the rate as far as the kernel can.
fn blow(
    mut socket: Socket,
    links: &[u32],
    begun: Instant,
    over: &AtomicBool,
) -> anyhow::Result<u32> {
    let mut changes: u32 = 0;
    let of_all = |mtu| links.iter().map(move |link| (*link, mtu));
    let mut next = MTUS.into_iter().flat_map(of_all).cycle();
    while !over.load(Ordering::Acquire) {
        for (link, mtu) in next.by_ref().take(STROKE) {
            change(&mut socket, link, mtu)?;
            changes = changes.saturating_add(1);
        }
        let due = Duration::from_secs_f64(f64::from(changes) / f64::from(RATE));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    for link in links {
        change(&mut socket, *link, LAST_MTU)?;
    }
    Ok(changes)
}

fn change(socket: &mut Socket, link: u32, mtu: u32) -> anyhow::Result<()> {
    let change = LinkChange {
        mtu: Some(mtu),
        ..LinkChange::default()
    };
    Ok(socket.change_link(link, &change)?)
}
