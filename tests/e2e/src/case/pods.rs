//! What stories do with pods.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};

use super::{Case, SOON};
use crate::nic::Nic;
use crate::pod::NewPod;
use crate::wait::{Seen, throughout, until};

impl Case {
    /// Makes a pod.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn create(&self, pod: &NewPod) -> Result<Pod> {
        let pods: Api<Pod> = self.api();
        Ok(pods.create(&PostParams::default(), &pod.pod()?).await?)
    }

    /// Makes a pod and waits until it runs.
    ///
    /// # Errors
    /// It does not: its state.
    pub(crate) async fn start(&self, pod: &NewPod) -> Result<Pod> {
        let pod = self.create(pod).await?;
        self.runs(name(&pod)).await
    }

    /// Waits until a pod runs, all its containers.
    ///
    /// # Errors
    /// It does not: its state and its events.
    pub(crate) async fn runs(&self, name: &str) -> Result<Pod> {
        let pods: Api<Pod> = self.api();
        let running = until(&format!("{name} running"), SOON, async || {
            let pod = pods.get(name).await?;
            let state = state(&pod);
            Ok(if state == "Running" {
                Seen::Yes(pod)
            } else {
                Seen::Not(state)
            })
        })
        .await;
        match running {
            Ok(pod) => Ok(pod),
            Err(error) => {
                let said = self.cluster.events(&self.namespace, name).await?;
                Err(error.context(format!("events: {said:#?}")))
            }
        }
    }

    /// Checks that none of a pod's containers starts, all the while.
    ///
    /// # Errors
    /// One did.
    pub(crate) async fn stays_waiting(&self, name: &str, time: Duration) -> Result<()> {
        let pods: Api<Pod> = self.api();
        throughout(&format!("{name} does not start"), time, async || {
            let pod = pods.get(name).await?;
            let containers = pod
                .status
                .as_ref()
                .and_then(|s| s.container_statuses.as_ref());
            let started = containers.into_iter().flatten().any(|container| {
                let state = container.state.clone().unwrap_or_default();
                container.restart_count > 0 || state.running.is_some() || state.terminated.is_some()
            });
            let phase = pod
                .status
                .as_ref()
                .and_then(|s| s.phase.clone())
                .unwrap_or_default();
            Ok(Seen::when(
                !started && phase == "Pending",
                format!("{phase} {}", state(&pod)),
            ))
        })
        .await
    }

    /// Deletes a pod and waits until it is gone.
    ///
    /// # Errors
    /// It stays.
    pub(crate) async fn delete(&self, pod: &str) -> Result<()> {
        self.delete_with(pod, &DeleteParams::default()).await
    }

    /// Deletes a pod without grace.
    ///
    /// # Errors
    /// It stays.
    pub(crate) async fn force_delete(&self, pod: &str) -> Result<()> {
        self.delete_with(pod, &DeleteParams::default().grace_period(0))
            .await
    }

    async fn delete_with(&self, pod: &str, how: &DeleteParams) -> Result<()> {
        let pods: Api<Pod> = self.api();
        pods.delete(pod, how).await?;
        // A kubelet that lost the API server takes a while to look again.
        until(&format!("{pod} gone"), SOON * 3, async || {
            Ok(match pods.get_opt(pod).await? {
                Some(pod) => Seen::Not(state(&pod)),
                None => Seen::Yes(()),
            })
        })
        .await
    }

    /// Runs a command in a pod's container, like `kubectl exec`.
    ///
    /// # Errors
    /// It failed.
    pub(crate) async fn exec(&self, pod: &str, command: &str) -> Result<String> {
        let words: Vec<_> = command.split_whitespace().collect();
        self.cluster
            .exec((&self.namespace, pod, "main"), &words)
            .await
    }

    /// Checks that a pod reaches the other end of a NIC's wire.
    ///
    /// # Errors
    /// No echo.
    pub(crate) async fn pings(&self, pod: &str, nic: &Nic) -> Result<()> {
        let command = format!("ping -c1 -W2 {}", nic.peer);
        self.exec(pod, &command).await.map(|_| ())
    }

    /// Pods of the story's namespace with this label, without those that are being deleted.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn pods(&self, app: &str) -> Result<Vec<Pod>> {
        let labels = ListParams::default().labels(&format!("app={app}"));
        let mut pods = self.api::<Pod>().list(&labels).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(pods)
    }
}

/// Name of a pod.
pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// UID of a pod.
///
/// # Errors
/// It has none.
pub(crate) fn uid(pod: &Pod) -> Result<&str> {
    pod.metadata.uid.as_deref().context("no UID")
}

/// `Running` when all containers do, else why not.
pub(crate) fn state(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let waiting = containers.iter().find_map(|container| {
        let state = container.state.as_ref()?;
        if let Some(waiting) = &state.waiting {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            return Some(format!(
                "{reason} {}",
                waiting.message.as_deref().unwrap_or_default()
            ));
        }
        state.terminated.as_ref().map(|ended| format!("{ended:?}"))
    });
    waiting.map_or(phase.clone(), |why| format!("{phase}: {why}"))
}

/// How often a pod's container was started again.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let status = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    status
        .into_iter()
        .flatten()
        .map(|container| container.restart_count)
        .sum()
}
