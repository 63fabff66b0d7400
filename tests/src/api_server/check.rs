//! What the server refuses: the limits of `resource.k8s.io` and of events, as far as the driver can hit them.
//!
//! Written from the API's documented limits, independently of the driver's own checks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::PublishedDevice;
use super::apply::key;

/// The first fault of an object of `resource.k8s.io` or an event.
pub(super) type Checked = Result<(), String>;

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn array<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn object<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

fn ensure(holds: bool, fault: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(fault()) }
}

/// Checks a slice in the shape of a version.
pub(super) fn slice(slice: &Value, nested: bool) -> Checked {
    let spec = slice.get("spec").ok_or("spec: Required value")?;
    let driver = text(spec, "/driver");
    ensure(is_subdomain(driver) && driver.len() <= 63, || {
        format!("spec.driver: Invalid value: {driver:?}")
    })?;
    let pool = text(spec, "/pool/name");
    let pool_ok = !pool.is_empty() && pool.len() <= 253 && pool.split('/').all(is_subdomain);
    ensure(pool_ok, || {
        format!("spec.pool.name: Invalid value: {pool:?}")
    })?;
    let count = spec
        .pointer("/pool/resourceSliceCount")
        .and_then(Value::as_i64);
    ensure(count.is_some_and(|n| n > 0), || {
        "spec.pool.resourceSliceCount: must be greater than zero".into()
    })?;
    let generation = spec.pointer("/pool/generation").and_then(Value::as_i64);
    ensure(generation.unwrap_or(0) >= 0, || {
        "spec.pool.generation: must not be negative".into()
    })?;
    let selections = [
        "nodeName",
        "nodeSelector",
        "allNodes",
        "perDeviceNodeSelection",
    ];
    let given = selections
        .iter()
        .filter(|field| spec.get(**field).is_some())
        .count();
    ensure(given == 1, || {
        "spec: exactly one of nodeName, nodeSelector, allNodes, perDeviceNodeSelection".into()
    })?;
    let list = array(spec, "devices");
    let tainted = list.iter().any(|d| {
        let inner = inner(d, nested);
        !array(inner, "taints").is_empty() || !array(inner, "consumesCounters").is_empty()
    });
    let most = if tainted { 64 } else { 128 };
    ensure(list.len() <= most, || {
        format!(
            "spec.devices: Too many: {}: must have at most {most} items",
            list.len()
        )
    })?;
    let mut names = BTreeSet::new();
    for (index, device) in list.iter().enumerate() {
        let name = text(device, "/name");
        ensure(is_label(name), || {
            format!("spec.devices[{index}].name: Invalid value: {name:?}")
        })?;
        ensure(names.insert(name), || {
            format!("spec.devices[{index}].name: Duplicate value: {name:?}")
        })?;
        check_device(inner(device, nested)).map_err(|f| format!("spec.devices[{index}].{f}"))?;
        ensure(nested == device.get("basic").is_some(), || {
            format!("spec.devices[{index}]: strict decoding error: shape of another version")
        })?;
    }
    Ok(())
}

/// Where a version keeps what is said of a device.
fn inner(device: &Value, nested: bool) -> &Value {
    if nested {
        device.get("basic").unwrap_or(&Value::Null)
    } else {
        device
    }
}

fn check_device(device: &Value) -> Checked {
    let count = object(device, "attributes")
        .count()
        .saturating_add(object(device, "capacity").count());
    ensure(count <= 32, || {
        format!("attributes: Too many: {count}: must have at most 32")
    })?;
    for (name, value) in object(device, "attributes") {
        ensure(is_qualified(name), || {
            format!("attributes: Invalid value: {name:?}")
        })?;
        check_attribute(value).map_err(|fault| format!("attributes[{name}]: {fault}"))?;
    }
    for (name, value) in object(device, "capacity") {
        ensure(is_qualified(name), || {
            format!("capacity: Invalid value: {name:?}")
        })?;
        let quantity = value
            .as_str()
            .or_else(|| value.get("value").and_then(Value::as_str));
        ensure(quantity.is_some_and(is_quantity), || {
            format!("capacity[{name}]: Invalid value: {value}")
        })?;
    }
    Ok(())
}

fn check_attribute(value: &Value) -> Checked {
    let fields: Vec<(&String, &Value)> =
        value.as_object().into_iter().flat_map(Map::iter).collect();
    let [(kind, value)] = fields.as_slice() else {
        return Err("exactly one value must be specified".into());
    };
    match (kind.as_str(), value) {
        ("int", Value::Number(n)) if n.is_i64() => Ok(()),
        ("bool", Value::Bool(_)) => Ok(()),
        ("string", Value::String(s)) => ensure(s.len() <= 64, || {
            format!("Too long: may not be more than 64 bytes: {s:?}")
        }),
        ("version", Value::String(s)) => ensure(s.len() <= 64 && is_semver(s), || {
            format!("must be a string compatible with semver.org spec 2.0.0: {s:?}")
        }),
        _ => Err(format!("strict decoding error: {kind} {value}")),
    }
}

/// What may never change in a slice.
pub(super) fn slice_update(old: &Value, new: &Value) -> Checked {
    for pointer in ["/spec/driver", "/spec/pool/name", "/spec/nodeName"] {
        ensure(old.pointer(pointer) == new.pointer(pointer), || {
            format!("{pointer}: field is immutable")
        })?;
    }
    Ok(())
}

