//! dra-plugin and the kubelet, as far as the hook hears of them.

use std::sync::Arc;
use std::time::Duration;

use network_driver_common::model::{Attachment, DeviceName, Mtu, Record, Snapshot};
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Answer;
use network_driver_proto::bus::report::Event as Reported;
use network_driver_proto::bus::{self, ClaimRef, Order};

use super::super::life::Cut;
use super::super::{DEVICES, Kernel, Seen, home_name};
use super::{CLAIMS, Node, Outcome, holds, uid};
use crate::devices::Devices;
use crate::hook::Hook;
use crate::testing::{claim as uid_of, record};

impl<K: Kernel> Node<K> {
    /// The hook, if dra-plugin has a session with it.
    pub(super) fn session(&self) -> Option<Arc<Hook<K::Devices>>> {
        let hook = self.hook.as_ref().filter(|_| self.plugin.runs)?;
        Some(Arc::clone(&hook.hook))
    }

    /// The same, if it is ready: synchronised with the runtime.
    pub(super) fn ready(&self) -> Option<Arc<Hook<K::Devices>>> {
        let registered = self.hook.as_ref().is_some_and(|hook| hook.registered);
        self.session().filter(|_| registered)
    }

    pub(super) fn wanted(&self, claim: usize) -> Record {
        let (devices, pods) = CLAIMS[claim];
        let pods: Vec<_> = pods.iter().map(|pod| format!("p{pod}")).collect();
        let pods: Vec<_> = pods.iter().map(String::as_str).collect();
        let mut record = record(uid(claim).as_str(), &pods);
        let template = record.attachments.remove(0);
        for device in devices {
            let identity = self.kernel.identity(*device);
            let mut attachment = Attachment { ..template.clone() };
            let described = Arc::make_mut(&mut attachment.device);
            described.name = DeviceName::of(&identity);
            described.identity = identity;
            described.interface = home_name(*device);
            attachment.config.name = Some(format!("net{device}").parse().unwrap());
            attachment.config.mtu = Some(Mtu::try_from(1400).unwrap());
            record.attachments.push(attachment);
        }
        record.boot_id = self.boots.to_string();
        let later = Duration::from_secs(self.prepares.into());
        record.prepared = record.prepared.checked_add(later).unwrap();
        record
    }

    pub(super) async fn prepare(&mut self, claim: usize, cut: Cut) -> Outcome {
        let Some(hook) = self.ready() else {
            return Ok("not ready");
        };
        self.prepares = self.prepares.saturating_add(1);
        let mut record = self.wanted(claim);
        let known = self.plugin.records.get(&record.claim.uid);
        if let Some(known) = known.filter(|known| known.boot_id == record.boot_id) {
            order(&hook, Kind::Commit(known.into())).await;
            return Ok("prepared again");
        }
        for attachment in &record.attachments {
            let device = &attachment.device.name;
            let others = self.plugin.records.values();
            let mut others = others.filter(|other| other.claim.uid != record.claim.uid);
            if others.any(|other| holds(other, device)) {
                return Ok("device in use");
            }
            if self.plugin.quarantined.contains(device) {
                return Ok("device in quarantine");
            }
        }
        let snapshots = match order(&hook, Kind::Check((&record).into())).await {
            Answer::Checked(checked) => checked.snapshots,
            Answer::Refused(_) => return Ok("refused"),
            other => return Err(format!("a check is answered {other:?}")),
        };
        record.sandbox = self
            .plugin
            .records
            .get(&record.claim.uid)
            .and_then(|known| known.sandbox.clone());
        for (attachment, snapshot) in record.attachments.iter_mut().zip(&snapshots) {
            attachment.snapshot = Some(Snapshot::try_from(snapshot).unwrap());
        }
        if cut == Cut::BeforeDisk {
            self.plugin.runs = false;
            return Ok("cut off");
        }
        let kept = self.plugin.records.entry(record.claim.uid.clone());
        let kept = kept.insert_entry(record);
        if cut == Cut::BeforeAnswer {
            self.plugin.runs = false;
            return Ok("cut off");
        }
        order(&hook, Kind::Commit(kept.get().into())).await;
        Ok("prepared")
    }

