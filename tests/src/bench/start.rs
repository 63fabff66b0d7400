//! From the start of the three daemons until the node's devices are published and the kubelet knows the driver.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use network_driver_common::bus::Component;

use super::report::{Budget, Report, Row, Unit};
use super::sample::{Samples, timed};
use super::{Options, progress};
use crate::cluster::{Cluster, DRIVER, PATIENCE};
use crate::daemon::ALL;

pub(super) async fn run(
    options: &Options,
    cluster: &Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("start");
    let devices: BTreeSet<String> = cluster.api.devices().into_keys().collect();
    let (mut published, mut registered) = (Samples::default(), Samples::default());
    let mut exec = Samples::default();
    let mut writes = Vec::new();
    for round in 0..options.share(6) {
        let keeps_slices = round % 2 == 1;
        for component in ALL {
            cluster.kill_daemon(component)?;
        }
        if !keeps_slices {
            cluster.api.wipe_slices();
        }
        let before = (registrations(cluster), cluster.api.writes("resourceslices"));
        let begun = Instant::now();
        for component in ALL {
            cluster.start_daemon(component)?;
        }
        if !keeps_slices {
            published.add(wait(begun, || !cluster.api.slices().is_empty()).await?);
        }
        registered.add(wait(begun, || registrations(cluster) > before.0).await?);
        cluster.ready().await?;
        cluster.published(&devices).await?;
        if keeps_slices {
            // Time enough for the write that must not come: daemons without a reason to wait write at once.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let written = cluster
                .api
                .writes("resourceslices")
                .saturating_sub(before.1);
            writes.push(f64::from(u32::try_from(written)?));
        }
        exec.add(timed(|| version(cluster))?);
    }
    let row = Row::new("start to first slice, 100 links", Unit::Millis, published);
    let row = row.against("exec of one daemon", &exec);
    report.add(row.budget(Budget::Value(300.0)));
    let row = Row::new("start to registration", Unit::Millis, registered);
    report.add(row.against("exec of one daemon", &exec));
    let row = Row::new(
        "slice writes at an unchanged restart",
        Unit::Count,
        Samples::from(writes),
    );
    report.add(row.budget(Budget::Value(0.0)));
    Ok(())
}

fn registrations(cluster: &Cluster) -> usize {
    let plugin = cluster.kubelet.plugin(DRIVER);
    plugin.map_or(0, |plugin| plugin.registrations)
}

/// Looks every millisecond.
async fn wait(begun: Instant, mut done: impl FnMut() -> bool) -> anyhow::Result<Duration> {
    while !done() {
        ensure!(begun.elapsed() < PATIENCE, "the daemons do not start");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(begun.elapsed())
}

/// Runs discovery just to have it print its version.
fn version(cluster: &Cluster) -> anyhow::Result<()> {
    let mut command = Command::new(cluster.binary(Component::Discovery));
    let status = command.arg("--version").stdout(Stdio::null()).status()?;
    ensure!(status.success(), "discovery --version: {status}");
    Ok(())
}
