//! What the kubelet asks of a runtime: sandboxes and containers, with the plugins told in the runtime's own order.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use network_driver_proto::nri::Event;
use prost::Message as _;

use super::link::CallError;
use super::pod::{Pod, Sandbox, SandboxNetwork, View, nested};
use super::{Runtime, Shared, cdi};

/// A created container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its sandbox.
    pub sandbox: String,
    /// Its environment, `KEY=value`, what CDI added included.
    pub env: Vec<String>,
}

/// Why a container was not created. The kubelet tries again in either case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// A CDI id that no file defines.
    #[error("{0}")]
    Cdi(String),
    /// An NRI plugin said no.
    #[error("{0}")]
    Refused(String),
    /// There is no such sandbox.
    #[error("sandbox {0} is not running")]
    NoSandbox(String),
}

impl Runtime {
    /// CRI RunPodSandbox: makes a sandbox and returns its id. No network means the node's own.
    ///
    /// # Errors
    /// The text with which a plugin refused. Stop and Remove have been sent then, and the network is removed.
    pub async fn run_pod(
        &self,
        pod: &Pod,
        network: Option<Arc<dyn SandboxNetwork>>,
    ) -> Result<String, String> {
        let shared = &self.shared;
        let _turn = shared.lifecycle.lock().await;
        let sandbox = {
            let mut state = shared.lock();
            state.last_id = state.last_id.saturating_add(1);
            let sandbox = Sandbox {
                id: format!("{:064x}", state.last_id),
                pod: pod.clone(),
                network,
                announced: true,
                stopped: false,
            };
            state.sandboxes.insert(sandbox.id.clone(), sandbox.clone());
            sandbox
        };
        let refused = shared
            .tell(Event::RunPodSandbox, &sandbox, View::Whole)
            .await;
        let Err(text) = refused else {
            return Ok(sandbox.id);
        };
        // At once, to all plugins, with the netns alive.
        for event in [Event::StopPodSandbox, Event::RemovePodSandbox] {
            drop(shared.tell(event, &sandbox, View::Whole).await);
        }
        if let Some(network) = &sandbox.network {
            network.remove();
        }
        shared.lock().sandboxes.remove(&sandbox.id);
        Err(text)
    }