    pub(super) async fn unprepare(&mut self, claim: usize, cut: Cut) -> Outcome {
        let Some(hook) = self.session() else {
            return Ok("not ready");
        };
        if !self.hook.as_ref().is_some_and(|hook| hook.registered) {
            return Ok("not ready");
        }
        for sandbox in &mut self.sandboxes {
            sandbox.used.retain(|(used, _)| *used != claim);
        }
        let uid = uid(claim);
        let asked = ClaimRef {
            claim_uid: uid.to_string(),
        };
        let released = match order(&hook, Kind::Release(asked)).await {
            Answer::Released(released) => released.quarantined,
            Answer::Refused(_) => return Ok("away"),
            other => return Err(format!("a release is answered {other:?}")),
        };
        if cut == Cut::BeforeDisk {
            self.plugin.runs = false;
            return Ok("cut off");
        }
        self.quarantine(&released);
        let record = self.plugin.records.remove(&uid);
        if cut == Cut::BeforeAnswer {
            self.plugin.runs = false;
        }
        // I4.
        for device in record.iter().flat_map(|_| CLAIMS[claim].0) {
            let fine = match self.kernel.look(*device) {
                Seen::Home { as_before } => as_before,
                Seen::Pod(_) => false,
                Seen::Nowhere => true,
            };
            let name = DeviceName::of(&self.kernel.identity(*device));
            if !fine && !self.plugin.quarantined.contains(&name) {
                let seen = self.kernel.look(*device);
                return Err(format!("I4: {name} is {seen:?} after its unprepare"));
            }
        }
        Ok("unprepared")
    }

    pub(super) fn quarantine(&mut self, devices: &[bus::QuarantinedDevice]) {
        for device in devices {
            let name: DeviceName = device.device.parse().unwrap();
            if device.lost {
                self.plugin.gone.insert(name.clone());
            } else {
                self.plugin.gone.remove(&name);
            }
            self.plugin.quarantined.insert(name);
        }
    }

    /// Discovery offers what is at home without a mark: what was lost is let go then.
    pub(super) fn let_go_what_returns(&mut self) {
        let marked = self.kernel.devices().marked_at_home().unwrap();
        for device in 0..DEVICES {
            let name = DeviceName::of(&self.kernel.identity(device));
            let offered = matches!(self.kernel.look(device), Seen::Home { .. })
                && !marked.iter().any(|link| link.device == name);
            let records = &self.plugin.records;
            let held = records.values().any(|record| holds(record, &name));
            if offered && !held && self.plugin.gone.remove(&name) {
                self.plugin.quarantined.remove(&name);
            }
        }
    }

    /// The hook's reports reach dra-plugin.
    pub(super) fn deliver(&mut self) {
        let Some(hook) = self.session() else { return };
        for report in hook.reports.after(0) {
            let uid = uid_of(&report.claim_uid);
            match report.event.unwrap() {
                Reported::Attached(_) => {
                    if let Some(record) = self.plugin.records.get_mut(&uid) {
                        record.sandbox = Some(report.sandbox_id.parse().unwrap());
                    }
                }
                Reported::Detached(detached) => {
                    self.quarantine(&detached.quarantined);
                    let left = Some(report.sandbox_id.parse().unwrap());
                    if let Some(record) = self.plugin.records.get_mut(&uid)
                        && record.sandbox == left
                    {
                        record.sandbox = None;
                    }
                }
                Reported::Failed(failed) => self.quarantine(&failed.quarantined),
                Reported::LeftBehind(left) => self.quarantine(&left.quarantined),
                Reported::GivenBack(given_back) => {
                    let lost = given_back.record.unwrap();
                    self.put_back(Record::try_from(&lost).unwrap());
                }
            }
            hook.reports.acknowledge(report.id);
        }
        // Readiness comes behind the reports.
        if self.ready().is_some() {
            self.plugin.incomplete = false;
        }
    }

    pub(super) fn put_back(&mut self, record: Record) {
        let records = &mut self.plugin.records;
        let devices = record.attachments.iter().map(|a| &a.device.name);
        let held = |device| records.values().any(|other| holds(other, device));
        if !records.contains_key(&record.claim.uid) && !devices.clone().any(held) {
            self.plugin.lost.remove(&record.claim.uid);
            records.insert(record.claim.uid.clone(), record);
        }
    }

    pub(super) async fn start_plugin(&mut self) {
        if !self.plugin.runs {
            self.plugin.runs = true;
            self.connect().await;
        }
    }

    pub(super) async fn lose_database(&mut self) {
        let records = std::mem::take(&mut self.plugin.records);
        self.plugin.lost.extend(records.into_keys());
        self.plugin.incomplete = true;
        self.plugin.runs = true;
        self.connect().await;
    }
}

async fn order<D: Devices>(hook: &Hook<D>, order: Kind) -> Answer {
    let traceparent = String::new();
    let order = Some(order);
    hook.obey(Order {
        id: 1,
        traceparent,
        order,
    })
    .await
}
