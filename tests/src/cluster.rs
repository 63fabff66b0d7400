//! A cluster of one node: the three real daemons in the node's home, everything around them simulated.
//!
//! It decides where things are and in which order they start; what a test or the demo does with them is a story of
//! claims and pods: [`Cluster::claim`], [`Cluster::pod`].

mod claim;
mod daemons;
mod pod;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use network_driver_common::bus::Component;
use network_driver_netlink::testing::State;

pub use claim::{Claim, ClaimBuilder};
pub use pod::{PodHandle, StartError};
pub use setup::Setup;
use setup::Tracing;

use crate::api_server::ApiServer;
use crate::collector::Collector;
use crate::daemon::{ALL, Binaries, Daemon};
use crate::kubelet::{ClaimName, Kubelet};
use crate::node::{NODE_ADDRESS, Node, UPLINK};
use crate::runtime::Runtime;
use crate::wait::{slowed, until, until_true};

/// Name of the driver.
pub const DRIVER: &str = "network.example.com";
/// Name of the node, and of its pool.
pub const NODE: &str = "node-1";
/// File name of the start hook on a node.
const START_HOOK: &str = "network-driver-start-hook-1";
/// How long anything may take that takes well under a second on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster. Dropping it kills the daemons and takes everything away.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: the daemons before what they talk to.
    daemons: Mutex<Vec<Daemon>>,
    /// The API server.
    pub api: ApiServer,
    /// The kubelet.
    pub kubelet: Kubelet,
    /// The container runtime.
    pub runtime: Runtime,
    /// The trace collector.
    pub collector: Collector,
    /// The node's namespaces.
    pub node: Node,
    books: Mutex<Books>,
    binaries: Mutex<Binaries>,
    /// Where the daemons send their traces.
    traces_to: Option<String>,
    export_delay: Duration,
    publish_interval: Duration,
    cdi_confirmed: bool,
    start_hook: bool,
    log_level: &'static str,
    dir: tempfile::TempDir,
}

/// What the kubelet keeps in its memory of prepared claims, by UID.
#[derive(Debug, Default)]
struct Books {
    prepared: BTreeMap<String, Holding>,
    pods: usize,
}

/// A prepared claim.
#[derive(Debug, Default, Clone)]
struct Holding {
    cdi_ids: Vec<String>,
    /// UIDs of the pods that use it.
    pods: BTreeSet<String>,
}

