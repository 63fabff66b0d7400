//! Pods: the steps of a pod's life in the order in which the kubelet takes them, together or one by one.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use network_driver_netlink::testing::{Namespace, State};
use serde_json::{Value, json};

use super::{Claim, Cluster, DRIVER};
use crate::json::put;
use crate::kubelet::ClaimName;
use crate::node::PodNetns;
use crate::ping::ping;
use crate::runtime::{Container, CreateError, Pod, SandboxNetwork, StartHook, start_hooks_of};
use crate::wait::slowed;

/// The step at which a pod's start failed, with the text that its user sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// NodePrepareResources.
    #[error("FailedPrepareDynamicResources: {0}")]
    Prepare(String),
    /// RunPodSandbox.
    #[error("FailedCreatePodSandBox: {0}")]
    Sandbox(String),
    /// CreateContainer.
    #[error("CreateContainerError: {0}")]
    Container(CreateError),
    /// A hook of the OCI runtime.
    #[error("RunContainerError: {0}")]
    Hook(String),
}

/// A pod.
#[derive(Debug)]
pub struct PodHandle<'a> {
    cluster: &'a Cluster,
    pod: Pod,
    claims: Vec<Claim>,
    sandbox: Mutex<Option<Running>>,
}

#[derive(Debug, Clone)]
struct Running {
    id: String,
    network: Option<Arc<PodNetns>>,
}

impl<'a> PodHandle<'a> {
    pub(super) fn new(cluster: &'a Cluster, name: &str, claims: &[&Claim]) -> Self {
        let mut books = cluster.books();
        books.pods = books.pods.saturating_add(1);
        let uid = format!("00000000-0000-4000-9000-{:012x}", books.pods);
        drop(books);
        Self {
            cluster,
            pod: Pod {
                namespace: "default".into(),
                name: name.into(),
                uid,
            },
            claims: claims.iter().copied().cloned().collect(),
            sandbox: Mutex::default(),
        }
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        &self.pod.uid
    }

    fn names(&self, wanted: impl Fn(&Claim) -> bool) -> Vec<ClaimName> {
        let claims = self.claims.iter().filter(|claim| wanted(claim));
        claims.map(Claim::kubelet_name).collect()
    }

