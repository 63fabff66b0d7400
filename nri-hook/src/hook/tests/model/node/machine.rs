//! The hook's process, and what happens to the machine.

use std::sync::Arc;

use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::DeviceName;

use super::super::{DEVICES, Kernel, Seen};
use super::{CLAIMS, Node, Running, holds, uid};
use crate::cdi;
use crate::hook::Hook;
use crate::hook::catch_up::Failures;
use crate::links::{Plight, Quarantined};
use crate::metrics::Metrics;
use crate::nri::PodEvents;
use crate::records::client::List;

impl<K: Kernel> Node<K> {
    pub(super) fn new_hook(&mut self) {
        let driver = "network.example.com".parse().unwrap();
        let cdi = cdi::Directory::new(self.dir.path().join("cdi"), driver, None).unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let boot_id = self.boots.to_string();
        self.hook = Some(Running {
            hook: Arc::new(Hook::new(self.kernel.devices(), cdi, metrics, boot_id)),
            registered: false,
            failures: Failures::new(),
        });
    }

    pub(super) async fn start_hook(&mut self) {
        if self.hook.is_none() {
            self.new_hook();
            self.connect().await;
        }
    }

    pub(super) async fn kill_hook(&mut self) {
        self.hook = None;
        // What it listened with closes as its tasks end.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// A session begins: the hook gets the records, and with them goes to the runtime.
    pub(super) async fn connect(&mut self) {
        let Some(hook) = self.session() else { return };
        let quarantined = self.plugin.quarantined.iter().map(|device| Quarantined {
            device: device.clone(),
            reason: "bent".into(),
            plight: if self.plugin.gone.contains(device) {
                Plight::Lost
            } else {
                Plight::Bent
            },
        });
        let quarantined = quarantined.collect();
        let records = self.plugin.records.values().cloned();
        hook.take_records(List {
            records: records.map(Arc::new).collect(),
            quarantined,
            incomplete: self.plugin.incomplete,
        });
        if let Some(running) = &mut self.hook
            && !running.registered
        {
            running.registered = true;
            self.synchronize().await;
        }
    }

    pub(super) async fn synchronize(&mut self) {
        if let Some(hook) = self.registered() {
            let there = self
                .sandboxes
                .iter()
                .filter(|sandbox| sandbox.slot.is_some());
            let pods = there.map(|sandbox| self.pod(sandbox)).collect();
            hook.synchronize(pods).await;
        }
    }

    pub(super) async fn catch_up(&mut self) {
        if let Some(running) = &mut self.hook {
            running.hook.look(&mut running.failures).await;
        }
    }

    pub(super) async fn look_around(&mut self) {
        if let Some(running) = &self.hook {
            for claim in 0..CLAIMS.len() {
                running.hook.look_at(&uid(claim)).await;
            }
        }
    }

    pub(super) async fn reboot(&mut self) {
        self.kill_hook().await;
        for index in 0..self.sandboxes.len() {
            self.close(index);
        }
        self.bury().await;
        self.sandboxes.clear();
        self.kernel.forget_kept();
        for device in 0..DEVICES {
            self.kernel.unplug(device);
            self.kernel.plug(device);
        }
        drop(std::fs::remove_dir_all(self.dir.path().join("cdi")));
        self.boots = self.boots.saturating_add(1);
        self.plugin.runs = true;
        self.start_hook().await;
    }

    pub(super) async fn unplug(&mut self, device: usize) {
        for sandbox in &mut self.sandboxes {
            sandbox.used.retain(|(_, used)| *used != device);
        }
        self.kernel.unplug(device);
        // The hook hears of it.
        self.look_around().await;
    }

    /// Not while a record names the device.
    pub(super) fn plug(&mut self, device: usize) {
        let name = DeviceName::of(&self.kernel.identity(device));
        let held = self
            .plugin
            .records
            .values()
            .any(|record| holds(record, &name));
        let seen = self.kernel.look(device);
        if seen == Seen::Nowhere {
            self.kernel.plug(device);
        }
        if !held && self.plugin.quarantined.contains(&name) && !matches!(seen, Seen::Pod(_)) {
            self.kernel.unplug(device);
            self.kernel.plug(device);
            self.plugin.quarantined.remove(&name);
            self.plugin.gone.remove(&name);
        }
    }

    /// Namespaces that neither the runtime nor the hook has die.
    pub(super) async fn bury(&mut self) {
        for slot in self.closed.clone() {
            let id = self.kernel.id(slot);
            let holdings = self
                .hook
                .iter()
                .flat_map(|running| running.hook.sandboxes.holdings());
            let mut held = holdings.filter_map(|(_, holding)| holding.netns.clone());
            if !held.any(|netns| netns.id() == id) {
                drop(held);
                for _ in 0..10 {
                    tokio::task::yield_now().await; // for what listens in it
                }
                self.kernel.die(slot);
                self.closed.remove(&slot);
            }
        }
    }
}