impl Cluster {
    /// Makes the node and what surrounds it, starts the daemons and waits until all are ready and the cards of the
    /// set-up are published.
    ///
    /// # Errors
    /// Something of it could not be made, or did not become ready.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let cluster = Self::prepare(&setup)?;
        for component in ALL {
            cluster.start_daemon(component)?;
        }
        cluster.ready().await?;
        if !setup.on_this_machine {
            cluster.published(&setup.device_names()).await?;
        }
        let settled = || cluster.node.is_settled().unwrap_or(false);
        until_true("home to settle", PATIENCE, settled).await?;
        Ok(cluster)
    }

    /// The same without daemons.
    ///
    /// # Errors
    /// Something of it could not be made.
    pub fn prepare(setup: &Setup) -> anyhow::Result<Self> {
        let binaries = Binaries::find(setup.bin_dir.as_deref())?;
        let dir = tempfile::Builder::new().prefix("nd").tempdir()?;
        let mut node = if setup.on_this_machine {
            Node::on_this_machine()?
        } else {
            Node::new()?
        };
        for name in &setup.nics {
            node.add_nic(name.clone())
                .with_context(|| format!("add network card {name}"))?;
        }
        if let Some((prefix, count)) = &setup.links {
            node.add_links(prefix, *count)?;
        }
        let api = ApiServer::serve(node.listen_outside()?, &setup.served)?;
        let collector = Collector::serve(node.listen_outside()?)?;
        let traces_to = match setup.tracing {
            Tracing::Off => None,
            Tracing::On => Some(collector.endpoint().to_owned()),
            // Bound by nobody.
            Tracing::ToNobody => Some("http://127.0.0.1:4317".to_owned()),
        };
        let mut style = setup.style.clone();
        style.request_timeout = slowed(style.request_timeout);
        api.put_node(NODE, NODE_ADDRESS);
        for sub in ["bus", "state", "hook", "sys", "log", "netns"] {
            std::fs::create_dir(dir.path().join(sub))?;
        }
        if setup.start_hook {
            // As preflight leaves it on a node.
            let place = dir.path().join("bin");
            std::fs::create_dir(&place)?;
            let program = binaries.start_hook();
            std::fs::copy(&program, place.join(START_HOOK))
                .with_context(|| format!("copy {}", program.display()))?;
        }
        std::fs::write(dir.path().join("kubeconfig"), api.kubeconfig())?;
        Ok(Self {
            daemons: Mutex::default(),
            kubelet: Kubelet::start(&dir.path().join("kubelet"), setup.knows)?,
            runtime: Runtime::start(style, &dir.path().join("run"))?,
            api,
            collector,
            traces_to,
            node,
            books: Mutex::default(),
            binaries: Mutex::new(binaries),
            export_delay: setup.export_delay,
            publish_interval: setup.publish_interval,
            cdi_confirmed: setup.cdi_confirmed,
            start_hook: setup.start_hook,
            log_level: setup.log_level,
            dir,
        })
    }

    fn daemons(&self) -> MutexGuard<'_, Vec<Daemon>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary of a daemon.
    pub(crate) fn binary(&self, component: Component) -> PathBuf {
        self.binaries().path(component)
    }

    fn binaries(&self) -> MutexGuard<'_, Binaries> {
        self.binaries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has daemons that are started from now on be of these binaries; returns the ones before.
    pub fn use_binaries(&self, binaries: Binaries) -> Binaries {
        std::mem::replace(&mut *self.binaries(), binaries)
    }

    /// Directory of the bus.
    pub fn bus_dir(&self) -> PathBuf {
        self.at("bus")
    }

    /// Waits until exactly these devices are published.
    ///
    /// # Errors
    /// They were not in time.
    pub async fn published(&self, devices: &BTreeSet<String>) -> anyhow::Result<()> {
        let names = || self.api.devices().into_keys().collect::<BTreeSet<_>>();
        let waited = until("the devices to be published", PATIENCE, async || {
            (names() == *devices).then_some(())
        });
        waited.await.with_context(|| {
            let links = self.ask(Component::Discovery, &["links"]);
            let published = names();
            let missing: Vec<_> = devices.difference(&published).take(5).collect();
            let foreign: Vec<_> = published.difference(devices).take(5).collect();
            format!("missing {missing:?}, not wanted {foreign:?}\n{links:?}")
        })
    }

    /// What home looks like.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn home(&self) -> anyhow::Result<State> {
        self.node.state()
    }

    /// Waits until home looks like this.
    ///
    /// # Errors
    /// The difference that is left.
    pub async fn home_is(&self, wanted: &State) -> anyhow::Result<()> {
        let (home, wanted) = (self.node.home().clone(), wanted.clone());
        let compare = move || home.wait_for_state(&wanted, slowed(PATIENCE));
        let compared = tokio::task::spawn_blocking(compare).await?;
        compared.with_context(|| format!("hook's log:\n{}", self.tail(Component::NriHook)))
    }

    /// The output of a sub-command of a daemon's binary, run as an operator would.
    ///
    /// # Errors
    /// It failed; the error shows what it said.
    pub fn ask(&self, component: Component, arguments: &[&str]) -> anyhow::Result<String> {
        let binary = self.binary(component);
        let output = Command::new(&binary)
            .args(arguments)
            .arg("--bus-dir")
            .arg(self.bus_dir())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{} {arguments:?}: {said}",
            binary.display()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A new claim of the namespace `default`, to be completed and created.
    pub fn claim(&self, name: &str) -> ClaimBuilder<'_> {
        ClaimBuilder::new(self, name)
    }

    /// A new pod of the namespace `default` that uses these claims, not started yet.
    pub fn pod(&self, name: &str, claims: &[&Claim]) -> PodHandle<'_> {
        PodHandle::new(self, name, claims)
    }

    /// The directory where sandboxes have their network namespaces.
    pub(crate) fn netns_dir(&self) -> PathBuf {
        self.at("netns")
    }

    /// CDI files that are there.
    pub fn cdi_files(&self) -> Vec<String> {
        list(self.runtime.cdi_dir())
    }

    /// Where dra-plugin keeps its records.
    pub(crate) fn database(&self) -> PathBuf {
        self.at("state").join("claims.sled")
    }

    /// Deletes dra-plugin's database, which must not run.
    pub(crate) fn lose_database(&self) -> anyhow::Result<()> {
        let state = self.at("state");
        std::fs::remove_dir_all(&state)?;
        Ok(std::fs::create_dir(state)?)
    }

    /// Claims whose links the hook has noted as away, by the files that it keeps.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        list(&self.at("hook"))
    }

    /// Asks the driver to prepare claims, as the kubelet would for a pod; the answer by UID.
    ///
    /// # Errors
    /// The call failed as a whole.
    pub async fn prepare_claims(
        &self,
        claims: &[&Claim],
    ) -> anyhow::Result<crate::kubelet::Prepared> {
        let names: Vec<ClaimName> = claims.iter().map(|claim| claim.kubelet_name()).collect();
        self.kubelet.prepare(DRIVER, &names).await
    }

    /// Asks the driver to unprepare a claim, whatever the kubelet knows of it.
    ///
    /// # Errors
    /// The call failed, or the driver's text for this claim.
    pub async fn unprepare_claim(&self, claim: &Claim) -> anyhow::Result<()> {
        let mut answer = self
            .kubelet
            .unprepare(DRIVER, &[claim.kubelet_name()])
            .await?;
        let entry = answer.remove(&claim.uid).unwrap_or(Ok(()));
        entry.map_err(|text| anyhow::anyhow!(text))
    }

    /// Names of links that are not the uplink or the loopback, with their alias: where a card is can be seen by it.
    ///
    /// # Errors
    /// Home cannot be read.
    pub fn links_at_home(&self) -> anyhow::Result<Vec<String>> {
        let names = self.node.home().link_names()?;
        let names = names.into_iter().map(|name| name.to_string());
        Ok(names.filter(|name| name != UPLINK).collect())
    }
}

fn list(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