    /// CRI StopPodSandbox. Plugins hear of it once, and not at all of a pod that a restart has made the runtime forget.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub async fn stop_pod(&self, id: &str) -> anyhow::Result<()> {
        let shared = &self.shared;
        let _turn = shared.lifecycle.lock().await;
        let sandbox = shared.sandbox(id)?;
        if sandbox.stopped {
            return Ok(());
        }
        shared.lock().containers.retain(|_, c| c.sandbox != id);
        let style = &shared.style;
        let remove = || sandbox.network.iter().for_each(|network| network.remove());
        if style.removes_netns_before_stop {
            remove();
        }
        if sandbox.announced {
            let view = if style.stop_shows_netns {
                View::Whole
            } else {
                View::Bare
            };
            drop(shared.tell(Event::StopPodSandbox, &sandbox, view).await);
        }
        remove();
        if let Some(sandbox) = shared.lock().sandboxes.get_mut(id) {
            sandbox.stopped = true;
        }
        Ok(())
    }

    /// CRI RemovePodSandbox of a sandbox that has been stopped. One that has not is removed with its network still
    /// there and without a Stop, as when a runtime fails after the plugins were told of the start.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub async fn remove_pod(&self, id: &str) -> anyhow::Result<()> {
        let shared = &self.shared;
        let _turn = shared.lifecycle.lock().await;
        let sandbox = shared.sandbox(id)?;
        if sandbox.announced {
            let shows = !sandbox.stopped || shared.style.remove_shows_netns;
            let view = if shows { View::Whole } else { View::Bare };
            drop(shared.tell(Event::RemovePodSandbox, &sandbox, view).await);
        }
        if let Some(network) = &sandbox.network {
            network.remove();
        }
        shared.lock().sandboxes.remove(id);
        Ok(())
    }

    /// Sends bytes to the plugins that need not make sense, between two events.
    pub async fn send_garbage(&self, bytes: &[u8]) {
        let _turn = self.shared.lifecycle.lock().await;
        let plugins = self.shared.lock().plugins.clone();
        for plugin in plugins {
            plugin.send_raw(bytes).await;
        }
    }

    /// A Stop event that comes late or twice: plugins are told, nothing else happens.
    ///
    /// # Errors
    /// There is no such sandbox.
    pub async fn repeat_stop(&self, id: &str) -> anyhow::Result<()> {
        let _turn = self.shared.lifecycle.lock().await;
        let sandbox = self.shared.sandbox(id)?;
        drop(
            self.shared
                .tell(Event::StopPodSandbox, &sandbox, View::Whole)
                .await,
        );
        Ok(())
    }

    /// CRI CreateContainer: CDI first, then the plugins, which see the environment that CDI made.
    ///
    /// # Errors
    /// A CDI id is not defined, or a plugin refused.
    pub async fn create_container(
        &self,
        sandbox: &str,
        cdi_ids: &[String],
    ) -> Result<Container, CreateError> {
        let shared = &self.shared;
        let _turn = shared.lifecycle.lock().await;
        let found = shared.sandbox(sandbox).ok().filter(|s| !s.stopped);
        let found = found.ok_or_else(|| CreateError::NoSandbox(sandbox.to_owned()))?;
        let mut env = vec!["PATH=/usr/bin:/bin".to_owned()];
        env.extend(cdi::env_of(&shared.cdi_dir, cdi_ids).map_err(CreateError::Cdi)?);
        let id = {
            let mut state = shared.lock();
            state.last_id = state.last_id.saturating_add(1);
            format!("c{:063x}", state.last_id)
        };
        let name = if shared.style.shows_container_name {
            "main"
        } else {
            ""
        };
        let container = network_driver_proto::nri::Container {
            id: id.clone(),
            pod_sandbox_id: sandbox.to_owned(),
            name: name.to_owned(),
            env: env.clone(),
        };
        let mut request = nested(1, &found.encode(&shared.style, View::Whole));
        request.extend(nested(2, &container.encode_to_vec()));
        let told = shared.each(Event::CreateContainer, |plugin| {
            let request = request.clone();
            let limit = shared.style.request_timeout;
            async move {
                plugin
                    .call("CreateContainer", request, limit)
                    .await
                    .map(drop)
            }
        });
        told.await.map_err(CreateError::Refused)?;
        let container = Container {
            sandbox: sandbox.to_owned(),
            env,
        };
        shared.lock().containers.insert(id, container.clone());
        Ok(container)
    }
}

impl Shared {
    fn sandbox(&self, id: &str) -> anyhow::Result<Sandbox> {
        let state = self.lock();
        let found = state.sandboxes.get(id).cloned();
        found.with_context(|| format!("there is no sandbox {id}"))
    }

    async fn tell(&self, event: Event, sandbox: &Sandbox, view: View) -> Result<(), String> {
        let pod = sandbox.encode(&self.style, view);
        self.each(event, |plugin| {
            let pod = pod.clone();
            let limit = self.style.request_timeout;
            async move { plugin.pod_event(event, &pod, limit).await }
        })
        .await
    }

    /// Calls each plugin in the order of its index. The first that refuses ends the round; one that is late or gone is
    /// dropped, and the pod goes on without it.
    async fn each<F>(
        &self,
        event: Event,
        call: impl Fn(Arc<super::Plugin>) -> F,
    ) -> Result<(), String>
    where
        F: Future<Output = Result<(), CallError>>,
    {
        let plugins = self.lock().plugins.clone();
        for plugin in plugins.into_iter().filter(|plugin| plugin.wants(event)) {
            let called = Instant::now();
            let answer = call(Arc::clone(&plugin)).await;
            if !matches!(answer, Err(CallError::Closed)) {
                self.lock().answered(called.elapsed());
            }
            match answer {
                Ok(()) => {}
                Err(CallError::Refused { message, .. }) => return Err(message),
                Err(error) => {
                    plugin.close();
                    self.note(format!(
                        "closing plugin {}, failed to handle {event:?}: {error}",
                        plugin.id
                    ));
                    self.lock().plugins.retain(|p| !p.is_closed());
                }
            }
        }
        Ok(())
    }
}
