//! A stand-in for a container runtime as an NRI plugin sees it: containerd or CRI-O, in the versions of [`Style`].
//!
//! It is as strict as the Go implementation (a frame over 4096 bytes ends the connection), and as lax: a plugin that is
//! late or dead loses its connection, and the pod runs without it. Mux and ttrpc are written here once more, from the
//! protocol, so that the driver's own code is checked against something else.

mod cdi;
mod lifecycle;
mod link;
mod mux;
mod plugin;
mod pod;
mod style;
mod ttrpc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::UnixListener;

pub use cdi::env_of as cdi_env;
pub(crate) use cdi::{StartHook, start_hooks_of};
pub use lifecycle::{Container, CreateError};
pub use pod::{Pod, SandboxNetwork};
pub use style::Style;

use crate::wait::until;
use plugin::Plugin;
use pod::Sandbox;

/// The runtime; it works until dropped.
#[derive(Debug)]
pub struct Runtime {
    shared: Arc<Shared>,
    acceptor: Mutex<tokio::task::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    style: Style,
    socket: PathBuf,
    cdi_dir: PathBuf,
    state: Mutex<State>,
    /// Events of all pods go one at a time, and none while a plugin is being synchronised.
    lifecycle: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    plugins: Vec<Arc<Plugin>>,
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    /// Plugins that have been registered and synchronised so far.
    registrations: usize,
    /// The longest time that a plugin took for an answer.
    slowest: Duration,
    /// What the runtime would write to its log.
    log: Vec<String>,
    last_id: u64,
}

impl State {
    fn answered(&mut self, took: Duration) {
        self.slowest = self.slowest.max(took);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: String) {
        self.lock().log.push(line);
    }
}

impl Runtime {
    /// Starts a runtime whose NRI socket is `<dir>/nri/nri.sock` and whose CDI directory is `<dir>/cdi`.
    ///
    /// # Errors
    /// The directories or the socket cannot be made.
    pub fn start(style: Style, dir: &Path) -> anyhow::Result<Self> {
        let cdi_dir = dir.join("cdi");
        let socket = dir.join("nri/nri.sock");
        for dir in [&cdi_dir, &dir.join("nri")] {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let shared = Arc::new(Shared {
            style,
            socket,
            cdi_dir,
            state: Mutex::default(),
            lifecycle: tokio::sync::Mutex::default(),
        });
        let acceptor = Mutex::new(accept(&shared)?);
        Ok(Self { shared, acceptor })
    }

    /// Where plugins connect.
    pub fn nri_socket(&self) -> &Path {
        &self.shared.socket
    }

    /// Where CDI specs are looked for, at each container anew.
    pub fn cdi_dir(&self) -> &Path {
        &self.shared.cdi_dir
    }

    /// What kind of runtime it is.
    pub fn style(&self) -> &Style {
        &self.shared.style
    }

    /// Waits until a plugin is registered and synchronised for the `count`th time since the start.
    ///
    /// # Errors
    /// It was not within the limit; the error shows the runtime's log.
    pub async fn synchronised(&self, count: usize, limit: Duration) -> anyhow::Result<()> {
        let done = || {
            let state = self.shared.lock();
            (state.registrations >= count && !state.plugins.is_empty()).then_some(())
        };
        let found = until("an NRI plugin", limit, async || done()).await;
        found.with_context(|| format!("runtime's log: {:#?}", self.log()))
    }

    /// Plugins that have been registered and synchronised since the start.
    pub fn registrations(&self) -> usize {
        self.shared.lock().registrations
    }

    /// The longest time that a plugin has taken for an answer since the start; one that was too late counts as the limit.
    pub fn slowest_answer(&self) -> Duration {
        self.shared.lock().slowest
    }

    /// Whether a plugin is connected.
    pub fn has_plugin(&self) -> bool {
        let state = self.shared.lock();
        state.plugins.iter().any(|plugin| !plugin.is_closed())
    }

    /// What the runtime has logged.
    pub fn log(&self) -> Vec<String> {
        self.shared.lock().log.clone()
    }

    /// Stops and starts again: every connection ends, the socket is made anew. containerd then forgets to tell plugins
    /// of the end of pods that were there before.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub async fn restart(&self) -> anyhow::Result<()> {
        let _quiet = self.shared.lifecycle.lock().await;
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        acceptor.abort();
        let mut state = self.shared.lock();
        for plugin in state.plugins.drain(..) {
            plugin.close();
        }
        if self.shared.style.forgets_pods_on_restart {
            for sandbox in state.sandboxes.values_mut() {
                sandbox.announced = false;
            }
        }
        drop(state);
        *acceptor = accept(&self.shared)?;
        Ok(())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        acceptor.abort();
        for plugin in self.shared.lock().plugins.drain(..) {
            plugin.close();
        }
    }
}

/// Makes the socket anew and takes plugins, one after another.
fn accept(shared: &Arc<Shared>) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    if shared.socket.exists() {
        std::fs::remove_file(&shared.socket)?;
    }
    let listener = UnixListener::bind(&shared.socket)
        .with_context(|| format!("cannot listen on {}", shared.socket.display()))?;
    let shared = Arc::clone(shared);
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Err(error) = plugin::admit(&shared, stream).await {
                shared.note(format!("failed to start plugin: {error:#}"));
            }
        }
    }))
}

#[cfg(test)]
mod tests;
