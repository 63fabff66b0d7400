//! One entry of `status.devices`: conditions, network data and a few facts of our own, within the limits of the API
//! (at most 8 conditions, 16 addresses, 10 KiB of data).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use network_driver_common::model::{Attachment, DeviceName, FaultReason};
use network_driver_common::wire::AttachedInterface;
use serde_json::{Map, Value, json};

use super::StatusUpdate;
use crate::health::Health;
use crate::reason::Reason;

/// Most addresses of an entry (`networkData.ips`).
const MAX_ADDRESSES: usize = 16;
/// Longest message of a condition that we write, characters; the API takes 32,768.
const MAX_MESSAGE: usize = 1024;

/// What is to be shown of one device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeviceStatus {
    /// Its pool.
    pub pool: String,
    /// The device.
    pub device: DeviceName,
    /// Name of the link at home.
    pub home_name: String,
    /// Where it is.
    pub state: DeviceState,
    /// How it is in its pod; `None` when that is not known.
    pub health: Option<Health>,
}

impl DeviceStatus {
    /// What is to be shown of a device of a record, without its health.
    pub(crate) fn of(attachment: &Attachment, state: DeviceState) -> Self {
        let home = attachment.snapshot.as_ref().map(|snapshot| &snapshot.name);
        Self {
            pool: attachment.pool.clone(),
            device: attachment.device.name.clone(),
            home_name: home.unwrap_or(&attachment.device.interface).to_string(),
            state,
            health: None,
        }
    }
}

/// Where a device is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DeviceState {
    /// In its pod.
    Attached(AttachedInterface),
    /// In its pod, as its entry says already.
    Standing,
    /// It could not be put into its pod.
    Failed {
        /// Why, as a word.
        reason: Reason,
        /// Why, as a sentence.
        message: String,
    },
    /// It could not be brought home as it was, for this reason.
    Quarantined(String),
}

/// What all entries of one write have in common.
pub(super) struct Context<'a> {
    pub(super) driver: &'a str,
    pub(super) update: &'a StatusUpdate,
    /// `metadata.generation` of the claim.
    pub(super) generation: Option<i64>,
    /// `status.devices` as it is now.
    pub(super) before: &'a [Value],
    pub(super) now: &'a Time,
}

