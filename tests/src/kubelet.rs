//! A stand-in for the kubelet, as far as a DRA plugin sees it: finds registration sockets, registers, asks to prepare
//! and unprepare, and is as strict with answers as the real one.
//!
//! Known difference: the directory is looked at in short intervals instead of by inotify.

mod dial;
mod register;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use network_driver_proto::dra_v1::dra_plugin_client::DraPluginClient;
use network_driver_proto::dra_v1alpha3::node_client::NodeClient;
use network_driver_proto::dra_v1beta1::dra_plugin_client::DraPluginClient as BetaClient;
use network_driver_proto::{dra_v1, dra_v1alpha3, dra_v1beta1};
use tonic::transport::Channel;

pub use dial::kubelet_authority;

use crate::wait::until;

/// Deadline of each call of the DRA service.
const CALL_DEADLINE: Duration = Duration::from_secs(45);

/// A version of the DRA service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraVersion {
    /// `v1.DRAPlugin`, since Kubernetes 1.34.
    V1,
    /// `v1beta1.DRAPlugin`, since Kubernetes 1.32.
    V1Beta1,
    /// `v1alpha3.Node` of Kubernetes 1.31, which a plugin offers by a version number 1.x instead of a name.
    V1Alpha3,
}

impl DraVersion {
    /// What a kubelet of Kubernetes 1.34 and later knows.
    pub const CURRENT: &[Self] = &[Self::V1, Self::V1Beta1];
    /// What a kubelet of Kubernetes 1.32 and 1.33 knows.
    pub const OLD: &[Self] = &[Self::V1Beta1];
    /// What a kubelet of Kubernetes 1.31 knows.
    pub const OLDEST: &[Self] = &[Self::V1Alpha3];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "v1.DRAPlugin" => Some(Self::V1),
            "v1beta1.DRAPlugin" => Some(Self::V1Beta1),
            number if number.starts_with("1.") => Some(Self::V1Alpha3),
            _ => None,
        }
    }
}

/// A claim as the kubelet names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// A device that a plugin has prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedDevice {
    /// Requests it stands for.
    pub requests: Vec<String>,
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub device: String,
    /// What the runtime is asked to inject.
    pub cdi_ids: Vec<String>,
}

/// The answer for each claim, by UID: its devices, or the text that the user sees in an event.
pub type Prepared = BTreeMap<String, Result<Vec<PreparedDevice>, String>>;

/// The answer for each claim, by UID: nothing, or why it is still prepared.
pub type Unprepared = BTreeMap<String, Result<(), String>>;

/// A registered plugin.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Name of the driver.
    pub driver: String,
    /// Version of the service in use: the first of the plugin's that the kubelet knows.
    pub version: DraVersion,
    /// How often a socket of this driver has been registered so far, this one included.
    pub registrations: usize,
    channel: Channel,
}

/// The kubelet; it works until dropped.
#[derive(Debug)]
pub struct Kubelet {
    root: PathBuf,
    state: Arc<Mutex<State>>,
    watcher: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// By path of the registration socket.
    plugins: BTreeMap<PathBuf, Plugin>,
    /// Registrations so far, by driver.
    registrations: BTreeMap<String, usize>,
    /// What went wrong last, by path of the registration socket.
    faults: BTreeMap<PathBuf, String>,
}

impl Kubelet {
    /// Starts a kubelet that knows these versions and keeps its files under `root`.
    ///
    /// # Errors
    /// The directories cannot be made.
    pub fn start(root: &Path, knows: &'static [DraVersion]) -> anyhow::Result<Self> {
        let registry = root.join("plugins_registry");
        for dir in [&registry, &root.join("plugins")] {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let state = Arc::new(Mutex::new(State::default()));
        let watcher = tokio::spawn(register::watch(registry, knows, Arc::clone(&state)));
        Ok(Self {
            root: root.to_owned(),
            state,
            watcher,
        })
    }

    /// The kubelet's root directory, `/var/lib/kubelet` on a real node.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The plugin of a driver, when it is registered.
    pub fn plugin(&self, driver: &str) -> Option<Plugin> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut plugins = state.plugins.values();
        plugins.find(|p| p.driver == driver).cloned()
    }

    /// Waits until a driver is registered.
    ///
    /// # Errors
    /// It was not within the limit; the error says what went wrong at registration.
    pub async fn registered(&self, driver: &str, limit: Duration) -> anyhow::Result<Plugin> {
        let found = until("registration", limit, async || self.plugin(driver)).await;
        found.with_context(|| {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            format!("{driver} did not register; faults: {:?}", state.faults)
        })
    }

