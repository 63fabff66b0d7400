//! What the runtime's events say, checked, and who acts on them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use network_driver_common::model::{InvalidId, PodRef, SandboxId};
use network_driver_proto::nri;

use super::{Deadline, Event};

/// A pod sandbox as an event or the synchronisation shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    /// The runtime's id of the sandbox.
    pub(crate) sandbox: SandboxId,
    /// Whose sandbox.
    pub(crate) owner: PodRef,
    /// Path of its network namespace. `None` on the host's network, and in stop and remove events of some runtimes.
    pub(crate) netns: Option<PathBuf>,
}

/// A container that is about to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// The runtime's id of it.
    pub(crate) id: String,
    /// Its sandbox; `None` when the id is none that we could have heard of.
    pub(crate) sandbox: Option<SandboxId>,
    /// Its pod; `None` when the runtime does not say or its UID is none.
    pub(crate) pod: Option<PodRef>,
    /// Its name; CRI-O leaves it empty.
    pub(crate) name: String,
    /// Its environment as `KEY=value`, what CDI adds included.
    pub(crate) env: Vec<String>,
}

/// What comes with an event.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Which event it is.
    pub(crate) event: Event,
    /// When it has to be answered.
    pub(crate) deadline: Deadline,
    /// W3C trace context of the runtime's call; `None` while its tracing is off.
    pub(crate) traceparent: Option<String>,
    /// The runtime and its version; empty before it has said so.
    pub(crate) runtime: Arc<str>,
    /// The socket that the runtime serves, by which the event came.
    pub(crate) socket: Arc<Path>,
}

/// Acts on the runtime's events. Events come one at a time as a rule, and concurrently when a runtime gave up on
/// one; the same one may come twice, in any order, and any may never come.
///
/// # Guarantees
/// An event's work is never dropped midway: when its answer is late, the runtime is told so and the work goes on.
pub(crate) trait PodEvents: Send + Sync + 'static {
    /// All sandboxes that the runtime knows, stopped ones included. Comes on each connection; its other events wait
    /// until this returns.
    fn synchronize(&self, pods: Vec<Pod>) -> impl Future<Output = ()> + Send;

    /// A sandbox was made; its containers come next. An error refuses it: the sentence ends in an event of the pod.
    fn run_pod_sandbox(
        &self,
        pod: Pod,
        request: Request,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// A sandbox was stopped or removed.
    fn stop_pod_sandbox(&self, pod: Pod, request: Request) -> impl Future<Output = ()> + Send;

    /// A container is about to be created. An error refuses it.
    fn create_container(
        &self,
        container: Container,
        request: Request,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

impl TryFrom<nri::PodSandbox> for Pod {
    type Error = InvalidId;

    fn try_from(message: nri::PodSandbox) -> Result<Self, InvalidId> {
        let namespaces = message.linux.map(|linux| linux.namespaces);
        let netns = namespaces
            .into_iter()
            .flatten()
            .find(|namespace| namespace.r#type == "network" && !namespace.path.is_empty())
            .map(|namespace| PathBuf::from(namespace.path));
        Ok(Self {
            sandbox: message.id.parse()?,
            owner: PodRef {
                namespace: message.namespace,
                name: message.name,
                uid: message.uid.parse()?,
            },
            netns,
        })
    }
}

impl Container {
    /// The container of a message, in the pod of the same message.
    pub(crate) fn of(pod: Option<nri::PodSandbox>, container: nri::Container) -> Self {
        let sandbox = pod.as_ref().map(|pod| &pod.id).filter(|id| !id.is_empty());
        let sandbox = sandbox.unwrap_or(&container.pod_sandbox_id);
        let sandbox = sandbox.parse().ok();
        let pod = pod.and_then(|pod| Pod::try_from(pod).ok());
        Self {
            id: container.id,
            sandbox,
            pod: pod.map(|pod| pod.owner),
            name: container.name,
            env: container.env,
        }
    }
}