impl Context<'_> {
    pub(super) fn entry(&self, device: &DeviceStatus) -> Value {
        let mut entry = json!({
            "driver": self.driver,
            "pool": device.pool,
            "device": device.device.as_str(),
            "conditions": self.conditions(device),
            "data": self.data(device),
        });
        let network = match &device.state {
            DeviceState::Attached(interface) => Some(network_data(interface)),
            DeviceState::Standing => self.standing(device, "networkData").cloned(),
            DeviceState::Failed { .. } | DeviceState::Quarantined(_) => None,
        };
        if let (Some(network), Some(entry)) = (network, entry.as_object_mut()) {
            entry.insert("networkData".to_owned(), network);
        }
        entry
    }

    fn data(&self, device: &DeviceStatus) -> Value {
        if let (DeviceState::Standing, Some(data)) = (&device.state, self.standing(device, "data"))
        {
            return data.clone();
        }
        let mut data = Map::new();
        data.insert("homeName".into(), device.home_name.as_str().into());
        data.insert("sandboxID".into(), self.update.sandbox.as_str().into());
        if let Some(trace_id) = self.update.traceparent.as_deref().and_then(trace_id) {
            data.insert("traceId".into(), trace_id.into());
        }
        if let DeviceState::Attached(interface) = &device.state {
            data.insert("mtu".into(), interface.mtu.into());
        }
        data.into()
    }

    fn conditions(&self, device: &DeviceStatus) -> Vec<Value> {
        let condition = |kind: &str, status: bool, reason: &str, message: &str| {
            self.condition(device, kind, status, reason, message)
        };
        match &device.state {
            DeviceState::Attached(interface) => {
                let message = format!("{} is in the pod and configured", interface.name);
                self.attached(device, &message)
            }
            DeviceState::Standing => {
                let said = self.before(device, "InterfaceAttached");
                let said = said.and_then(|before| before.get("message")?.as_str());
                let message = said.unwrap_or("the interface is in the pod");
                self.attached(device, message)
            }
            DeviceState::Failed { reason, message } => {
                let text = format!("{}: {message}", reason.as_str());
                ["Ready", "InterfaceAttached", "InterfaceConfigured"]
                    .map(|kind| condition(kind, false, "AttachFailed", &text))
                    .into()
            }
            DeviceState::Quarantined(reason) => ["Ready", "InterfaceAttached"]
                .map(|kind| condition(kind, false, "Quarantined", reason))
                .into(),
        }
    }

    /// The conditions of a device in its pod.
    fn attached(&self, device: &DeviceStatus, message: &str) -> Vec<Value> {
        let fault = device
            .health
            .as_ref()
            .and_then(|health| health.as_ref().err());
        let condition = |kind: &str| {
            let touched = fault.filter(|fault| concerns(fault.reason, kind));
            let (status, reason, text) = match touched {
                Some(fault) => (false, fault.reason.as_str(), fault.message.as_str()),
                None => (true, "Attached", message),
            };
            self.condition(device, kind, status, reason, text)
        };
        let placed = ["Ready", "InterfaceAttached", "InterfaceConfigured"];
        let works = ["LinkUp", "Healthy"].into_iter();
        let works = works.filter(|_| device.health.is_some());
        placed.into_iter().chain(works).map(condition).collect()
    }

    /// A condition. Its time changes only with its status.
    fn condition(
        &self,
        device: &DeviceStatus,
        kind: &str,
        status: bool,
        reason: &str,
        message: &str,
    ) -> Value {
        let status = if status { "True" } else { "False" };
        let since = self
            .before(device, kind)
            .filter(|before| before.get("status").and_then(Value::as_str) == Some(status));
        let since = since.and_then(|before| before.get("lastTransitionTime"));
        let message: String = message.chars().take(MAX_MESSAGE).collect();
        let mut condition = json!({
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since.map_or_else(|| json!(self.now), Value::clone),
        });
        if let (Some(generation), Some(object)) = (self.generation, condition.as_object_mut()) {
            object.insert("observedGeneration".to_owned(), generation.into());
        }
        condition
    }

    fn before(&self, device: &DeviceStatus, kind: &str) -> Option<&Value> {
        let conditions = self.standing(device, "conditions")?.as_array()?;
        let is_kind =
            |condition: &&Value| condition.get("type").and_then(Value::as_str) == Some(kind);
        conditions.iter().find(is_kind)
    }

    /// A field of the device's entry as it is now.
    fn standing(&self, device: &DeviceStatus, field: &str) -> Option<&Value> {
        let is = |entry: &&Value, field: &str, want: &str| {
            entry.get(field).and_then(Value::as_str) == Some(want)
        };
        let entry = self.before.iter().find(|entry| {
            is(entry, "driver", self.driver)
                && is(entry, "pool", &device.pool)
                && is(entry, "device", device.device.as_str())
        })?;
        entry.get(field)
    }
}

/// Whether a fault makes a condition of this kind false.
fn concerns(reason: FaultReason, kind: &str) -> bool {
    match kind {
        "Ready" | "Healthy" => true,
        "LinkUp" => matches!(reason, FaultReason::CarrierDown | FaultReason::DeviceGone),
        _ => reason == FaultReason::DeviceGone,
    }
}

fn network_data(interface: &AttachedInterface) -> Value {
    let mut addresses: Vec<String> = Vec::new();
    for address in &interface.addresses {
        let address = address.to_string();
        if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut data = Map::new();
    data.insert("interfaceName".into(), interface.name.to_string().into());
    data.insert("ips".into(), addresses.into());
    if !interface.hardware_address.is_unset() {
        let hardware_address = interface.hardware_address.to_string();
        data.insert("hardwareAddress".into(), hardware_address.into());
    }
    data.into()
}

/// The trace that a W3C `traceparent` belongs to.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let hex = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_id_is_read_from_a_traceparent() {
        let id = trace_id("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(id, Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in ["", "00", "00-xyz-1-01"] {
            assert_eq!(trace_id(bad), None);
        }
    }
}
