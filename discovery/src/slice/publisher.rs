//! Keeps the node's ResourceSlices what they should be: writes when the inventory changes, when somebody else edits or
//! deletes one, and after an error, no oftener than the damper allows.
//!
//! # Assumptions
//! One daemon per node: a second one would be taken for somebody who edits our slices, and damped as such.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Api;
use kube::core::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use network_driver_common::bus::Backoff;
use network_driver_common::health::Part;
use network_driver_common::model::{DeviceName, DriverName};
use network_driver_kubernetes::{Cluster, ResourceApi, VersionError};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::cache::{Cache, Seen};
use super::convert;
use super::damper::Damper;
use super::plan::{Lowered, Owner, Write, plan};
use super::writer::{PublishError, Writer};
use crate::chain;
use crate::inventory::View;
use crate::metrics::{Metrics, Outcome};
use crate::node;

/// Changes that come within this time of one another are written together.
const SETTLE: Duration = Duration::from_millis(100);
/// How often the node's addresses are read again.
const NODE_PERIOD: Duration = Duration::from_secs(600);
/// Slices in one page of a list, which bounds the memory that a list takes.
const PAGE: u32 = 50;

/// What the publisher works with.
#[derive(Debug)]
pub struct Publisher {
    /// The API server.
    pub cluster: Cluster,
    /// Name of the driver.
    pub driver: DriverName,
    /// Name of the node.
    pub node: String,
    /// Least time between two writes.
    pub interval: Duration,
    /// The inventory; `None` until the node has been read once.
    pub view: watch::Receiver<Option<Arc<View>>>,
    /// Where the addresses of the node and of the API server go.
    pub destinations: watch::Sender<BTreeSet<IpAddr>>,
    /// What is counted.
    pub metrics: Metrics,
    /// Readiness of the connection to the cluster.
    pub health: Part,
}

