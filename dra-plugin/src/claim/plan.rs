//! What has to be attached for a claim: pure, from the claim as it was read and the devices of this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use network_driver_common::model::{
    Attachment, Device, DeviceName, DriverName, IfName, InterfaceConfig,
};

use super::PrepareError;
use super::parameters::{Fault, InvalidParameters, PartialConfig};
use super::parse::{AllocatedClaim, AllocatedDevice, OpaqueConfig};

/// Least MTU of a link with IPv6 addresses (RFC 8200 §5).
const MIN_IPV6_MTU: u32 = 1280;

/// One attachment per result, in the order of the results. `device` finds what discovery offers under a name.
///
/// # Errors
/// Parameters, pool or devices that cannot be had as the claim says.
pub(super) fn plan(
    claim: &AllocatedClaim,
    driver: &DriverName,
    node: &str,
    device: impl Fn(&DeviceName) -> Result<Arc<Device>, PrepareError>,
) -> Result<Vec<Attachment>, PrepareError> {
    let configs = configs(&claim.configs, driver)?;
    let mut attachments: Vec<Attachment> = Vec::with_capacity(claim.results.len());
    for result in &claim.results {
        check_result(result, node, &attachments)?;
        attachments.push(Attachment {
            request: result.base_request().to_owned(),
            pool: result.pool.clone(),
            device: device(&result.device)?,
            config: merge(&configs, result),
            snapshot: None,
        });
    }
    check_attachments(&attachments)?;
    Ok(attachments)
}

fn check_result(
    result: &AllocatedDevice,
    node: &str,
    before: &[Attachment],
) -> Result<(), PrepareError> {
    let device = result.device.clone();
    if result.admin_access {
        return Err(PrepareError::AdminAccess { device });
    }
    if result.pool != node {
        let pool = result.pool.clone();
        let node = node.to_owned();
        return Err(PrepareError::OtherPool { device, pool, node });
    }
    if before.iter().any(|other| other.device.name == device) {
        return Err(PrepareError::AllocatedTwice { device });
    }
    Ok(())
}

/// All configurations of the claim, or all their faults. With several, a fault's path begins with the place of its
/// configuration in the allocation.
fn configs<'a>(
    configs: &'a [OpaqueConfig],
    driver: &DriverName,
) -> Result<Vec<(&'a OpaqueConfig, PartialConfig)>, PrepareError> {
    let (mut parsed, mut faults) = (Vec::new(), Vec::new());
    for config in configs {
        match PartialConfig::parse(&config.parameters, driver) {
            Ok(partial) => parsed.push((config, partial)),
            Err(InvalidParameters(found)) if configs.len() == 1 => faults.extend(found),
            Err(InvalidParameters(found)) => faults.extend(found.into_iter().map(|fault| Fault {
                path: format!("config[{}].{}", config.index, fault.path),
                ..fault
            })),
        }
    }
    if faults.is_empty() {
        Ok(parsed)
    } else {
        Err(InvalidParameters(faults).into())
    }
}

fn merge(configs: &[(&OpaqueConfig, PartialConfig)], result: &AllocatedDevice) -> InterfaceConfig {
    let mut merged = InterfaceConfig::default();
    for (config, partial) in configs {
        if config.applies_to(result) {
            partial.apply_to(&mut merged);
        }
    }
    merged
}

/// What only shows once everything is merged: two interfaces of one name in the pod, an MTU too small for IPv6.
fn check_attachments(attachments: &[Attachment]) -> Result<(), PrepareError> {
    let mut faults = Vec::new();
    let mut names: BTreeMap<&IfName, &DeviceName> = BTreeMap::new();
    for attachment in attachments {
        let Attachment { device, config, .. } = attachment;
        let name = config.name.as_ref().unwrap_or(&device.interface);
        if let Some(other) = names.insert(name, &device.name) {
            faults.push(Fault {
                path: "interface.name".to_owned(),
                reason: format!(
                    "devices {other} and {} would both be named {name} in the pod: give each request its own name",
                    device.name
                ),
            });
        }
        let ipv6 = config
            .addresses
            .iter()
            .any(|address| address.addr().is_ipv6());
        if let Some(mtu) = config.mtu.filter(|mtu| ipv6 && mtu.get() < MIN_IPV6_MTU) {
            faults.push(Fault {
                path: "interface.mtu".to_owned(),
                reason: format!("{mtu} is below the {MIN_IPV6_MTU} that IPv6 addresses need"),
            });
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(InvalidParameters(faults).into())
    }
}

#[cfg(test)]
mod tests;