    /// One `NodePrepareResources` call.
    ///
    /// # Errors
    /// The driver is not registered, the call failed, or the answer is not one entry for each claim.
    pub async fn prepare(&self, driver: &str, claims: &[ClaimName]) -> anyhow::Result<Prepared> {
        let plugin = self
            .plugin(driver)
            .with_context(|| format!("DRA driver {driver} is not registered"))?;
        plugin.prepare(claims).await
    }

    /// One `NodeUnprepareResources` call; the answer's error by UID.
    ///
    /// # Errors
    /// The driver is not registered, the call failed, or the answer is not one entry for each claim.
    pub async fn unprepare(
        &self,
        driver: &str,
        claims: &[ClaimName],
    ) -> anyhow::Result<Unprepared> {
        let plugin = self
            .plugin(driver)
            .with_context(|| format!("DRA driver {driver} is not registered"))?;
        plugin.unprepare(claims).await
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

/// One call of a version's client, its answer in the form of v1.
macro_rules! call {
    ($client:ident, $version:ident, $channel:expr, prepare $claims:expr) => {{
        let request = with_deadline($version::NodePrepareResourcesRequest {
            claims: $claims.iter().map(claim!($version)).collect(),
        });
        let mut client = $client::new($channel);
        let answer = client.node_prepare_resources(request).await?;
        let device = |device: $version::Device| PreparedDevice {
            requests: device.request_names,
            pool: device.pool_name,
            device: device.device_name,
            cdi_ids: device.cdi_device_ids,
        };
        let entry = |entry: $version::NodePrepareResourceResponse| {
            let devices = entry.devices.into_iter().map(device).collect();
            failed(entry.error).map_or(Ok(devices), Err)
        };
        let entries = answer.into_inner().claims.into_iter();
        entries.map(|(uid, e)| (uid, entry(e))).collect()
    }};
    ($client:ident, $version:ident, $channel:expr, unprepare $claims:expr) => {{
        let request = with_deadline($version::NodeUnprepareResourcesRequest {
            claims: $claims.iter().map(claim!($version)).collect(),
        });
        let mut client = $client::new($channel);
        let answer = client.node_unprepare_resources(request).await?;
        let entries = answer.into_inner().claims.into_iter();
        entries
            .map(|(uid, e)| (uid, failed(e.error).map_or(Ok(()), Err)))
            .collect()
    }};
}

macro_rules! claim {
    ($version:ident) => {
        |claim: &ClaimName| $version::Claim {
            namespace: claim.namespace.clone(),
            uid: claim.uid.clone(),
            name: claim.name.clone(),
        }
    };
}

impl Plugin {
    async fn prepare(&self, claims: &[ClaimName]) -> anyhow::Result<Prepared> {
        let channel = self.channel.clone();
        let answer: Prepared = match self.version {
            DraVersion::V1 => call!(DraPluginClient, dra_v1, channel, prepare claims),
            DraVersion::V1Beta1 => call!(BetaClient, dra_v1beta1, channel, prepare claims),
            DraVersion::V1Alpha3 => call!(NodeClient, dra_v1alpha3, channel, prepare claims),
        };
        check_entries(claims, answer.keys())?;
        Ok(answer)
    }

    async fn unprepare(&self, claims: &[ClaimName]) -> anyhow::Result<Unprepared> {
        let channel = self.channel.clone();
        let answer: Unprepared = match self.version {
            DraVersion::V1 => call!(DraPluginClient, dra_v1, channel, unprepare claims),
            DraVersion::V1Beta1 => call!(BetaClient, dra_v1beta1, channel, unprepare claims),
            DraVersion::V1Alpha3 => call!(NodeClient, dra_v1alpha3, channel, unprepare claims),
        };
        check_entries(claims, answer.keys())?;
        Ok(answer)
    }
}

/// What an answer's `error` says, if it says anything.
fn failed(error: String) -> Option<String> {
    (!error.is_empty()).then_some(error)
}

fn with_deadline<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    request
}

/// As the kubelet does: every claim that was asked for, and no other.
fn check_entries<'a>(
    asked: &[ClaimName],
    answered: impl Iterator<Item = &'a String>,
) -> anyhow::Result<()> {
    let asked: BTreeSet<&str> = asked.iter().map(|claim| claim.uid.as_str()).collect();
    let answered: BTreeSet<&str> = answered.map(String::as_str).collect();
    ensure!(
        asked == answered,
        "the plugin was asked for claims {asked:?} and answered for {answered:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
