//! What dra-plugin is told of how devices do in their pods: a state for each device that is out, not a list of events.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use network_driver_common::model::{
    ClaimUid, DeviceFault, DeviceHealth, DeviceName, FaultReason, PodRef,
};
use network_driver_proto::bus;
use tokio::sync::Notify;

/// What is wrong with a device in its pod, for people.
fn sentence(device: &DeviceName, reason: FaultReason) -> String {
    match reason {
        FaultReason::CarrierDown => format!("device {device} has no carrier"),
        FaultReason::DeviceGone => format!(
            "device {device} is gone from its pod: it was unplugged, lost its driver or was taken away by hand"
        ),
        FaultReason::Quarantined | FaultReason::Unknown => {
            format!("device {device} does not work")
        }
    }
}

/// The health of every device that is out.
#[derive(Debug, Default)]
pub(crate) struct HealthBoard {
    /// A std mutex: no await is held.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    devices: BTreeMap<(ClaimUid, DeviceName), Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Later changes have greater numbers.
    number: u64,
    health: DeviceHealth,
}

impl HealthBoard {
    /// Notes what is wrong with a device, if anything is. What was noted before is news to nobody.
    pub(crate) fn note(
        &self,
        claim: &ClaimUid,
        device: &DeviceName,
        pod: Option<&PodRef>,
        fault: Option<FaultReason>,
    ) {
        let mut state = self.state();
        let key = (claim.clone(), device.clone());
        let same = |Entry { health, .. }: &Entry| {
            health.fault.as_ref().map(|fault| fault.reason) == fault && health.pod.as_ref() == pod
        };
        if state.devices.get(&key).is_some_and(same) {
            return;
        }
        state.last = state.last.saturating_add(1);
        let fault = fault.map(|reason| DeviceFault {
            reason,
            message: sentence(device, reason),
            since: SystemTime::now(),
        });
        let entry = Entry {
            number: state.last,
            health: DeviceHealth {
                claim: claim.clone(),
                device: device.clone(),
                pod: pod.cloned(),
                fault,
            },
        };
        state.devices.insert(key, entry);
        drop(state);
        self.changed.notify_one();
    }

    /// Forgets the devices of a claim: they are home, or lost for good.
    pub(crate) fn forget(&self, claim: &ClaimUid) {
        self.state().devices.retain(|(of, _), _| of != claim);
    }

    /// What has changed after this number, in order, and the number of the newest.
    pub(crate) fn after(&self, number: u64) -> (u64, Vec<bus::DeviceHealth>) {
        let state = self.state();
        let newer = state.devices.values();
        let mut newer: Vec<_> = newer.filter(|entry| entry.number > number).collect();
        newer.sort_by_key(|entry| entry.number);
        let messages = newer.into_iter().map(|entry| (&entry.health).into());
        (state.last, messages.collect())
    }

    /// Makes a new session send everything.
    pub(crate) fn send_again(&self) {
        self.changed.notify_one();
    }

    /// Returns when something was noted since the last time this returned.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::claim;

    #[test]
    fn only_changes_are_news_and_a_new_session_hears_all() {
        let board = HealthBoard::default();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        board.note(&claim("c"), &a, None, None);
        board.note(&claim("c"), &b, None, None);
        let (seen, first) = board.after(0);
        assert_eq!(first.len(), 2);
        board.note(&claim("c"), &a, None, None);
        assert_eq!(board.after(seen).1, [], "nothing has changed");
        board.note(&claim("c"), &a, None, Some(FaultReason::DeviceGone));
        let (_, news) = board.after(seen);
        let [gone] = news.as_slice() else {
            panic!("{news:?}");
        };
        assert_eq!((gone.device.as_str(), gone.healthy), ("a", false));
        assert_eq!(gone.reason, "DeviceGone");
        assert!(gone.message.contains("device a is gone"), "{gone:?}");
        assert_eq!(board.after(0).1.len(), 2, "each device once");
        board.forget(&claim("c"));
        assert_eq!(board.after(0).1, []);
    }
}
