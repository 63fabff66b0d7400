//! What a pod without a claim pays for the hook's being there.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lease::Lasting;
use super::report::{Budget, Report, Row, Unit};
use super::sample::{Samples, timed};
use super::{Options, progress};
use crate::cluster::Cluster;
use crate::runtime::{Pod, SandboxNetwork};

/// About the size of the event of a small pod.
const EVENT: usize = 256;
/// Cheap enough to be measured more often than attaches.
const TIMES: u32 = 10;

pub(super) async fn run(
    options: &Options,
    cluster: &Cluster,
    report: &mut Report,
) -> anyhow::Result<()> {
    progress("a pod without a claim");
    let network = Arc::new(cluster.node.add_pod(cluster.netns_dir().join("plain"))?);
    let mut echo = Echo::new()?;
    let (mut through, mut bare) = (Samples::default(), Samples::default());
    for round in 0..options.rounds.saturating_mul(TIMES) {
        let pod = Pod {
            namespace: "default".into(),
            name: "plain".into(),
            uid: format!("00000000-0000-4000-a000-{round:012x}"),
        };
        let network: Arc<dyn SandboxNetwork> = Arc::new(Lasting(network.path()));
        let begun = Instant::now();
        let run = cluster.runtime.run_pod(&pod, Some(network)).await;
        through.add(begun.elapsed());
        let sandbox = run.map_err(anyhow::Error::msg)?;
        cluster.runtime.stop_pod(&sandbox).await?;
        cluster.runtime.remove_pod(&sandbox).await?;
        bare.add(timed(|| echo.trip())?);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let row = Row::new("RunPodSandbox, no claim", Unit::Millis, through);
    let row = row.against("socket round trip", &bare);
    report.add(row.budget(Budget::Value(0.15)));
    Ok(())
}

/// A thread at the other end of a Unix socket that sends back what it gets: a plugin that does nothing.
struct Echo {
    stream: UnixStream,
}

impl Echo {
    fn new() -> anyhow::Result<Self> {
        let (stream, mut other) = UnixStream::pair()?;
        std::thread::spawn(move || {
            let mut buffer = [0; EVENT];
            while other.read_exact(&mut buffer).is_ok() && other.write_all(&buffer).is_ok() {}
        });
        Ok(Self { stream })
    }

    fn trip(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; EVENT];
        self.stream.write_all(&buffer)?;
        Ok(self.stream.read_exact(&mut buffer)?)
    }
}
