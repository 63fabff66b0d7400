//! Reading an allocated ResourceClaim. The fields that matter to a driver are the same in v1, v1beta2, v1beta1 and
//! v1alpha3 (`status.allocation.devices`, `status.reservedFor`), so one reading serves all. Fields that a newer server
//! adds are skipped; results and configuration of other drivers are not looked into.

use std::collections::BTreeSet;

use network_driver_common::model::{
    ClaimRef, ClaimUid, DeviceName, DriverName, InvalidDeviceName, InvalidId, PodUid,
};
use serde::Deserialize;
use serde_json::Value;

/// Most consumers of a claim (`ResourceClaimReservedForMaxSize`).
const MAX_CONSUMERS: usize = 256;
/// Most results of an allocation (`AllocationResultsMaxSize`).
const MAX_RESULTS: usize = 32;
/// Most configuration entries of an allocation (twice `DeviceConfigMaxSize`).
const MAX_CONFIGS: usize = 64;

/// What of a claim matters to this driver.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AllocatedClaim {
    /// Which claim.
    pub claim: ClaimRef,
    /// Our devices, in the order of the allocation.
    pub results: Vec<AllocatedDevice>,
    /// Our configuration: that of classes first, then that of the claim, each in its order.
    pub configs: Vec<OpaqueConfig>,
    /// Pods that the claim is reserved for; there is at least one when there are results.
    pub pods: BTreeSet<PodUid>,
}

/// One result of the allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllocatedDevice {
    /// `request`, or `request/subrequest`.
    pub request: String,
    /// Pool of the device.
    pub pool: String,
    /// The device.
    pub device: DeviceName,
    /// Access for watching only: the device stays with its user.
    pub admin_access: bool,
}

impl AllocatedDevice {
    /// The request without its subrequest, as containers name it.
    pub(crate) fn base_request(&self) -> &str {
        base_request(&self.request)
    }
}

fn base_request(request: &str) -> &str {
    request.split_once('/').map_or(request, |(base, _)| base)
}

/// Parameters for this driver.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OpaqueConfig {
    /// Index in `status.allocation.devices.config`.
    pub index: usize,
    /// Requests it applies to; none means all.
    pub requests: Vec<String>,
    /// As the user wrote them.
    pub parameters: Value,
}

impl OpaqueConfig {
    /// Whether it applies to a device: its `requests` are empty or name the device's request, with or without the
    /// subrequest.
    pub(crate) fn applies_to(&self, device: &AllocatedDevice) -> bool {
        self.requests.is_empty()
            || self
                .requests
                .iter()
                .any(|request| request == &device.request || request == device.base_request())
    }
}

/// Why a claim cannot be prepared as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseClaimError {
    /// The object does not have the form of a claim.
    #[error("the ResourceClaim cannot be read: {0}")]
    Malformed(String),
    /// Another claim has its name by now.
    #[error("the claim was replaced: asked for UID {asked}, found {found}")]
    Replaced {
        /// UID that the kubelet asked for.
        asked: ClaimUid,
        /// UID of the object.
        found: String,
    },
    /// There is no allocation.
    #[error("the claim is not allocated")]
    NotAllocated,
    /// No pod may use it.
    #[error("the claim is not reserved for any pod")]
    NotReserved,
    /// More than the API allows.
    #[error("the claim has {count} {what}, at most {max} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many the API allows.
        max: usize,
    },
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    uid: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Status {
    allocation: Option<Allocation>,
    #[serde(default)]
    reserved_for: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Allocation {
    #[serde(default)]
    devices: Devices,
}

#[derive(Deserialize, Default)]
struct Devices {
    #[serde(default)]
    results: Vec<DeviceResult>,
    #[serde(default)]
    config: Vec<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceResult {
    request: String,
    driver: String,
    pool: String,
    device: String,
    #[serde(default)]
    admin_access: Option<bool>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    source: String,
    #[serde(default)]
    requests: Vec<String>,
    opaque: Option<Opaque>,
}

#[derive(Deserialize)]
struct Opaque {
    driver: String,
    #[serde(default)]
    parameters: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consumer {
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    uid: String,
}

impl AllocatedClaim {
    /// Reads the claim that was asked for out of the object that has its name.
    ///
    /// # Errors
    /// Another UID, no allocation, or devices of ours that no pod may use.
    pub(crate) fn parse(
        asked: &ClaimRef,
        object: &Value,
        driver: &DriverName,
    ) -> Result<Self, ParseClaimError> {
        let object: Object = serde_path_to_error::deserialize(object)
            .map_err(|error| ParseClaimError::Malformed(error.to_string()))?;
        if object.metadata.uid != asked.uid.as_str() {
            return Err(ParseClaimError::Replaced {
                asked: asked.uid.clone(),
                found: object.metadata.uid,
            });
        }
        let status = object.status.unwrap_or_default();
        let Some(Allocation { devices }) = status.allocation else {
            return Err(ParseClaimError::NotAllocated);
        };
        within("results", devices.results.len(), MAX_RESULTS)?;
        within("configuration entries", devices.config.len(), MAX_CONFIGS)?;
        within("consumers", status.reserved_for.len(), MAX_CONSUMERS)?;
        let results = devices
            .results
            .into_iter()
            .filter(|result| result.driver == driver.as_str())
            .map(allocated_device)
            .collect::<Result<Vec<_>, _>>()?;
        let pods = pods(status.reserved_for)?;
        if !results.is_empty() && pods.is_empty() {
            return Err(ParseClaimError::NotReserved);
        }
        Ok(Self {
            claim: asked.clone(),
            results,
            configs: configs(devices.config, driver),
            pods,
        })
    }
}

fn within(what: &'static str, count: usize, max: usize) -> Result<(), ParseClaimError> {
    if count > max {
        return Err(ParseClaimError::TooMany { what, count, max });
    }
    Ok(())
}

fn allocated_device(result: DeviceResult) -> Result<AllocatedDevice, ParseClaimError> {
    Ok(AllocatedDevice {
        request: result.request,
        pool: result.pool,
        device: result
            .device
            .parse()
            .map_err(|error: InvalidDeviceName| malformed(&error))?,
        admin_access: result.admin_access.unwrap_or_default(),
    })
}

fn malformed(error: &dyn std::error::Error) -> ParseClaimError {
    ParseClaimError::Malformed(error.to_string())
}

/// Pods among the consumers: other kinds may reserve a claim too, and none of them has a sandbox.
fn pods(consumers: Vec<Consumer>) -> Result<BTreeSet<PodUid>, ParseClaimError> {
    consumers
        .into_iter()
        .filter(|consumer| consumer.api_group.is_empty() && consumer.resource == "pods")
        .map(|consumer| {
            consumer
                .uid
                .parse()
                .map_err(|error: InvalidId| malformed(&error))
        })
        .collect()
}

fn configs(entries: Vec<Config>, driver: &DriverName) -> Vec<OpaqueConfig> {
    let (mut class, mut claim) = (Vec::new(), Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        let Some(opaque) = entry.opaque else { continue };
        if opaque.driver != driver.as_str() {
            continue;
        }
        let config = OpaqueConfig {
            index,
            requests: entry.requests,
            parameters: opaque.parameters,
        };
        if entry.source == "FromClass" {
            class.push(config);
        } else {
            claim.push(config);
        }
    }
    class.append(&mut claim);
    class
}

#[cfg(test)]
mod tests;