impl Publisher {
    /// Publishes until the token is cancelled. Errors of the API server are waited out, with the reason in the log and
    /// in readiness.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async {
            let owner = self.owner().await;
            Cycle::new(&self, owner).run().await;
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Asks until the server has told its version and the node's UID.
    async fn owner(&self) -> Owner {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(60));
        loop {
            match self.try_owner().await {
                Ok(owner) => return owner,
                Err(error) => {
                    let text = chain(&error);
                    tracing::warn!(err = text, "the API server cannot be used yet");
                    self.health.not_ready(text);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    async fn try_owner(&self) -> Result<Owner, ReadOwnerError> {
        let api = ResourceApi::served(self.cluster.client()).await?;
        let node_uid = self.read_node().await?;
        tracing::info!(version = api.as_str(), "resource.k8s.io version chosen");
        Ok(Owner {
            api,
            driver: self.driver.clone(),
            node: self.node.clone(),
            node_uid,
        })
    }

    /// Reads the node, passes its addresses on with those of the API server, and returns its UID.
    async fn read_node(&self) -> Result<String, node::ReadNodeError> {
        let facts = node::read(self.cluster.client(), &self.node).await?;
        let mut destinations = self.cluster.addresses().await;
        destinations.extend(facts.addresses);
        self.destinations.send_if_modified(|known| {
            let changed = *known != destinations;
            *known = destinations;
            changed
        });
        Ok(facts.uid)
    }
}

/// The cluster does not yet say what the slices need.
#[derive(Debug, thiserror::Error)]
enum ReadOwnerError {
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Node(#[from] node::ReadNodeError),
}

type Events = BoxStream<'static, watcher::Result<watcher::Event<DynamicObject>>>;

/// The publisher at work.
struct Cycle<'a> {
    publisher: &'a Publisher,
    owner: Owner,
    writer: Writer,
    view: watch::Receiver<Option<Arc<View>>>,
    cache: Cache,
    lowered: Lowered,
    /// Entries that stood when we started, kept until the devices in use are known.
    kept: BTreeMap<String, Value>,
    /// Names of the devices last seen in the inventory.
    names: BTreeSet<DeviceName>,
    damper: Damper,
    backoff: Backoff,
    /// When to look whether something must be written.
    due: Option<Instant>,
    /// Whether it is urgent: a device is gone, or a slice.
    urgent: bool,
    /// No write before this time: the server is not well.
    not_before: Option<Instant>,
    last_error: Option<String>,
}

impl<'a> Cycle<'a> {
    fn new(publisher: &'a Publisher, owner: Owner) -> Self {
        let client = publisher.cluster.client().clone();
        Self {
            writer: Writer::new(Api::all_with(client, &owner.api.slices())),
            view: publisher.view.clone(),
            publisher,
            owner,
            cache: Cache::default(),
            lowered: Lowered::new(),
            kept: BTreeMap::new(),
            names: BTreeSet::new(),
            damper: Damper::new(publisher.interval, Instant::now()),
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(60)),
            due: None,
            urgent: false,
            not_before: None,
            last_error: None,
        }
    }

    async fn run(mut self) {
        let mut select = true;
        let mut events = self.watch(select);
        let mut node_due = tokio::time::Instant::now() + NODE_PERIOD;
        self.view.mark_changed();
        loop {
            let due = self.due;
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.seen(event),
                    Some(Err(error)) => {
                        if select && is_bad_request(&error) {
                            tracing::info!("the API server cannot select our slices; selecting them here");
                            select = false;
                            events = self.watch(select);
                        } else {
                            self.failed(&error);
                            if !self.cache.is_synced() {
                                self.publisher.health.not_ready(chain(&error));
                            }
                        }
                    }
                    None => events = self.watch(select),
                },
                changed = self.view.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.inventory_changed();
                }
                () = sleep_until(due) => self.publish().await,
                () = tokio::time::sleep_until(node_due) => {
                    node_due = tokio::time::Instant::now() + NODE_PERIOD;
                    if let Err(error) = self.publisher.read_node().await {
                        tracing::warn!(err = chain(&error), "node not read");
                    }
                }
            }
        }
    }

    fn watch(&self, select: bool) -> Events {
        let mut config = watcher::Config::default().page_size(PAGE);
        if select {
            let Owner { driver, node, .. } = &self.owner;
            config = config.fields(&format!("spec.driver={driver},spec.nodeName={node}"));
        }
        watcher(self.writer.slices(), config)
            .default_backoff()
            .boxed()
    }

    /// Takes a watch event.
    fn seen(&mut self, event: watcher::Event<DynamicObject>) {
        let was_synced = self.cache.is_synced();
        let seen = self.cache.apply(&self.owner, event, Instant::now());
        if !was_synced && self.cache.is_synced() {
            self.kept = self.owner.standing_devices(&self.cache.slices());
        }
        match seen {
            Seen::Nothing => {}
            Seen::Changed => self.touch(false),
            Seen::Deleted => self.touch(true),
        }
    }

    fn inventory_changed(&mut self) {
        let Some(view) = self.view.borrow_and_update().clone() else {
            return;
        };
        let names: BTreeSet<DeviceName> = view.devices().into_keys().collect();
        let lost = !self.names.is_subset(&names);
        self.names = names;
        self.touch(lost);
    }

    /// Something may have to be written.
    fn touch(&mut self, urgent: bool) {
        let now = Instant::now();
        self.urgent |= urgent;
        let settle = if self.publisher.interval.is_zero() || !self.cache.is_synced() {
            Duration::ZERO
        } else {
            SETTLE
        };
        let wait = self.damper.wait(now, self.urgent).max(settle);
        let due = now.checked_add(wait).unwrap_or(now);
        let due = self.due.map_or(due, |earlier| earlier.min(due));
        self.due = Some(self.not_before.map_or(due, |at| at.max(due)));
    }

    /// Writes what must be written.
    async fn publish(&mut self) {
        self.due = None;
        let view = self.view.borrow().clone();
        // A view from before the protected addresses were known could offer the uplink.
        let destinations = self.publisher.destinations.borrow().clone();
        let is_current = |view: &Arc<View>| view.protected.destinations == destinations;
        let Some(view) = view.filter(is_current).filter(|_| self.cache.is_synced()) else {
            return;
        };
        let devices = self.wanted(&view);
        let writes = plan(&self.owner, &self.cache.slices(), &devices, &self.lowered);
        if writes.is_empty() {
            self.succeeded(devices.len());
            return;
        }
        let began = Instant::now();
        let span = info_span!(
            "slices.publish-cycle",
            slices.writes = writes.len(),
            dra.devices.count = devices.len()
        );
        let result = self.write_all(writes).instrument(span).await;
        let now = Instant::now();
        self.damper.written(began, self.urgent);
        let took = now.saturating_duration_since(began);
        match result {
            Ok(()) => {
                self.publisher.metrics.published(Outcome::Success, took);
                self.succeeded(devices.len());
            }
            Err(error) => {
                self.publisher.metrics.published(Outcome::Error, took);
                let wait = self.backoff.next_wait();
                let wait = wait.max(error.retry_after().unwrap_or_default());
                self.not_before = now.checked_add(wait);
                self.due = self.not_before;
                self.publisher.health.not_ready(chain(&error));
                self.failed(&error);
            }
        }
    }

    /// The entries that the pool should have: those of the inventory, but as they stood where they may be in use.
    fn wanted(&mut self, view: &View) -> Vec<Value> {
        if view.in_use_known {
            self.kept.clear();
        }
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        for (name, device) in view.devices() {
            entries.insert(name.to_string(), convert::device(self.owner.api, &device));
        }
        let kept = self.kept.iter();
        entries.extend(kept.map(|(name, entry)| (name.clone(), entry.clone())));
        entries.into_values().collect()
    }

    async fn write_all(&mut self, writes: Vec<Write>) -> Result<(), PublishError> {
        for write in writes {
            let stored = self.writer.write(&write).await?;
            match (write, stored) {
                (Write::Delete { name, .. }, _) => self.cache.forget(&name),
                (Write::Update { index, object } | Write::Create { index, object }, Some(stored)) => {
                    self.lower(index, &object, &stored);
                    self.cache.wrote(&self.owner, stored, Instant::now());
                }
                (Write::Update { .. } | Write::Create { .. }, None) => {}
            }
        }
        Ok(())
    }

    /// Compares what the server stored with what was sent: it drops fields of features that are off without a word.
    fn lower(&mut self, index: usize, sent: &DynamicObject, stored: &DynamicObject) {
        let devices = |object: &DynamicObject| {
            let spec = object.data.get("spec");
            spec.map(|spec| convert::devices(spec).to_vec())
                .unwrap_or_default()
        };
        let (sent, stored) = (devices(sent), devices(stored));
        if sent == stored {
            self.lowered.remove(&index);
            return;
        }
        if self.lowered.is_empty() {
            let differing = sent.iter().find(|entry| !stored.contains(entry));
            let device = differing.and_then(convert::device_name);
            tracing::warn!(
                device,
                "the API server does not store all that is published; a feature gate may be off"
            );
        }
        self.lowered.insert(index, (sent, stored));
    }

    fn succeeded(&mut self, devices: usize) {
        self.publisher.metrics.devices(devices);
        self.publisher.health.ready();
        self.urgent = false;
        self.not_before = None;
        self.backoff.reset();
        if self.last_error.take().is_some() {
            tracing::info!("ResourceSlices are up to date again");
        }
    }

    /// Says an error once, until another comes or all is well.
    fn failed(&mut self, error: &dyn std::error::Error) {
        let text = chain(error);
        if self.last_error.as_ref() == Some(&text) {
            tracing::debug!(err = text, "ResourceSlices are still not up to date");
        } else {
            tracing::warn!(err = text, "ResourceSlices are not up to date");
            self.last_error = Some(text);
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn is_bad_request(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == 400
}
