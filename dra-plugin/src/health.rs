//! How devices are in their pods, as the hook last said. Only in memory: the hook says it again in each session, and
//! what it said last holds while it is away.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::SystemTime;

use network_driver_common::model::{
    Attachment, DeviceFault, DeviceHealth, DeviceName, FaultReason, Quarantine, Record,
};
use network_driver_kubernetes::EventKind;
use network_driver_proto::bus;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::driver::Driver;
use crate::metrics::Metrics;
use crate::reason::Reason;

/// How a device is: well, or not.
pub(crate) type Health = Result<(), DeviceFault>;

/// Devices of which the hook has said how they are.
#[derive(Debug)]
pub(crate) struct HealthBook {
    /// A std lock: held for a map access, never over an await.
    state: RwLock<BTreeMap<DeviceName, Health>>,
    changed: watch::Sender<u64>,
    metrics: Metrics,
}

impl HealthBook {
    /// Nothing is known yet.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            state: RwLock::default(),
            changed: watch::Sender::new(0),
            metrics,
        }
    }

    /// How a device is; `None` when the hook has not said.
    pub(crate) fn of(&self, device: &DeviceName) -> Option<Health> {
        self.read().get(device).cloned()
    }

    /// Devices that do not work, and why.
    pub(crate) fn faults(&self) -> BTreeMap<DeviceName, DeviceFault> {
        let state = self.read();
        let faults = state.iter().filter_map(|(device, health)| {
            let fault = health.as_ref().err()?;
            Some((device.clone(), fault.clone()))
        });
        faults.collect()
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes how a device is. Returns whether that is news.
    fn set(&self, device: &DeviceName, health: &Health) -> bool {
        self.change(|state| state.insert(device.clone(), health.clone()).as_ref() != Some(health))
    }

    /// The devices have left their pod: nothing is known of them any more.
    pub(crate) fn forget(&self, record: &Record) {
        self.change(|state| {
            let before = state.len();
            for attachment in &record.attachments {
                state.remove(&attachment.device.name);
            }
            state.len() != before
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<DeviceName, Health>) -> bool) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        let unhealthy = state.values().filter(|health| health.is_err()).count();
        drop(state);
        if changed {
            self.metrics.unhealthy(unhealthy);
            self.changed
                .send_modify(|count| *count = count.wrapping_add(1));
        }
        changed
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<DeviceName, Health>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a device in quarantine does not work.
pub(crate) fn quarantine_fault(quarantine: &Quarantine) -> DeviceFault {
    DeviceFault {
        reason: FaultReason::Quarantined,
        message: quarantine.reason.clone(),
        since: quarantine.since.unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

impl Driver {
    /// Why a device does not work, if it does not, as far as is known.
    pub(crate) fn fault(&self, device: &DeviceName) -> Option<DeviceFault> {
        let quarantine = self.book.quarantine_of(device);
        let quarantined = quarantine.map(|quarantine| quarantine_fault(&quarantine));
        quarantined.or_else(|| self.health.of(device)?.err())
    }

    /// Takes in what the hook says of a device in a pod.
    pub(crate) fn hear_health(&self, message: &bus::DeviceHealth) {
        let heard = match DeviceHealth::try_from(message) {
            Ok(heard) => heard,
            Err(failed) => {
                error!(err = %failed, "what the hook says of a device makes no sense");
                return;
            }
        };
        let DeviceHealth { claim, device, .. } = &heard;
        let record = self.book.record(claim);
        let holds = |attachment: &Attachment| attachment.device.name == *device;
        let Some(record) = record.filter(|r| r.attachments.iter().any(holds)) else {
            debug!(claimUID = %claim, device = %device, "the hook speaks of a device that the claim does not hold");
            return;
        };
        let before = self.health.of(device);
        let health = heard.fault.clone().map_or(Ok(()), Err);
        if self.health.set(device, &health) {
            self.tell_health(&record, &heard, before.as_ref());
            self.status.health_changed(&record, &self.health);
        }
    }

    fn tell_health(&self, record: &Record, heard: &DeviceHealth, before: Option<&Health>) {
        let (claim, device) = (&record.claim, &heard.device);
        let Some(fault) = &heard.fault else {
            if matches!(before, Some(Err(_))) {
                info!(claim = %claim, claimUID = %claim.uid, device = %device, "device works again");
            }
            return;
        };
        let (reason, text) = (fault.reason.as_str(), &fault.message);
        warn!(claim = %claim, claimUID = %claim.uid, device = %device, reason, err = text, "device does not work");
        let was_gone =
            matches!(before, Some(Err(before)) if before.reason == FaultReason::DeviceGone);
        if fault.reason == FaultReason::DeviceGone && !was_gone {
            let (kind, reason) = (EventKind::Warning, Reason::InterfaceLost);
            self.events.claim(claim, kind, reason, text.clone());
            if let Some(pod) = &heard.pod {
                self.events.pod(pod, kind, reason, text.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use network_driver_common::bus::Component;

    use super::*;
    use crate::fixture::record;

    #[test]
    fn only_news_is_a_change_and_what_left_its_pod_is_forgotten() {
        let mut registry = network_driver_common::metrics::registry(Component::DraPlugin);
        let book = HealthBook::new(Metrics::new(&mut registry));
        let mut changes = book.changes();
        let eth1: DeviceName = "eth1".parse().unwrap();
        let down = DeviceFault {
            reason: FaultReason::CarrierDown,
            message: "no carrier".into(),
            since: SystemTime::UNIX_EPOCH,
        };
        assert_eq!(book.of(&eth1), None);
        assert!(book.set(&eth1, &Err(down.clone())));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert!(!book.set(&eth1, &Err(down)), "the same again is no news");
        assert!(!changes.has_changed().unwrap());
        assert!(book.set(&eth1, &Ok(())));
        book.forget(&record("c-1", &["eth1"]));
        assert_eq!(book.of(&eth1), None);
    }
}
