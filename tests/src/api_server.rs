//! A stand-in for the Kubernetes API server, over plain HTTP: objects with resource versions, lists and watches,
//! server-side apply as far as the driver uses it, and the refusals that the real one makes.
//!
//! It serves one version of `resource.k8s.io` or several, counts requests, and fails on demand.

mod apply;
mod check;
mod documents;
mod fault;
mod http;
mod path;
mod response;
mod shape;
mod store;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

pub use fault::Fault;
pub use store::ObjectKey;

use fault::Faults;
use path::Kind;
use store::Store;

/// A version of `resource.k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceVersion {
    /// Kubernetes 1.31 and 1.32.
    V1Alpha3,
    /// Kubernetes 1.32 and later.
    V1Beta1,
    /// Kubernetes 1.33 and later.
    V1Beta2,
    /// Kubernetes 1.34 and later.
    V1,
}

impl ResourceVersion {
    /// As it stands in a path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Alpha3 => "v1alpha3",
            Self::V1Beta1 => "v1beta1",
            Self::V1Beta2 => "v1beta2",
            Self::V1 => "v1",
        }
    }

    /// Whether a slice keeps attributes under `basic` and a claim's request is flat.
    fn is_nested(self) -> bool {
        matches!(self, Self::V1Alpha3 | Self::V1Beta1)
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::V1Alpha3, Self::V1Beta1, Self::V1Beta2, Self::V1];
        all.into_iter().find(|version| version.as_str() == text)
    }
}

/// A device as it stands in a slice, whatever the version.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedDevice {
    /// Name.
    pub name: String,
    /// Pool.
    pub pool: String,
    /// Attribute values by name, as JSON of the API: `{"string": …}`.
    pub attributes: BTreeMap<String, Value>,
}

/// The API server; it serves until dropped.
#[derive(Debug)]
pub struct ApiServer {
    shared: Shared,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Shared(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Versions of `resource.k8s.io` that are served, newest first.
    served: Vec<ResourceVersion>,
    store: Store,
    faults: Faults,
    /// Requests by `verb resource`.
    requests: BTreeMap<String, usize>,
    /// Field names that a feature which is off drops from slices.
    dropped_fields: Vec<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApiServer {
    /// Serves these versions of `resource.k8s.io` on a socket that is bound already.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn serve(
        listener: std::net::TcpListener,
        served: &[ResourceVersion],
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut served = served.to_vec();
        served.sort_unstable_by(|a, b| b.cmp(a));
        let shared = Shared(Arc::new(Mutex::new(State {
            served,
            store: Store::default(),
            faults: Faults::default(),
            requests: BTreeMap::new(),
            dropped_fields: Vec::new(),
        })));
        let app = http::router(shared.clone());
        let task = tokio::spawn(async move {
            // It ends with the test; a fault of the socket shows as requests that fail.
            drop(axum::serve(listener, app).await);
        });
        Ok(Self {
            shared,
            address,
            server: task,
        })
    }

    /// Base address, `http://…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url()}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        config.to_string()
    }

    /// Puts a Node object with this internal address.
    pub fn put_node(&self, name: &str, address: &str) {
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ]},
        });
        self.put(Kind::Nodes, node);
    }

    /// Puts a ResourceClaim, in the shape of v1; gives it a UID unless it has one. Returns it as stored.
    pub fn put_claim(&self, claim: Value) -> Value {
        self.put(Kind::ResourceClaims, claim)
    }

    fn put(&self, kind: Kind, object: Value) -> Value {
        self.shared.lock().store.put(kind, object)
    }

    /// A claim as it is now, in the shape of v1.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = ObjectKey::new(Kind::ResourceClaims, Some(namespace), name);
        self.shared.lock().store.read(&key).cloned()
    }

    /// Changes a claim, as another client would.
    pub fn edit_claim(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let key = ObjectKey::new(Kind::ResourceClaims, Some(namespace), name);
        self.edit(&key, edit);
    }

    /// Changes a slice, as another client would.
    pub fn edit_slice(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.edit(&ObjectKey::new(Kind::ResourceSlices, None, name), edit);
    }

    fn edit(&self, key: &ObjectKey, edit: impl FnOnce(&mut Value)) {
        let mut state = self.shared.lock();
        if let Some(mut object) = state.store.read(key).cloned() {
            edit(&mut object);
            state.store.put(key.kind, object);
        }
    }

    /// Deletes a claim.
    pub fn delete_claim(&self, namespace: &str, name: &str) {
        let key = ObjectKey::new(Kind::ResourceClaims, Some(namespace), name);
        self.shared.lock().store.remove(&key);
    }

    /// Deletes all slices, as the kubelet does when it starts.
    pub fn wipe_slices(&self) {
        let mut state = self.shared.lock();
        for key in state.store.keys(Kind::ResourceSlices) {
            state.store.remove(&key);
        }
    }

    /// All slices, by name.
    pub fn slices(&self) -> Vec<Value> {
        self.shared.lock().store.list(Kind::ResourceSlices)
    }

    /// Devices of all slices, by name, when every pool is whole.
    pub fn devices(&self) -> BTreeMap<String, PublishedDevice> {
        let slices = self.slices();
        let devices = slices.iter().flat_map(check::devices_of);
        devices.map(|d| (d.name.clone(), d)).collect()
    }

    /// All events of `events.k8s.io`, by name.
    pub fn events(&self) -> Vec<Value> {
        self.shared.lock().store.list(Kind::Events)
    }

    /// Requests so far of a verb (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`) on a resource as it
    /// stands in a path (`resourceslices`, `resourceclaims/status`).
    pub fn requests(&self, verb: &str, resource: &str) -> usize {
        let state = self.shared.lock();
        let count = state.requests.get(&format!("{verb} {resource}"));
        count.copied().unwrap_or_default()
    }

    /// Writes so far on a resource: create, update, patch and delete together.
    pub fn writes(&self, resource: &str) -> usize {
        let verbs = ["create", "update", "patch", "delete"];
        verbs.iter().map(|v| self.requests(v, resource)).sum()
    }

    /// Fails the next `times` requests of a verb on a resource.
    pub fn fail(&self, verb: &str, resource: &str, times: usize, fault: Fault) {
        let mut state = self.shared.lock();
        state.faults.add(format!("{verb} {resource}"), times, fault);
    }

    /// Answers 503 to everything and ends all watches, until told otherwise.
    pub fn set_down(&self, down: bool) {
        let mut state = self.shared.lock();
        state.faults.down = down;
        if down {
            state.store.end_watches();
        }
    }

    /// Ends all watches with 410 Gone, as when their resource version has been compacted.
    pub fn expire_watches(&self) {
        self.shared.lock().store.expire_watches();
    }

    /// Drops a field of this name from every slice written from now on, silently, as a disabled feature does.
    pub fn drop_field(&self, name: &str) {
        self.shared.lock().dropped_fields.push(name.to_owned());
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[cfg(test)]
mod tests;
