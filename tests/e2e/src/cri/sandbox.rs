//! A pod without the kubelet: its sandbox and a container, made over CRI as the kubelet makes them.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::v1::{
    CdiDevice, ContainerConfig, ContainerMetadata, ContainerState, CreateContainerRequest,
    ExecSyncRequest, ImageSpec, LinuxContainerConfig, LinuxContainerSecurityContext,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, ListContainersRequest,
    ListPodSandboxRequest, NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxMetadata,
    RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StopPodSandboxRequest,
};
use super::{Runtime, connect};
use crate::case::SOON;
use crate::pod::{BUSYBOX, SLEEP};
use crate::wait::{Seen, until};

/// Whose sandbox it is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// A sandbox that runs.
#[derive(Debug)]
pub(crate) struct Sandbox {
    runtime: Runtime,
    config: PodSandboxConfig,
    id: String,
}

/// A container that was started.
#[derive(Debug)]
pub(crate) struct Container {
    runtime: Runtime,
    id: String,
}

impl Sandbox {
    /// Makes a sandbox. Two of one pod that exist at one time must differ in `attempt`.
    ///
    /// # Errors
    /// The runtime refused: with what it said.
    pub(crate) async fn run(owner: &Owner, attempt: u32) -> Result<Self> {
        let mut runtime = connect().await?;
        let config = config(owner, attempt);
        fs::create_dir_all(&config.log_directory)?;
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let answer = runtime.run_pod_sandbox(request).await;
        let id = answer.context("RunPodSandbox")?.into_inner().pod_sandbox_id;
        Ok(Self {
            runtime,
            config,
            id,
        })
    }

    /// Makes a container with these CDI ids and starts it. It runs `first`, and only if that succeeds goes on.
    ///
    /// # Errors
    /// The runtime refused to create or to start it: with what it said.
    pub(crate) async fn start(&self, first: &str, cdi_ids: &[String]) -> Result<Container> {
        let mut runtime = self.runtime.clone();
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(container_config(first, cdi_ids)),
            sandbox_config: Some(self.config.clone()),
        };
        let created = runtime.create_container(request).await;
        let id = created
            .context("CreateContainer")?
            .into_inner()
            .container_id;
        let request = StartContainerRequest {
            container_id: id.clone(),
        };
        let started = runtime.start_container(request).await;
        started.context("StartContainer")?;
        Ok(Container { runtime, id })
    }
}

impl Container {
    /// Waits until what it runs first has ended; whether that succeeded.
    ///
    /// # Errors
    /// The runtime does not say.
    pub(crate) async fn has_begun(&self) -> Result<bool> {
        until("the container's first command ended", SOON, async || {
            if self.has_exited().await? {
                return Ok(Seen::Yes(false));
            }
            self.exec(&["test", "-e", BEGUN]).await?;
            Ok(Seen::Yes(true))
        })
        .await
    }

    /// Runs a command in it and returns what it printed.
    ///
    /// # Errors
    /// It cannot be run, or failed: with what it printed.
    pub(crate) async fn exec(&self, command: &[&str]) -> Result<String> {
        let request = ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: 10,
        };
        let answer = self.runtime.clone().exec_sync(request).await?.into_inner();
        let printed = String::from_utf8_lossy(&answer.stdout).into_owned();
        let errors = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(
            answer.exit_code == 0,
            "{}: exit code {}: {errors}{printed}",
            command.join(" "),
            answer.exit_code
        );
        Ok(printed)
    }

    async fn has_exited(&self) -> Result<bool> {
        let mut runtime = self.runtime.clone();
        let containers = runtime.list_containers(ListContainersRequest {}).await?;
        let mut containers = containers.into_inner().containers.into_iter();
        let found = containers.find(|container| container.id == self.id);
        let state = found.context("the container is not listed")?.state();
        Ok(state == ContainerState::ContainerExited)
    }
}

/// Stops and removes all sandboxes of a namespace's pods, with their containers.
///
/// # Errors
/// One stays.
pub(crate) async fn remove_sandboxes(namespace: &str) -> Result<()> {
    let mut runtime = connect().await?;
    let sandboxes = runtime.list_pod_sandbox(ListPodSandboxRequest {}).await?;
    for sandbox in sandboxes.into_inner().items {
        let of = sandbox.metadata.unwrap_or_default().namespace;
        if of == namespace {
            let pod_sandbox_id = sandbox.id;
            let request = StopPodSandboxRequest {
                pod_sandbox_id: pod_sandbox_id.clone(),
            };
            let stopped = runtime.stop_pod_sandbox(request).await;
            stopped.context("StopPodSandbox")?;
            let request = RemovePodSandboxRequest { pod_sandbox_id };
            let removed = runtime.remove_pod_sandbox(request).await;
            removed.context("RemovePodSandbox")?;
        }
    }
    Ok(())
}

/// Made by a container when its first command has succeeded.
const BEGUN: &str = "/begun";

/// Labels, folder of logs and cgroup are the kubelet's, so that it takes away what a story leaves.
fn config(owner: &Owner, attempt: u32) -> PodSandboxConfig {
    let Owner {
        namespace,
        name,
        uid,
    } = owner;
    let label = |key: &str, value: &String| (format!("io.kubernetes.pod.{key}"), value.clone());
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: name.clone(),
            uid: uid.clone(),
            namespace: namespace.clone(),
            attempt,
        }),
        hostname: name.clone(),
        log_directory: format!("/var/log/pods/{namespace}_{name}_{uid}"),
        labels: HashMap::from([
            label("name", name),
            label("namespace", namespace),
            label("uid", uid),
        ]),
        annotations: HashMap::new(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: format!("/kubepods/besteffort/pod{uid}"),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
    }
}

fn container_config(first: &str, cdi_ids: &[String]) -> ContainerConfig {
    let script = format!("{first} || exit 1; touch {BEGUN}; {SLEEP}");
    let cdi = |name: &String| CdiDevice { name: name.clone() };
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "main".to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: BUSYBOX.to_owned(),
            user_specified_image: BUSYBOX.to_owned(),
        }),
        command: vec!["sh".to_owned(), "-c".to_owned(), script],
        log_path: "main.log".to_owned(),
        linux: Some(LinuxContainerConfig {
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(namespaces()),
            }),
        }),
        cdi_devices: cdi_ids.iter().map(cdi).collect(),
    }
}

/// The pod's own network, and process ids of each container's own.
fn namespaces() -> NamespaceOption {
    NamespaceOption {
        network: NamespaceMode::Pod.into(),
        pid: NamespaceMode::Container.into(),
        ipc: NamespaceMode::Pod.into(),
    }
}
