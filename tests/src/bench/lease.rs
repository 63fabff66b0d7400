//! The driver's own attach and detach, through the fake runtime and the real hook.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::floor::card_name;
use crate::cluster::{Cluster, PodHandle};
use crate::node::PodNetns;
use crate::runtime::{Pod, SandboxNetwork};

/// A pod whose one claim holds some cards and stays prepared, and which gets sandbox after sandbox.
///
/// All of them have the same network namespace: the end of one would keep the kernel busy with what is not measured.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    cluster: &'a Cluster,
    handle: PodHandle<'a>,
    pod: Pod,
    network: Arc<PodNetns>,
    sandbox: Option<String>,
}

/// The network of a sandbox that outlives it.
#[derive(Debug)]
pub(super) struct Lasting(pub(super) PathBuf);

impl SandboxNetwork for Lasting {
    fn path(&self) -> PathBuf {
        self.0.clone()
    }

    fn remove(&self) {}
}

impl<'a> Lease<'a> {
    /// Prepares a claim for these many cards from the first, each with an address and a route.
    pub(super) async fn new(
        cluster: &'a Cluster,
        name: &str,
        first: usize,
        cards: usize,
    ) -> anyhow::Result<Self> {
        let mut claim = cluster.claim(name);
        for number in first..first.saturating_add(cards) {
            let card = card_name(number)?.to_string();
            claim = claim.device(&card).config(&json!({
                "interface": {"name": format!("net{number}"), "addresses": [format!("10.77.{number}.2/24")]},
                "routes": [{"destination": format!("10.88.{number}.0/24"), "gateway": format!("10.77.{number}.1")}],
            }));
        }
        let handle = cluster.pod(name, &[&claim.create()]);
        handle.prepare().await?;
        let pod = Pod {
            namespace: "default".into(),
            name: name.into(),
            uid: handle.uid().into(),
        };
        let network = cluster.node.add_pod(cluster.netns_dir().join(name))?;
        Ok(Self {
            cluster,
            handle,
            pod,
            network: Arc::new(network),
            sandbox: None,
        })
    }

    /// RunPodSandbox, from the event to the answer.
    ///
    /// # Errors
    /// The text with which the hook refused.
    pub(super) async fn attach(&mut self) -> Result<Duration, String> {
        let network = Arc::new(Lasting(self.network.path()));
        let begun = Instant::now();
        let run = self.cluster.runtime.run_pod(&self.pod, Some(network)).await;
        let took = begun.elapsed();
        self.sandbox = Some(run?);
        Ok(took)
    }

    /// StopPodSandbox, from the event to the answer.
    pub(super) async fn detach(&mut self) -> anyhow::Result<Duration> {
        let sandbox = self.sandbox.take().context("nothing is attached")?;
        let begun = Instant::now();
        self.cluster.runtime.stop_pod(&sandbox).await?;
        let took = begun.elapsed();
        self.cluster.runtime.remove_pod(&sandbox).await?;
        Ok(took)
    }

    /// Fails unless so many cards are in the pod, besides its `eth0`.
    pub(super) fn holds(&self, cards: usize) -> anyhow::Result<()> {
        let namespace = self.network.namespace().context("the pod's namespace")?;
        let links = namespace.link_names()?.len();
        ensure!(
            links == cards.saturating_add(1),
            "{links} links are in the pod"
        );
        Ok(())
    }

    /// Gives the claim back.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.handle.unprepare().await
    }
}
