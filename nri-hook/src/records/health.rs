//! What dra-plugin is told of how devices do in their pods: a state for each device that is out, not a list of events.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use network_driver_common::model::{ClaimUid, DeviceName, PodRef};
use network_driver_proto::bus;
use tokio::sync::Notify;

/// How a device does in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// As far as can be told.
    Works,
    /// Its link is up and has no carrier.
    CarrierDown,
    /// It is not in the pod: unplugged, without a driver, taken away by hand.
    Gone,
}

impl Health {
    /// Word of the closed list; empty when healthy.
    fn reason(self) -> &'static str {
        match self {
            Self::Works => "",
            Self::CarrierDown => "CarrierDown",
            Self::Gone => "DeviceGone",
        }
    }

    fn sentence(self, device: &DeviceName) -> String {
        match self {
            Self::Works => String::new(),
            Self::CarrierDown => format!("device {device} has no carrier"),
            Self::Gone => format!(
                "device {device} is gone from its pod: it was unplugged, lost its driver or was taken away by hand"
            ),
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
    health: Health,
    since: SystemTime,
    pod: Option<PodRef>,
}

impl HealthBoard {
    /// Notes how a device does. What was noted before is news to nobody.
    pub(crate) fn note(
        &self,
        claim: &ClaimUid,
        device: &DeviceName,
        pod: Option<&PodRef>,
        health: Health,
    ) {
        let mut state = self.state();
        let key = (claim.clone(), device.clone());
        let same = |entry: &Entry| entry.health == health && entry.pod.as_ref() == pod;
        if state.devices.get(&key).is_some_and(same) {
            return;
        }
        state.last = state.last.saturating_add(1);
        let entry = Entry {
            number: state.last,
            health,
            since: SystemTime::now(),
            pod: pod.cloned(),
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
        let newer = state.devices.iter();
        let mut newer: Vec<_> = newer.filter(|(_, entry)| entry.number > number).collect();
        newer.sort_by_key(|(_, entry)| entry.number);
        let messages = newer.into_iter().map(|((claim, device), entry)| {
            let since = entry.since.duration_since(UNIX_EPOCH).unwrap_or_default();
            bus::DeviceHealth {
                claim_uid: claim.to_string(),
                device: device.to_string(),
                healthy: entry.health == Health::Works,
                reason: entry.health.reason().to_owned(),
                message: entry.health.sentence(device),
                since_unix_nanos: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
                pod: entry.pod.as_ref().map(Into::into),
            }
        });
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
        board.note(&claim("c"), &a, None, Health::Works);
        board.note(&claim("c"), &b, None, Health::Works);
        let (seen, first) = board.after(0);
        assert_eq!(first.len(), 2);
        board.note(&claim("c"), &a, None, Health::Works);
        assert_eq!(board.after(seen).1, [], "nothing has changed");
        board.note(&claim("c"), &a, None, Health::Gone);
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