    /// Reserves, prepares, makes the sandbox and a container.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn start(&self) -> Result<Container, StartError> {
        self.prepare().await?;
        self.run().await?;
        self.create_container().await
    }

    /// Reserves its claims and prepares those that are not prepared yet.
    ///
    /// # Errors
    /// The first text of the driver, or the failure of the call.
    pub async fn prepare(&self) -> Result<(), StartError> {
        self.reserve();
        let names = self.names(|claim| !self.cluster.books().prepared.contains_key(&claim.uid));
        if !names.is_empty() {
            let answer = self.cluster.kubelet.prepare(DRIVER, &names).await;
            let answer = answer.map_err(|error| StartError::Prepare(format!("{error:#}")))?;
            for (uid, entry) in answer {
                let devices = entry.map_err(StartError::Prepare)?;
                let mut ids: Vec<String> = devices.into_iter().flat_map(|d| d.cdi_ids).collect();
                ids.dedup();
                let mut books = self.cluster.books();
                books.prepared.entry(uid).or_default().cdi_ids = ids;
            }
        }
        for claim in &self.claims {
            let mut books = self.cluster.books();
            let holding = books.prepared.entry(claim.uid.clone()).or_default();
            holding.pods.insert(self.pod.uid.clone());
        }
        Ok(())
    }

    /// What the scheduler and the claim controller write.
    fn reserve(&self) {
        for claim in &self.claims {
            self.edit_reservation(claim, |list, me| {
                if !list.contains(me) {
                    list.push(me.clone());
                }
            });
        }
    }

    fn unreserve(&self) {
        for claim in &self.claims {
            self.edit_reservation(claim, |list, me| list.retain(|other| other != me));
        }
    }

    fn edit_reservation(&self, claim: &Claim, edit: impl FnOnce(&mut Vec<Value>, &Value)) {
        let me = json!({"resource": "pods", "name": self.pod.name, "uid": self.pod.uid});
        self.cluster
            .api
            .edit_claim("default", &claim.name, |object| {
                let list = object
                    .pointer("/status/reservedFor")
                    .and_then(Value::as_array)
                    .cloned();
                let mut list = list.unwrap_or_default();
                edit(&mut list, &me);
                put(object, &["status", "reservedFor"], Value::Array(list));
            });
    }

    /// Makes a sandbox with a network of its own. A pod whose sandbox has died gets another.
    ///
    /// # Errors
    /// The text with which the hook refused.
    pub async fn run(&self) -> Result<(), StartError> {
        let name = format!("cni-{}-{}", self.pod.name, self.cluster.next_number());
        let network = self
            .cluster
            .node
            .add_pod(self.cluster.netns_dir().join(name));
        let network = network.map_err(|error| StartError::Sandbox(format!("{error:#}")))?;
        self.run_in(Some(Arc::new(network))).await
    }

    /// Makes a sandbox in the node's own network.
    ///
    /// # Errors
    /// The text with which the hook refused.
    pub async fn run_on_host_network(&self) -> Result<(), StartError> {
        self.run_in(None).await
    }

    async fn run_in(&self, network: Option<Arc<PodNetns>>) -> Result<(), StartError> {
        let shown = network
            .clone()
            .map(|network| network as Arc<dyn SandboxNetwork>);
        let id = self.cluster.runtime.run_pod(&self.pod, shown).await;
        let id = id.map_err(StartError::Sandbox)?;
        *self.lock() = Some(Running { id, network });
        Ok(())
    }

    fn cdi_ids(&self) -> Vec<String> {
        let books = self.cluster.books();
        let held = self
            .claims
            .iter()
            .filter_map(|c| books.prepared.get(&c.uid));
        held.flat_map(|holding| holding.cdi_ids.clone()).collect()
    }

    /// Makes a container that names all claims of the pod, and starts it: its edits and the hooks in them are read once,
    /// as runtimes do.
    ///
    /// # Errors
    /// CDI, the hook or a start hook refused; it may be tried again.
    pub async fn start_container(&self) -> Result<Container, StartError> {
        let hooks = start_hooks_of(self.cluster.runtime.cdi_dir(), &self.cdi_ids());
        let container = self.create_container().await?;
        let refused = |error: anyhow::Error| StartError::Hook(format!("{error:#}"));
        let namespace = self.namespace().map_err(refused)?;
        let run = move || hooks.iter().try_for_each(|hook| run_hook(hook, &namespace));
        let run = tokio::task::spawn_blocking(run).await;
        run.map_err(anyhow::Error::from)
            .flatten()
            .map_err(refused)?;
        Ok(container)
    }

    /// Makes a container that names all claims of the pod.
    ///
    /// # Errors
    /// CDI or the hook refused; it may be tried again.
    pub async fn create_container(&self) -> Result<Container, StartError> {
        let ids = self.cdi_ids();
        let sandbox = self.sandbox_id();
        let created = self.cluster.runtime.create_container(&sandbox, &ids).await;
        created.map_err(StartError::Container)
    }

    /// Tries to make a container until it works, as the kubelet does but quicker.
    ///
    /// # Errors
    /// The last failure, after the cluster's patience.
    pub async fn create_container_in_time(&self) -> anyhow::Result<Container> {
        let mut last = None;
        let created = crate::wait::until("a container", super::PATIENCE, async || {
            let created = self.create_container().await;
            created.map_err(|error| last = Some(error)).ok()
        });
        created.await.with_context(|| format!("{last:?}"))
    }

    /// Stops, unprepares what no other pod uses, and removes it.
    ///
    /// # Errors
    /// The step that failed.
    pub async fn end(&self) -> anyhow::Result<()> {
        self.stop().await?;
        self.unprepare().await?;
        self.remove().await
    }

    /// Stops the sandbox.
    ///
    /// # Errors
    /// It does not run.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.cluster.runtime.stop_pod(&self.sandbox_id()).await
    }

    /// Unprepares the claims that no other pod uses; the reservations go afterwards.
    ///
    /// # Errors
    /// The driver's text.
    pub async fn unprepare(&self) -> anyhow::Result<()> {
        let last = |claim: &Claim| {
            let mut books = self.cluster.books();
            books.prepared.get_mut(&claim.uid).is_some_and(|holding| {
                holding.pods.remove(&self.pod.uid);
                holding.pods.is_empty()
            })
        };
        let names = self.names(last);
        if !names.is_empty() {
            let answer = self.cluster.kubelet.unprepare(DRIVER, &names).await?;
            for (uid, entry) in answer {
                entry.map_err(|text| anyhow::anyhow!(text))?;
                self.cluster.books().prepared.remove(&uid);
            }
        }
        self.unreserve();
        Ok(())
    }

    /// Removes the sandbox.
    ///
    /// # Errors
    /// There is none.
    pub async fn remove(&self) -> anyhow::Result<()> {
        self.cluster.runtime.remove_pod(&self.sandbox_id()).await?;
        *self.lock() = None;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.sandbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Id of its sandbox; empty when there is none.
    pub fn sandbox_id(&self) -> String {
        self.lock()
            .as_ref()
            .map(|s| s.id.clone())
            .unwrap_or_default()
    }

    /// The network namespace of its sandbox. Whoever keeps it keeps the namespace alive.
    ///
    /// # Errors
    /// There is none.
    pub fn namespace(&self) -> anyhow::Result<Namespace> {
        let running = self.lock().clone();
        let network = running.and_then(|running| running.network);
        let namespace = network.and_then(|network| network.namespace());
        namespace.with_context(|| format!("pod {} has no network namespace", self.pod.name))
    }

    /// What its network looks like.
    ///
    /// # Errors
    /// There is none.
    pub fn state(&self) -> anyhow::Result<State> {
        Ok(self.namespace()?.state()?)
    }

    /// Names of its links but the loopback.
    ///
    /// # Errors
    /// There is no namespace.
    pub fn links(&self) -> anyhow::Result<Vec<String>> {
        let names = self.namespace()?.link_names()?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    /// Pings from inside.
    ///
    /// # Errors
    /// No reply.
    pub async fn ping(&self, to: Ipv4Addr) -> anyhow::Result<Duration> {
        let namespace = self.namespace()?;
        let limit = slowed(Duration::from_secs(5));
        let work = move || ping(namespace.netns(), to, limit);
        tokio::task::spawn_blocking(work).await?
    }
}

/// Runs a start hook as the OCI runtime does: with the state of a container on its standard input, whose process is in the
/// pod's namespace.
fn run_hook((program, arguments): &StartHook, namespace: &Namespace) -> anyhow::Result<()> {
    let spawn = || Command::new("sleep").arg("60").spawn();
    let mut process = namespace.netns().run(spawn)??;
    let state = json!({
        "ociVersion": "1.2.0", "id": "c", "status": "creating", "pid": process.id(), "bundle": "/",
    });
    let hook = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let done = hook.and_then(|mut hook| {
        if let Some(mut stdin) = hook.stdin.take() {
            stdin.write_all(state.to_string().as_bytes())?;
        }
        hook.wait_with_output()
    });
    process.kill()?;
    process.wait()?;
    let done = done.with_context(|| format!("run {}", program.display()))?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr).trim_end()
    );
    Ok(())
}

impl Cluster {
    fn next_number(&self) -> usize {
        let mut books = self.books();
        books.pods = books.pods.saturating_add(1);
        books.pods
    }
}
