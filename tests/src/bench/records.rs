//! dra-plugin with ten thousand records: far more than a node has pods.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use network_driver_common::bus::Component;
use network_driver_proto::bus::Record;
use network_driver_proto::bus::link_identity::Identity;
use prost::Message as _;

use super::prepare::timed_prepare;
use super::process::memory;
use super::report::{Budget, Report, Row, Unit};
use super::sample::Samples;
use super::{Options, breathe, progress, setup};
use crate::cluster::Cluster;
use crate::daemon::ALL;

/// How many.
const RECORDS: usize = 10_000;
/// Time for the other two to take them in before anything is measured.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    progress(&format!("{RECORDS} records"));
    let cluster = Cluster::start(setup(options).nics(&["eth1", "eth2"])).await?;
    let copied = cluster.claim("copied").device("eth1").create();
    cluster.pod("copied", &[&copied]).prepare().await?;
    let claim = cluster.claim("prepared").device("eth2");
    let claim = claim.interface("net1", "10.1.2.2/24").create();
    let pod = cluster.pod("prepared", &[&claim]);
    pod.prepare().await?;
    cluster.unprepare_claim(&claim).await?;

    let (mut start, mut few) = (Samples::default(), Samples::default());
    few.add(timed_start(&cluster).await?);
    cluster.stop_daemon(Component::DraPlugin)?;
    multiply(&cluster)?;
    cluster.start_daemon(Component::DraPlugin)?;
    cluster.ready().await?;
    for _ in 0..options.share(20) {
        start.add(timed_start(&cluster).await?);
    }
    tokio::time::sleep(SETTLE).await;
    let mut prepare = Samples::default();
    for round in 0..options.rounds {
        prepare.add(timed_prepare(&cluster, &claim).await?);
        breathe(round).await;
    }

    let row =
        |what: &str, unit, samples| Row::new(format!("{RECORDS} records: {what}"), unit, samples);
    let start = row("start of dra-plugin to ready", Unit::Millis, start);
    report.add(
        start
            .against("with one record", &few)
            .budget(Budget::Value(1000.0)),
    );
    let prepare = row("prepare, 1 card", Unit::Millis, prepare);
    report.add(prepare.budget(Budget::P99(20.0)));
    for component in ALL {
        let used = Samples::one(memory(cluster.pid(component)?, "VmRSS")?);
        let memory = row(
            &format!("memory of {}", component.as_str()),
            Unit::MiB,
            used,
        );
        // Discovery keeps no records: it publishes so many devices, in eighty slices.
        let keeps_records = component != Component::Discovery;
        report.add(if keeps_records {
            memory.budget(Budget::Value(100.0))
        } else {
            memory
        });
    }
    Ok(())
}

/// Stops dra-plugin and starts it; from then until it is ready.
async fn timed_start(cluster: &Cluster) -> anyhow::Result<Duration> {
    cluster.stop_daemon(Component::DraPlugin)?;
    let begun = Instant::now();
    cluster.start_daemon(Component::DraPlugin)?;
    cluster.daemon_ready(Component::DraPlugin).await?;
    Ok(begun.elapsed())
}

/// Writes the one record of a dra-plugin that is stopped again and again, for other claims, pods and devices.
fn multiply(cluster: &Cluster) -> anyhow::Result<()> {
    let database = sled::open(cluster.database())?;
    let claims = database.open_tree("claims")?;
    ensure!(claims.len() == 1, "{} records", claims.len());
    let (_, kept) = claims.first()?.context("a record")?;
    let (_, message) = kept.split_at_checked(4).context("a checksum")?;
    let first = Record::decode(message)?;
    for number in 1..RECORDS {
        let mut record = first.clone();
        record.claim_uid = format!("00000000-0000-4000-b000-{number:012x}");
        record.claim_name = format!("copy-{number}");
        record.pod_uids = vec![format!("00000000-0000-4000-c000-{number:012x}")];
        for attachment in &mut record.attachments {
            let device = attachment.device.as_mut().context("a device")?;
            device.name = format!("copy-{number}");
            device.interface_name = format!("copy{number}").into_bytes();
            let identity = device.identity.as_mut();
            if let Some(Identity::Other(other)) = identity.and_then(|of| of.identity.as_mut()) {
                other.home_name = format!("copy{number}").into_bytes();
            }
        }
        let message = record.encode_to_vec();
        let mut bytes = crc32fast::hash(&message).to_le_bytes().to_vec();
        bytes.extend_from_slice(&message);
        claims.insert(record.claim_uid.as_bytes(), bytes)?;
    }
    database.flush()?;
    Ok(())
}
