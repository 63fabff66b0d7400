//! NodePrepareResources beside the least that a durable answer costs: one synced write and one trip over the bus.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use network_driver_common::bus::{self, Component};
use network_driver_proto::bus::ReadinessRequest;
use network_driver_proto::bus::admin_client::AdminClient;

use super::movers::Movers;
use super::report::{Budget, Report, Row, Unit};
use super::sample::Samples;
use super::{Options, breathe, progress};
use crate::cluster::{Claim, Cluster};

/// About the size of a record.
const RECORD: [u8; 512] = [7; 512];

pub(super) async fn run(
    options: &Options,
    cluster: &Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("prepare");
    let claim = cluster.claim("prepared").device("eth1");
    let claim = claim.interface("net1", "10.1.1.2/24").create();
    // Reserves the claim for a pod, for as long as all this lasts.
    let pod = cluster.pod("prepared", &[&claim]);
    pod.prepare().await?;
    cluster.unprepare_claim(&claim).await?;

    let channel = bus::channel(&cluster.bus_dir(), Component::DraPlugin);
    let mut peer = AdminClient::new(channel);
    let mut log = File::create(cluster.bus_dir().join("bench.log"))?;
    let (mut prepare, mut least) = (Samples::default(), Samples::default());
    for round in 0..options.rounds {
        prepare.add(timed_prepare(cluster, &claim).await?);
        breathe(round).await;
        let begun = Instant::now();
        log.write_all(&RECORD)?;
        log.sync_all()?;
        peer.readiness(ReadinessRequest {}).await?;
        least.add(begun.elapsed());
        breathe(round).await;
    }
    let row = Row::new("prepare, 1 card", Unit::Millis, prepare.clone());
    let row = row.against("fsync + bus trip", &least);
    report.add(row.budget(Budget::Ratio(3.0)));

    let mover = Movers::new(1)?;
    let mut disturbed = Samples::default();
    for round in 0..options.share(2) {
        mover.go().await;
        disturbed.add(timed_prepare(cluster, &claim).await?);
        mover.rest();
        breathe(round).await;
    }
    let row = Row::new("prepare, 1 card, 1 mover", Unit::Millis, disturbed);
    report.add(row.against("prepare alone", &prepare));
    pod.unprepare().await
}

/// Prepares the claim, and unprepares it afterwards.
pub(super) async fn timed_prepare(
    cluster: &Cluster,
    claim: &Claim,
) -> anyhow::Result<std::time::Duration> {
    let begun = Instant::now();
    let mut answer = cluster.prepare_claims(&[claim]).await?;
    let took = begun.elapsed();
    let entry = answer
        .remove(&claim.uid)
        .context("no answer for the claim")?;
    entry.map_err(anyhow::Error::msg)?;
    cluster.unprepare_claim(claim).await?;
    Ok(took)
}
