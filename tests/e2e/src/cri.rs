//! The container runtime, spoken to as the kubelet does.

mod sandbox;

use anyhow::{Context as _, Result, bail};
use tonic::transport::{Channel, Endpoint};

use crate::node::{pids, runtime, signal};

#[expect(
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
mod v1 {
    tonic::include_proto!("runtime.v1");
}

pub(crate) use sandbox::{Owner, Sandbox, remove_sandboxes};
use v1::runtime_service_client::RuntimeServiceClient;
use v1::{
    ContainerState, ListContainersRequest, ListPodSandboxRequest, PodSandboxState,
    StopPodSandboxRequest,
};

/// A connection to the runtime.
type Runtime = RuntimeServiceClient<Channel>;

async fn connect() -> Result<Runtime> {
    let socket = match runtime() {
        "crio" => "unix:///run/crio/crio.sock",
        _ => "unix:///run/containerd/containerd.sock",
    };
    let channel = Endpoint::from_shared(socket)?.connect().await;
    Ok(Runtime::new(channel.context(socket)?))
}

/// Ends a pod's sandbox behind the kubelet's back: by killing the process that holds it, as the kernel does when memory
/// runs out, or, where CRI-O keeps a sandbox without a process, by asking for it.
///
/// # Errors
/// The pod has no sandbox.
pub(crate) async fn end_sandbox(pod_uid: &str) -> Result<()> {
    if let Some(pause) = pause_process(pod_uid)? {
        return signal("KILL", &pause);
    }
    let mut runtime = connect().await?;
    let sandboxes = runtime.list_pod_sandbox(ListPodSandboxRequest {}).await?;
    let of_pod = sandboxes.into_inner().items.into_iter().find(|sandbox| {
        let uid = sandbox.metadata.as_ref().map(|metadata| &*metadata.uid);
        uid == Some(pod_uid) && sandbox.state() == PodSandboxState::SandboxReady
    });
    let Some(sandbox) = of_pod else {
        bail!("no sandbox of pod {pod_uid}");
    };
    let pod_sandbox_id = sandbox.id;
    runtime
        .stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id })
        .await?;
    Ok(())
}

/// Number of a pod's containers that run.
///
/// # Errors
/// The runtime does not answer.
pub(crate) async fn running_containers(pod_uid: &str) -> Result<usize> {
    let mut runtime = connect().await?;
    let sandboxes = runtime.list_pod_sandbox(ListPodSandboxRequest {}).await?;
    let of_pod = |sandbox: &&v1::PodSandbox| {
        let uid = sandbox.metadata.as_ref().map(|metadata| &*metadata.uid);
        uid == Some(pod_uid)
    };
    let sandboxes = sandboxes.into_inner().items;
    let ids: Vec<_> = sandboxes.iter().filter(of_pod).map(|s| &s.id).collect();
    let containers = runtime.list_containers(ListContainersRequest {}).await?;
    let running = containers.into_inner().containers.into_iter().filter(|it| {
        ids.contains(&&it.pod_sandbox_id) && it.state() == ContainerState::ContainerRunning
    });
    Ok(running.count())
}

fn pause_process(pod_uid: &str) -> Result<Option<String>> {
    let pauses = pids(|command| command.starts_with(b"/pause"))?;
    Ok(pauses.into_iter().find(|pid| {
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        cgroup.contains(pod_uid)
    }))
}