/// Checks `status.devices` of a claim against its allocation.
pub(super) fn claim_status(claim: &Value) -> Checked {
    let status = claim.get("status").unwrap_or(&Value::Null);
    let results = status
        .pointer("/allocation/devices/results")
        .and_then(Value::as_array);
    let allocated: BTreeSet<String> = results
        .into_iter()
        .flatten()
        .map(|r| key(r).to_string())
        .collect();
    let mut seen = BTreeSet::new();
    for (index, device) in array(status, "devices").iter().enumerate() {
        let at = |fault: &str| format!("status.devices[{index}]{fault}");
        let key = key(device).to_string();
        ensure(allocated.contains(&key), || {
            at(": Invalid value: must be an allocated device in the claim")
        })?;
        ensure(seen.insert(key), || at(": Duplicate value"))?;
        let conditions = array(device, "conditions");
        ensure(conditions.len() <= 8, || at(".conditions: Too many"))?;
        for condition in conditions {
            for field in ["type", "status", "reason", "lastTransitionTime"] {
                ensure(!text(condition, &format!("/{field}")).is_empty(), || {
                    at(&format!(".conditions.{field}: Required value"))
                })?;
            }
            ensure(
                condition.get("message").is_some_and(Value::is_string),
                || at(".conditions.message: Required value"),
            )?;
            let time = text(condition, "/lastTransitionTime");
            ensure(time.ends_with('Z') && time.contains('T'), || {
                at(".conditions.lastTransitionTime: not RFC 3339")
            })?;
        }
        check_network(device.get("networkData").unwrap_or(&Value::Null)).map_err(|f| at(&f))?;
        let data = device.get("data").map_or(0, |d| d.to_string().len());
        ensure(data <= 10 << 10, || at(".data: Too long"))?;
    }
    Ok(())
}

fn check_network(data: &Value) -> Checked {
    ensure(text(data, "/interfaceName").len() <= 256, || {
        ".networkData.interfaceName: Too long".into()
    })?;
    ensure(text(data, "/hardwareAddress").len() <= 128, || {
        ".networkData.hardwareAddress: Too long".into()
    })?;
    let ips = array(data, "ips");
    ensure(ips.len() <= 16, || ".networkData.ips: Too many".into())?;
    let mut seen = BTreeSet::new();
    for ip in ips {
        let text = ip.as_str().unwrap_or_default();
        let canonical = text.split_once('/').and_then(|(address, prefix)| {
            let address: IpAddr = address.parse().ok()?;
            let prefix: u8 = prefix.parse().ok()?;
            Some(format!("{address}/{prefix}"))
        });
        ensure(canonical.as_deref() == Some(text), || {
            format!(".networkData.ips: Invalid value: {text:?}: must be in canonical form")
        })?;
        ensure(seen.insert(text), || {
            format!(".networkData.ips: Duplicate value: {text:?}")
        })?;
    }
    Ok(())
}

/// Checks an event of `events.k8s.io/v1`.
pub(super) fn event(event: &Value) -> Checked {
    for (pointer, most) in [
        ("/reason", 128),
        ("/action", 128),
        ("/reportingController", 128),
        ("/reportingInstance", 128),
    ] {
        let value = text(event, pointer);
        ensure(!value.is_empty() && value.len() <= most, || {
            format!("{pointer}: Invalid value: {value:?}")
        })?;
    }
    let kind = text(event, "/type");
    ensure(matches!(kind, "Normal" | "Warning"), || {
        format!("type: Invalid value: {kind:?}")
    })?;
    ensure(text(event, "/note").len() <= 1024, || {
        "note: can have at most 1024 bytes".into()
    })?;
    ensure(!text(event, "/eventTime").is_empty(), || {
        "eventTime: Required value".into()
    })?;
    let (regarding, own) = (
        text(event, "/regarding/namespace"),
        text(event, "/metadata/namespace"),
    );
    // What is about a cluster-wide object has to be in one of these two.
    let of_cluster = regarding.is_empty() && matches!(own, "default" | "kube-system");
    ensure(regarding == own || of_cluster, || {
        "involvedObject.namespace: does not match event.namespace".into()
    })
}

/// Devices of a slice, whatever its version.
pub(super) fn devices_of(slice: &Value) -> Vec<PublishedDevice> {
    let pool = slice
        .pointer("/spec/pool/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let list = slice.pointer("/spec/devices").and_then(Value::as_array);
    let device = |device: &Value| {
        let attributes = device.get("basic").unwrap_or(device);
        PublishedDevice {
            name: text(device, "/name").to_owned(),
            pool: pool.to_owned(),
            attributes: object(attributes, "attributes")
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<BTreeMap<_, _>>(),
        }
    };
    list.into_iter().flatten().map(device).collect()
}

/// A DNS label (RFC 1123) of at most 63 characters.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS subdomain.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_qualified(name: &str) -> bool {
    let (domain, id) = name
        .split_once('/')
        .map_or((None, name), |(d, i)| (Some(d), i));
    let id_ok = (1..=32).contains(&id.len())
        && !id.starts_with(|c: char| c.is_ascii_digit())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    id_ok && domain.is_none_or(|d| d.len() <= 63 && is_subdomain(d))
}

fn is_quantity(text: &str) -> bool {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let suffixes = [
        "", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    digits.len() < text.len() && suffixes.contains(&digits)
}

fn is_semver(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |n: &&str| n.parse::<u64>().is_ok() && (n.len() == 1 || !n.starts_with('0'));
    numbers.len() == 3 && numbers.iter().all(number)
}
