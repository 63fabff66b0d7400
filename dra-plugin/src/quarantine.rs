//! Devices that could not be brought home as they were. Such a device is offered to nobody and prepared for nobody until
//! an operator has put its link right and says so: nothing here can judge that, and a guess could give a pod a link that
//! is not what it was allocated. Of a device that is lost there is nothing to put right: it is let go as soon as discovery
//! offers a link with its identity, which is a new one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use network_driver_common::cli::table;
use network_driver_common::error::sentence;
use network_driver_common::model::{DeviceName, InvalidDeviceName, Quarantine};
use network_driver_kubernetes::EventKind;
use network_driver_proto::bus::QuarantinedDevice;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{error, info, warn};

use crate::driver::Driver;
use crate::inventory::Lookup;
use crate::reason::Reason;
use crate::store::BookError;

/// A device that the hook could not bring home as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unwell {
    /// The device.
    pub(crate) device: DeviceName,
    /// Why, as a sentence that names it.
    pub(crate) reason: String,
    /// It is neither in its pod nor on the node.
    pub(crate) lost: bool,
}

/// Some of them.
pub(crate) type Devices = Vec<Unwell>;

/// How long a lost device has to be offered until it counts as there. What a record held is offered until discovery hears
/// that none does any more.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);

/// Most characters of a reason that are kept.
const MAX_REASON: usize = 500;

impl Driver {
    /// Those of the devices that are not in quarantine for the same reason already: a report may come twice.
    pub(crate) fn news(&self, mut devices: Devices) -> Devices {
        devices.retain(|unwell| {
            let known = self.book.quarantine_of(&unwell.device);
            known.is_none_or(|known| known.reason != unwell.reason)
        });
        devices
    }

    /// Says that devices could not be brought home as they were.
    pub(crate) fn tell_quarantined(&self, devices: &[Unwell]) {
        for unwell in devices {
            let Unwell {
                device,
                reason,
                lost,
            } = unwell;
            error!(device = %device, reason, lost, "device quarantined: it could not be brought home as it was");
            let (word, note) = if *lost {
                let note = format!("{reason}; it is offered again once there is such a link");
                (Reason::InterfaceLost, note)
            } else {
                let note = format!(
                    "device {device} is in quarantine and offered to nobody: {reason}; put its link right, then run \
                     `dra-plugin quarantine release {device}`"
                );
                (Reason::DeviceQuarantined, note)
            };
            self.events.device(device, EventKind::Warning, word, note);
        }
    }

    /// Takes a device out of quarantine, for an operator.
    ///
    /// # Errors
    /// It is not in quarantine, a record holds it, or the database refuses.
    pub(crate) async fn release_quarantine(&self, device: &DeviceName) -> Result<(), BookError> {
        self.book.readmit(device).await?;
        info!(device = %device, "device released from quarantine");
        let note = format!("device {device} was released from quarantine");
        self.tell_released(device, note);
        Ok(())
    }

    fn tell_released(&self, device: &DeviceName, note: String) {
        let (kind, word) = (EventKind::Normal, Reason::DeviceReleased);
        self.events.device(device, kind, word, note);
    }

    /// Lets lost devices go that discovery offers again, for ever.
    pub(crate) async fn let_go_what_returns(&self) -> Infallible {
        let (mut offered, mut records) = (self.inventory.changes(), self.book.changes());
        let mut since: BTreeMap<DeviceName, Instant> = BTreeMap::new();
        loop {
            let mut lost = self.lost();
            lost.retain(|device| matches!(self.inventory.device(device), Lookup::Found(_)));
            since.retain(|device, _| lost.contains(device));
            for device in lost {
                let since = since.entry(device.clone()).or_insert_with(Instant::now);
                if since.elapsed() >= SETTLED {
                    // What is refused is tried again after as long.
                    *since = Instant::now();
                    self.let_go(&device).await;
                }
            }
            let next = since.values().min().copied();
            tokio::select! {
                () = after(next, SETTLED) => {}
                Ok(()) = offered.changed() => {}
                Ok(()) = records.changed() => {}
            }
        }
    }

    /// Lost devices that no record holds.
    fn lost(&self) -> Vec<DeviceName> {
        let quarantined = self.book.quarantined().into_values();
        let lost = quarantined.filter(|quarantine| quarantine.lost);
        let free = lost.filter(|quarantine| self.book.holder(&quarantine.device).is_none());
        free.map(|quarantine| quarantine.device.clone()).collect()
    }

