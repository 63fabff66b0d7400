//! The loop that keeps the inventory true: one dump, then the kernel's events; a dump again only when events were lost,
//! and a slow audit for the few changes that raise none. Nothing is polled.

mod retry;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use network_driver_common::bus::Backoff;
use network_driver_common::fail::{self, Point};
use network_driver_common::health::Part;
use network_driver_common::telemetry::Stretch;
use network_driver_netlink::{
    Dumper, Event, Group, Monitor, MonitorError, Netns, OpenSocketError, RequestError,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attribute::{AttributeProvider, Facts};
use crate::chain;
use crate::inventory::{Holdings, Inventory, Reading, Unread, View};
use crate::metrics::{Metrics, Trigger};
use network_driver_netlink::sysfs::Sysfs;

/// What the kernel is asked to tell.
const GROUPS: [Group; 7] = [
    Group::Link,
    Group::Ipv4Address,
    Group::Ipv6Address,
    Group::Ipv4Route,
    Group::Ipv6Route,
    Group::Ipv4Rule,
    Group::Ipv6Rule,
];

/// Half of the mean time between two audits; the other half is drawn, so that nodes do not audit in step.
const AUDIT: Duration = Duration::from_mins(5);
/// Least time between two readings of the routes: a routing daemon may change thousands.
const ROUTES_PERIOD: Duration = Duration::from_secs(1);

/// The node cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A netlink socket cannot be opened.
    #[error("open a netlink socket")]
    Open(#[source] OpenSocketError),
    /// A dump failed, however often it was tried.
    #[error("read the node's links and addresses")]
    Dump(#[source] RequestError),
    /// The kernel's events cannot be received.
    #[error("receive the kernel's events")]
    Monitor(#[source] MonitorError),
}

/// Reads one network namespace into an inventory.
#[derive(Debug)]
pub struct Scanner {
    inventory: Inventory,
    dumper: Dumper,
    providers: Arc<Vec<Box<dyn AttributeProvider>>>,
    sysfs: Sysfs,
    metrics: Metrics,
    reading: Reading,
}

/// What comes to the scanner from the other tasks, and where its view goes.
#[derive(Debug)]
pub struct Wires {
    /// The complete lists of devices in use and in quarantine, once dra-plugin has sent them.
    pub in_use: watch::Receiver<Option<Arc<Holdings>>>,
    /// Addresses of the node and of the API server.
    pub destinations: watch::Receiver<BTreeSet<IpAddr>>,
    /// The inventory as it is; `None` until the node has been read.
    pub view: watch::Sender<Option<Arc<View>>>,
    /// Readiness of the reading of the node.
    pub health: Part,
}

impl Scanner {
    /// A scanner of the calling thread's namespace.
    ///
    /// # Errors
    /// No netlink socket can be opened.
    pub fn new(inventory: Inventory, sysfs: Sysfs, metrics: Metrics) -> Result<Self, ScanError> {
        let dumper = Dumper::open().map_err(ScanError::Open)?;
        Ok(Self {
            providers: inventory.providers(),
            inventory,
            dumper,
            sysfs,
            metrics,
            reading: Reading::default(),
        })
    }

    /// The same scanner for another namespace.
    ///
    /// # Errors
    /// No netlink socket can be opened there.
    pub fn in_netns(self, netns: &Netns) -> Result<Self, ScanError> {
        let dumper = Dumper::open_in(netns).map_err(ScanError::Open)?;
        Ok(Self { dumper, ..self })
    }

    /// Reads the whole node once.
    ///
    /// # Errors
    /// The kernel does not answer, however often it is asked. Routes that cannot be read are no error: then every link
    /// counts as an uplink.
    pub async fn scan(&mut self, trigger: Trigger) -> Result<View, ScanError> {
        let (began, at) = (Instant::now(), SystemTime::now());
        let dumped = retry::until_whole(|| self.dump()).await;
        let (links, addresses) = dumped.map_err(ScanError::Dump)?;
        self.inventory.replace(links, addresses);
        fail::pass(Point::ScanDumped);
        self.read_routes().await;
        self.read_files().await;
        self.inventory.settle();
        self.metrics.scanned(trigger, began.elapsed());
        self.reading.trigger = trigger.as_str();
        self.reading.scan = Some(Stretch::since(at));
        Ok(self.inventory.view())
    }

    async fn dump(
        &self,
    ) -> Result<
        (
            Vec<network_driver_netlink::Link>,
            Vec<network_driver_netlink::Address>,
        ),
        RequestError,
    > {
        Ok((self.dumper.links().await?, self.dumper.addresses().await?))
    }

    /// Reads the default routes and asks which way the protected destinations lie.
    async fn read_routes(&mut self) {
        let at = SystemTime::now();
        self.inventory.take_routes_stale();
        match self.dumper.routes().await {
            Ok(routes) => self.inventory.set_routes(Some(routes)),
            Err(error) => {
                tracing::warn!(
                    err = chain(&error),
                    "routes cannot be read: no link is offered"
                );
                self.inventory.set_routes(None);
            }
        }
        let (mut routed, mut unanswered) = (Vec::new(), BTreeSet::new());
        for destination in self.inventory.protected().destinations.clone() {
            match self.dumper.route_to(destination).await {
                Ok(Some(index)) => routed.push((destination, index)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        %destination, err = chain(&error),
                        "the way there cannot be looked up: the last one known stays protected"
                    );
                    unanswered.insert(destination);
                }
            }
        }
        self.inventory.set_routed(routed, &unanswered);
        self.reading.protect = Some(Stretch::since(at));
    }

    /// Reads the files of links that are new or have changed, on a blocking thread.
    async fn read_files(&mut self) {
        let unread = self.inventory.take_unread();
        if unread.is_empty() {
            return;
        }
        let (sysfs, providers) = (self.sysfs.clone(), Arc::clone(&self.providers));
        let read = tokio::task::spawn_blocking(move || {
            let read = unread.into_iter().map(|(link, facts, unread)| {
                let facts = match unread {
                    Unread::All => Facts::read(&sysfs, &providers, &link),
                    Unread::WithCarrier => facts.refreshed(&sysfs, &providers, &link),
                };
                (link.index, facts)
            });
            read.collect::<Vec<_>>()
        });
        match read.await {
            Ok(read) => {
                for (index, facts) in read {
                    self.inventory.set_facts(index, facts);
                }
            }
            Err(error) => tracing::error!(err = %error, "files of links not read"),
        }
    }

    /// Keeps the view true until the token is cancelled.
    ///
    /// # Errors
    /// The node cannot be read or listened to: the daemon should start anew.
    pub async fn run(self, wires: Wires, shutdown: CancellationToken) -> Result<(), ScanError> {
        let monitor = Monitor::open(&GROUPS).map_err(ScanError::Open)?;
        self.follow(monitor, wires, shutdown).await
    }

    /// As [`Scanner::run`], for another namespace.
    ///
    /// # Errors
    /// As [`Scanner::run`].
    pub async fn run_in(
        self,
        netns: &Netns,
        wires: Wires,
        shutdown: CancellationToken,
    ) -> Result<(), ScanError> {
        let monitor = Monitor::open_in(netns, &GROUPS).map_err(ScanError::Open)?;
        self.in_netns(netns)?.follow(monitor, wires, shutdown).await
    }

    async fn follow(
        mut self,
        mut monitor: Monitor,
        mut wires: Wires,
        shutdown: CancellationToken,
    ) -> Result<(), ScanError> {
        self.take_wires(&mut wires);
        let view = self.scan(Trigger::Request).await?;
        self.show(&wires, view);
        wires.health.ready();
        let mut audit = Box::pin(tokio::time::sleep(audit_period()));
        let mut routes_read: Option<Instant> = None;
        let mut routes_due = None;
        loop {
            let at;
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                events = monitor.next() => {
                    at = SystemTime::now();
                    self.reading.trigger = "event";
                    let events = events.map_err(ScanError::Monitor)?;
                    if self.take_events(events) {
                        let view = self.scan(Trigger::Event).await?;
                        self.show(&wires, view);
                        continue;
                    }
                }
                changed = wires.in_use.changed() => {
                    if changed.is_err() { return Ok(()) }
                    at = SystemTime::now();
                    self.reading.trigger = "in_use";
                }
                changed = wires.destinations.changed() => {
                    if changed.is_err() { return Ok(()) }
                    at = SystemTime::now();
                    self.reading.trigger = "protected";
                }
                () = sleep_until(routes_due) => {
                    at = SystemTime::now();
                    self.reading.trigger = "event";
                }
                () = &mut audit => {
                    audit.set(tokio::time::sleep(audit_period()));
                    self.inventory.audit_files();
                    let view = self.scan(Trigger::Interval).await?;
                    self.show(&wires, view);
                    continue;
                }
            }
            self.take_wires(&mut wires);
            if routes_due.is_some() || self.inventory.take_routes_stale() {
                let now = Instant::now();
                let next = routes_read.and_then(|read| read.checked_add(ROUTES_PERIOD));
                let earliest = next.unwrap_or(now);
                routes_due = Some(earliest).filter(|earliest| *earliest > now);
                if routes_due.is_none() {
                    routes_read = Some(now);
                    self.read_routes().await;
                }
            }
            self.read_files().await;
            if self.inventory.settle() {
                self.reading.scan = Some(Stretch::since(at));
                let view = self.inventory.view();
                self.show(&wires, view);
            }
        }
    }

    /// Takes what the kernel tells. Whether events were lost.
    fn take_events(&mut self, events: Vec<Event>) -> bool {
        let overruns = events.iter().filter(|event| **event == Event::Overrun);
        let overruns = overruns.count();
        self.metrics.events(events.len(), overruns);
        let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
        self.reading.events = self.reading.events.saturating_add(count);
        for event in events {
            tracing::trace!(?event, "kernel event");
            self.inventory.apply(event);
        }
        overruns > 0
    }

    fn take_wires(&mut self, wires: &mut Wires) {
        let holdings = wires.in_use.borrow_and_update().clone();
        if let Some(holdings) = holdings {
            // Before what is free again, so that it is not offered in between.
            self.inventory.set_quarantined(holdings.quarantined.clone());
            self.inventory.set_in_use(Arc::clone(&holdings.in_use));
        }
        let destinations = wires.destinations.borrow_and_update().clone();
        self.inventory.set_destinations(destinations);
    }

    fn show(&self, wires: &Wires, mut view: View) {
        view.reading = self.reading;
        self.metrics.interfaces(view.counts());
        wires.view.send_replace(Some(Arc::new(view)));
    }
}

fn audit_period() -> Duration {
    // Half of twice the mean: the wait draws from the upper half of what it is given.
    let span = AUDIT.saturating_mul(4);
    Backoff::new(span, span).next_wait().saturating_sub(AUDIT)
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
