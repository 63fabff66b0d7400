//! A node for tests: the driver on real sockets, with a fake kubelet, hook, discovery and API server around it.

mod api;
mod discovery;
mod hook;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use api::FakeApi;
pub(crate) use discovery::FakeDiscovery;
pub(crate) use hook::FakeHook;
use network_driver_common::bus::{self, Component};
use network_driver_common::health::Health;
use network_driver_kubernetes::EventRecorder;
use network_driver_proto::dra_v1::dra_plugin_client::DraPluginClient;
use network_driver_proto::dra_v1::{
    Claim, NodePrepareResourceResponse, NodePrepareResourcesRequest, NodeUnprepareResourcesRequest,
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

use crate::claim::{Attempts, ClaimReader, Refresher, Turns, refresh};
use crate::driver::Driver;
use crate::events::Events;
use crate::health::HealthBook;
use crate::hook::Hook;
use crate::inventory::{self, Inventory};
use crate::kubelet::{self, SocketPaths};
use crate::metrics::Metrics;
use crate::server::Server;
use crate::status::{self, StatusQueue};
use crate::store::memory::Memory;
use crate::store::{Book, Contents};

/// Longest wait for something to become so.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const DRIVER: &str = "network.example.com";

/// The driver and all that is around it. Dropping it ends everything.
pub(crate) struct Node {
    pub(crate) driver: Arc<Driver>,
    pub(crate) api: FakeApi,
    pub(crate) discovery: FakeDiscovery,
    pub(crate) store: Memory,
    pub(crate) health: Health,
    pub(crate) paths: SocketPaths,
    pub(crate) dir: TempDir,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
}

impl Node {
    /// A node whose discovery offers eth1 to eth4, without a hook.
    pub(crate) async fn start() -> Self {
        Self::start_with(Contents::default(), "boot-1").await
    }

    /// A node whose store holds something already.
    pub(crate) async fn start_with(contents: Contents, boot_id: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = DRIVER.parse().unwrap();
        let paths = SocketPaths::new(&dir.path().join("kubelet"), &name).unwrap();
        let mut registry = network_driver_common::metrics::registry(Component::DraPlugin);
        let metrics = Metrics::new(&mut registry);
        let (api, store, health) = (FakeApi::default(), Memory::default(), Health::default());
        let book = Book::start(Box::new(store.clone()), contents, metrics.clone()).unwrap();
        let claims = Arc::new(ClaimReader::new(api.client()));
        let (recorder, write) = EventRecorder::new(api.client(), &name, "node-1");
        let hook = Hook::new(
            "node-1".into(),
            book.is_whole(),
            metrics.clone(),
            health.part("hook"),
        );
        let driver = Arc::new(Driver {
            events: Events::new(recorder, Arc::clone(&claims), "node-1"),
            status: StatusQueue::new(metrics.clone()),
            inventory: Arc::new(Inventory::default()),
            health: Arc::new(HealthBook::new(metrics.clone())),
            turns: Turns::default(),
            attempts: Attempts::default(),
            refresher: Refresher::default(),
            hook: Arc::new(hook),
            node: "node-1".into(),
            boot_id: boot_id.into(),
            name,
            claims,
            book,
            metrics,
        });
        let mut node = Self {
            discovery: FakeDiscovery::start(dir.path()),
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            driver,
            api,
            store,
            health,
            paths,
            dir,
        };
        node.tasks.spawn(write);
        node.spawn();
        node.discovery.offer(&["eth1", "eth2", "eth3", "eth4"]);
        let inventory = Arc::clone(&node.driver.inventory);
        until("the inventory is known", || inventory.names().len() == 4).await;
        node
    }

    fn spawn(&mut self) {
        let (driver, stop) = (&self.driver, &self.stop);
        let listener = bus::listen(self.dir.path(), Component::DraPlugin).unwrap();
        let claims = Server::service(Arc::clone(driver), stop.clone());
        let bus = bus::serve(listener, Routes::new(claims), stop.clone());
        self.tasks.spawn(async { bus.await.unwrap() });
        let part = self.health.part("kubelet");
        let kubelet = kubelet::serve(Arc::clone(driver), self.paths.clone(), part, stop.clone());
        self.tasks.spawn(async { kubelet.await.unwrap() });
        let (writing, refreshing) = (Arc::clone(driver), Arc::clone(driver));
        self.tasks.spawn(async move {
            status::write(&writing).await;
        });
        self.tasks.spawn(async move {
            refresh(&refreshing).await;
        });
        let returning = Arc::clone(driver);
        self.tasks.spawn(async move {
            returning.let_go_what_returns().await;
        });
        let follow = inventory::follow(
            Arc::clone(&driver.inventory),
            bus::channel(self.dir.path(), Component::Discovery),
            driver.book.clone(),
            Arc::clone(&driver.health),
            driver.hook.told(),
            driver.metrics.clone(),
            self.health.part("inventory"),
        );
        self.tasks.spawn(async {
            follow.await;
        });
    }

    /// A hook that is ready and carries out every order.
    pub(crate) async fn hook(&self) -> FakeHook {
        let hook = FakeHook::connect(self.dir.path()).await;
        hook.ready(true, "");
        until("the hook is ready", || self.driver.hook.ready().is_ok()).await;
        hook
    }

    /// Prepares claims as the kubelet does: one call, an answer for each.
    pub(crate) async fn prepare(
        &self,
        uids: &[&str],
    ) -> std::collections::BTreeMap<String, NodePrepareResourceResponse> {
        let claims = uids.iter().map(|uid| claim(uid)).collect();
        let request = NodePrepareResourcesRequest { claims };
        let mut client = DraPluginClient::new(dial(&self.paths.dra).await);
        let response = client.node_prepare_resources(request).await.unwrap();
        response.into_inner().claims
    }

    /// Prepares one claim and returns the devices, or the error.
    pub(crate) async fn prepare_one(&self, uid: &str) -> Result<Vec<String>, String> {
        let mut answers = self.prepare(&[uid]).await;
        assert_eq!(answers.len(), 1);
        let answer = answers.remove(uid).unwrap();
        if answer.error.is_empty() {
            Ok(answer.devices.into_iter().map(|d| d.device_name).collect())
        } else {
            assert!(answer.devices.is_empty());
            Err(answer.error)
        }
    }

    /// Unprepares one claim as the kubelet does.
    pub(crate) async fn unprepare(&self, uid: &str) -> Result<(), String> {
        let request = NodeUnprepareResourcesRequest {
            claims: vec![claim(uid)],
        };
        let mut client = DraPluginClient::new(dial(&self.paths.dra).await);
        let response = client.node_unprepare_resources(request).await.unwrap();
        let mut answers = response.into_inner().claims;
        assert_eq!(answers.len(), 1);
        match answers.remove(uid).unwrap().error {
            error if error.is_empty() => Ok(()),
            error => Err(error),
        }
    }
}

/// A claim in the kubelet's request: its name is its UID.
pub(crate) fn claim(uid: &str) -> Claim {
    Claim {
        namespace: "default".into(),
        uid: uid.into(),
        name: uid.into(),
    }
}

/// Connects to a socket, once it is there.
pub(crate) async fn dial(path: &Path) -> Channel {
    let endpoint = Endpoint::try_from(format!("unix:{}", path.display())).unwrap();
    let start = Instant::now();
    loop {
        match endpoint.connect().await {
            Ok(channel) => return channel,
            Err(error) if start.elapsed() > PATIENCE => panic!("{error:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "not so within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