    async fn let_go(&self, device: &DeviceName) {
        match self.book.readmit(device).await {
            Ok(()) => {
                info!(device = %device, "lost device is there again");
                let note = format!("device {device}, which was lost, is there again");
                self.tell_released(device, note);
            }
            Err(failed) => {
                warn!(device = %device, err = sentence(&failed), "lost device is there again and stays in quarantine");
            }
        }
    }
}

/// Waits until so long after a moment, for ever where there is none.
async fn after(moment: Option<Instant>, wait: Duration) {
    match moment.and_then(|moment| moment.checked_add(wait)) {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

impl From<BookError> for Status {
    fn from(error: BookError) -> Self {
        let code = match &error {
            BookError::NotQuarantined(_) => Code::NotFound,
            BookError::StillHeld { .. }
            | BookError::DeviceInUse { .. }
            | BookError::Quarantined(_) => Code::FailedPrecondition,
            BookError::Commit(_) | BookError::Closed => Code::Unavailable,
        };
        Self::new(code, sentence(&error))
    }
}

/// The devices that the hook named. A name that cannot be one is logged: the rest must not be lost for it.
pub(crate) fn parse(devices: Vec<QuarantinedDevice>) -> Devices {
    let parsed = devices.into_iter().filter_map(|quarantined| {
        let reason: String = quarantined.reason.chars().take(MAX_REASON).collect();
        match quarantined.device.parse() {
            Ok(device) => Some(Unwell {
                device,
                reason,
                lost: quarantined.lost,
            }),
            Err(failed) => {
                let failed: InvalidDeviceName = failed;
                error!(err = %failed, reason, "the hook quarantined a device of an impossible name");
                None
            }
        }
    });
    parsed.collect()
}

/// A line for each device.
pub(crate) fn listed(quarantined: &[Quarantine], now: SystemTime) -> String {
    let rows = quarantined.iter().map(|quarantine| {
        let age = quarantine
            .since
            .and_then(|since| now.duration_since(since).ok());
        let claim = quarantine.claim.as_ref();
        [
            quarantine.device.to_string(),
            age.map_or("-".to_owned(), |age| whole(age.as_secs())),
            claim.map_or("-".to_owned(), ToString::to_string),
            quarantine.reason.clone(),
        ]
    });
    table(["DEVICE", "AGE", "CLAIM", "REASON"], rows)
}

/// Seconds in the largest unit that there is a whole one of.
fn whole(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// As JSON: `device`, `reason`, `lost`, `sinceUnix` (seconds), `claim` (namespace, name, uid), the last two null when unknown.
pub(crate) fn json<'a>(quarantined: impl IntoIterator<Item = &'a Quarantine>) -> Value {
    let quarantined = quarantined.into_iter().map(|quarantine| {
        let since = quarantine
            .since
            .and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        let claim = quarantine.claim.as_ref().map(|claim| {
            json!({"namespace": claim.namespace, "name": claim.name, "uid": claim.uid.as_str()})
        });
        json!({
            "device": quarantine.device.as_str(),
            "reason": quarantine.reason,
            "lost": quarantine.lost,
            "sinceUnix": since.map(|since| since.as_secs()),
            "claim": claim,
        })
    });
    Value::Array(quarantined.collect())
}

#[cfg(test)]
mod tests {
    use network_driver_common::model::ClaimRef;

    use super::*;

    fn quarantined() -> [Quarantine; 2] {
        let known = Quarantine {
            device: "eth1".parse().unwrap(),
            identity: None,
            reason: "its name is taken".into(),
            since: Some(UNIX_EPOCH.checked_add(Duration::from_secs(100)).unwrap()),
            claim: Some(ClaimRef {
                namespace: "default".into(),
                name: "nic".into(),
                uid: "c-1".parse().unwrap(),
            }),
            lost: false,
        };
        let unknown = Quarantine {
            device: "eth2".parse().unwrap(),
            since: None,
            claim: None,
            ..known.clone()
        };
        [known, unknown]
    }

    #[test]
    fn the_table_has_a_line_for_each_device() {
        let now = UNIX_EPOCH.checked_add(Duration::from_secs(7_400)).unwrap();
        let text = listed(&quarantined(), now);
        let want = "\
DEVICE  AGE  CLAIM        REASON
eth1    2h   default/nic  its name is taken
eth2    -    -            its name is taken
";
        assert_eq!(text, want);
    }

    #[test]
    fn json_says_null_for_what_is_not_known() {
        let json = json(&quarantined());
        assert_eq!(json[0]["claim"]["uid"], "c-1");
        assert_eq!(json[0]["sinceUnix"], 100);
        assert!(json[1]["claim"].is_null() && json[1]["sinceUnix"].is_null());
    }
}
