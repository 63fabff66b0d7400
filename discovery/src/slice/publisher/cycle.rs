//! The publisher at work: one loop over the inventory, the watch and the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::Api;
use kube::core::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use network_driver_common::bus::Backoff;
use network_driver_common::fail::{self, Point};
use network_driver_common::telemetry::{self, Stretch};
use serde_json::Value;
use tokio::sync::watch;
use tracing::Instrument;

use super::trace::{self, Built};
use super::{Publisher, in_time};
use crate::chain;
use crate::inventory::{Reading, View};
use crate::metrics::Outcome;
use crate::slice::cache::{Cache, Seen};
use crate::slice::convert;
use crate::slice::damper::Damper;
use crate::slice::entries::entries;
use crate::slice::plan::{Lowered, Owner, Standing, Write, plan};
use crate::slice::taint::taint;
use crate::slice::writer::{PublishError, Writer};

/// Changes that come within this time of one another are written together.
const SETTLE: Duration = Duration::from_millis(100);
/// Longest wait at start for dra-plugin's lists: what is in quarantine must not be offered, and only dra-plugin knows it.
/// Nothing is lost by waiting, for without dra-plugin no pod gets a device.
const HOLDINGS: Duration = Duration::from_secs(10);
/// How often the node's addresses are read again.
const NODE_PERIOD: Duration = Duration::from_mins(10);
/// Slices in one page of a list, which bounds the memory that a list takes.
const PAGE: u32 = 50;

type Events = BoxStream<'static, watcher::Result<watcher::Event<DynamicObject>>>;

/// The publisher at work.
pub(super) struct Cycle<'a> {
    publisher: &'a Publisher,
    owner: Owner,
    writer: Writer,
    view: watch::Receiver<Option<Arc<View>>>,
    cache: Cache,
    lowered: Lowered,
    /// Entries that stood when we started, kept until the devices in use are known.
    kept: BTreeMap<String, Value>,
    /// The inventory of which all is published, unless something has happened to the slices since.
    settled: Option<Arc<View>>,
    /// The reading of the node that was last looked at.
    read: Reading,
    /// Losses that the inventory last seen had counted.
    losses: u64,
    damper: Damper,
    backoff: Backoff,
    /// When to look whether something must be written.
    due: Option<Instant>,
    /// Whether it is urgent: a device is gone, or a slice.
    urgent: bool,
    /// Whether the slices have been looked at once; the first look is not put off.
    started: bool,
    /// Until when dra-plugin's lists are waited for.
    patient_until: Option<Instant>,
    /// No write before this time: the server is not well.
    not_before: Option<Instant>,
    last_error: Option<String>,
}

impl<'a> Cycle<'a> {
    pub(super) fn new(publisher: &'a Publisher, owner: Owner) -> Self {
        let client = publisher.cluster.client().clone();
        Self {
            writer: Writer::new(Api::all_with(client, &owner.api.slices())),
            view: publisher.view.clone(),
            publisher,
            owner,
            cache: Cache::default(),
            lowered: Lowered::new(),
            kept: BTreeMap::new(),
            settled: None,
            read: Reading::default(),
            losses: 0,
            damper: Damper::new(publisher.interval, Instant::now()),
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_mins(1)),
            due: None,
            urgent: false,
            started: false,
            patient_until: Instant::now().checked_add(HOLDINGS),
            not_before: None,
            last_error: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut select = true;
        let mut events = self.watch(select);
        let mut node_due = Box::pin(tokio::time::sleep(NODE_PERIOD));
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
                () = &mut node_due => {
                    node_due.set(tokio::time::sleep(NODE_PERIOD));
                    self.read_node().await;
                }
            }
        }
    }

    /// Looks whether the node has other addresses, or is another object of the same name.
    async fn read_node(&mut self) {
        match in_time(self.publisher.read_node()).await {
            Ok(uid) if uid == self.owner.node_uid => {}
            Ok(uid) => {
                self.owner.node_uid = uid;
                self.touch(true);
            }
            Err(error) => tracing::warn!(err = chain(&error), "node not read"),
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
        let lost = view.losses > self.losses;
        self.losses = view.losses;
        // Most pods change nothing of what is published.
        let settled = self.settled.take();
        if settled.is_some_and(|settled| view.publishes_as(&settled)) {
            self.read = view.reading;
            self.settled = Some(view);
            return;
        }
        self.touch(lost);
    }

    /// Something may have to be written.
    fn touch(&mut self, urgent: bool) {
        self.settled = None;
        let now = Instant::now();
        self.urgent |= urgent;
        let settle = if self.publisher.interval.is_zero() || !self.started {
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
        let waits = self.patient_until.filter(|until| Instant::now() < *until);
        if !view.in_use_known && waits.is_some() {
            self.due = waits;
            return;
        }
        self.started = true;
        let at = SystemTime::now();
        if view.in_use_known {
            self.kept.clear();
        }
        let standing = self.cache.slices();
        let devices = self.entries(&view, &standing);
        let writes = plan(&self.owner, &standing, &devices, &self.lowered);
        let built = Built {
            when: Stretch::since(at),
            devices: devices.len(),
        };
        let before = std::mem::replace(&mut self.read, view.reading);
        if writes.is_empty() {
            tracing::debug!(
                devices = built.devices,
                "ResourceSlices are as they should be"
            );
            self.succeeded(view, devices.len());
            return;
        }
        let began = Instant::now();
        let told = trace::tell(&view, &before, &built);
        let span = trace::publish_span(&told, &writes);
        let result = self.write_all(writes).instrument(span.clone()).await;
        if let Err(error) = &result {
            telemetry::fail(&span, error.kind());
            told.fail(error.kind());
        }
        drop((span, told));
        let now = Instant::now();
        self.damper.written(began, self.urgent);
        let took = now.saturating_duration_since(began);
        match result {
            Ok(()) => {
                self.publisher.metrics.published(Outcome::Success, took);
                self.succeeded(view, devices.len());
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

    /// What the pool should hold.
    fn entries(&self, view: &View, standing: &[&Standing]) -> Vec<Value> {
        let Owner { api, driver, .. } = &self.owner;
        let mut entries = entries(*api, view, &self.kept);
        let standing = || self.owner.standing_devices(standing);
        taint(*api, driver, view, standing, &mut entries);
        entries
    }

    async fn write_all(&mut self, writes: Vec<Write>) -> Result<(), PublishError> {
        for (number, write) in writes.into_iter().enumerate() {
            if number > 0 {
                fail::pass(Point::SliceBetween);
            }
            let stored = self.writer.write(&write).await?;
            fail::pass(Point::SliceWritten);
            match (write, stored) {
                (Write::Delete { name, .. }, _) => self.cache.forget(&name),
                (
                    Write::Update { index, object } | Write::Create { index, object },
                    Some(stored),
                ) => {
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

    fn succeeded(&mut self, view: Arc<View>, devices: usize) {
        self.settled = Some(view);
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
    fn failed(&mut self, error: &(dyn std::error::Error + 'static)) {
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

#[cfg(test)]
mod tests;
