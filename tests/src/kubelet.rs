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
use network_driver_proto::{dra_v1, dra_v1beta1};
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
}

impl DraVersion {
    /// What a kubelet of Kubernetes 1.34 and later knows.
    pub const CURRENT: &[Self] = &[Self::V1, Self::V1Beta1];
    /// What a kubelet of Kubernetes 1.32 and 1.33 knows.
    pub const OLD: &[Self] = &[Self::V1Beta1];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "v1.DRAPlugin" => Some(Self::V1),
            "v1beta1.DRAPlugin" => Some(Self::V1Beta1),
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
    ) -> anyhow::Result<BTreeMap<String, Result<(), String>>> {
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

impl Plugin {
    async fn prepare(&self, claims: &[ClaimName]) -> anyhow::Result<Prepared> {
        let answer = match self.version {
            DraVersion::V1 => {
                let mut client =
                    dra_v1::dra_plugin_client::DraPluginClient::new(self.channel.clone());
                let request = with_deadline(dra_v1::NodePrepareResourcesRequest {
                    claims: claims.iter().map(Into::into).collect(),
                });
                client.node_prepare_resources(request).await?.into_inner()
            }
            DraVersion::V1Beta1 => {
                let channel = self.channel.clone();
                let mut client = dra_v1beta1::dra_plugin_client::DraPluginClient::new(channel);
                let request = with_deadline(dra_v1beta1::NodePrepareResourcesRequest {
                    claims: claims.iter().map(Into::into).collect(),
                });
                from_v1beta1(client.node_prepare_resources(request).await?.into_inner())
            }
        };
        check_entries(claims, answer.claims.keys())?;
        Ok(answer.claims.into_iter().map(read_entry).collect())
    }

    async fn unprepare(
        &self,
        claims: &[ClaimName],
    ) -> anyhow::Result<BTreeMap<String, Result<(), String>>> {
        let errors: BTreeMap<String, String> = match self.version {
            DraVersion::V1 => {
                let mut client =
                    dra_v1::dra_plugin_client::DraPluginClient::new(self.channel.clone());
                let request = with_deadline(dra_v1::NodeUnprepareResourcesRequest {
                    claims: claims.iter().map(Into::into).collect(),
                });
                let answer = client.node_unprepare_resources(request).await?.into_inner();
                let entries = answer.claims.into_iter();
                entries.map(|(uid, entry)| (uid, entry.error)).collect()
            }
            DraVersion::V1Beta1 => {
                let channel = self.channel.clone();
                let mut client = dra_v1beta1::dra_plugin_client::DraPluginClient::new(channel);
                let request = with_deadline(dra_v1beta1::NodeUnprepareResourcesRequest {
                    claims: claims.iter().map(Into::into).collect(),
                });
                let answer = client.node_unprepare_resources(request).await?.into_inner();
                let entries = answer.claims.into_iter();
                entries.map(|(uid, entry)| (uid, entry.error)).collect()
            }
        };
        check_entries(claims, errors.keys())?;
        let result = |text: String| if text.is_empty() { Ok(()) } else { Err(text) };
        let entries = errors.into_iter();
        Ok(entries.map(|(uid, text)| (uid, result(text))).collect())
    }
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

fn read_entry(
    (uid, entry): (String, dra_v1::NodePrepareResourceResponse),
) -> (String, Result<Vec<PreparedDevice>, String>) {
    if !entry.error.is_empty() {
        return (uid, Err(entry.error));
    }
    let device = |device: dra_v1::Device| PreparedDevice {
        requests: device.request_names,
        pool: device.pool_name,
        device: device.device_name,
        cdi_ids: device.cdi_device_ids,
    };
    (uid, Ok(entry.devices.into_iter().map(device).collect()))
}

fn from_v1beta1(
    answer: dra_v1beta1::NodePrepareResourcesResponse,
) -> dra_v1::NodePrepareResourcesResponse {
    let device = |device: dra_v1beta1::Device| dra_v1::Device {
        request_names: device.request_names,
        pool_name: device.pool_name,
        device_name: device.device_name,
        cdi_device_ids: device.cdi_device_ids,
        share_id: None,
    };
    let entry =
        |entry: dra_v1beta1::NodePrepareResourceResponse| dra_v1::NodePrepareResourceResponse {
            devices: entry.devices.into_iter().map(device).collect(),
            error: entry.error,
        };
    let claims = answer.claims.into_iter();
    dra_v1::NodePrepareResourcesResponse {
        claims: claims.map(|(uid, e)| (uid, entry(e))).collect(),
    }
}

impl From<&ClaimName> for dra_v1::Claim {
    fn from(claim: &ClaimName) -> Self {
        Self {
            namespace: claim.namespace.clone(),
            uid: claim.uid.clone(),
            name: claim.name.clone(),
        }
    }
}

impl From<&ClaimName> for dra_v1beta1::Claim {
    fn from(claim: &ClaimName) -> Self {
        Self {
            namespace: claim.namespace.clone(),
            uid: claim.uid.clone(),
            name: claim.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
