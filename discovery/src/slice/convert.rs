//! The one place that knows how a device looks in each version of `resource.k8s.io`.
//!
//! | | `v1`, `v1beta2` | `v1beta1` | `v1alpha3` |
//! | --- | --- | --- | --- |
//! | attributes, capacity | in the device | in `basic` | in `basic` |
//! | a capacity | `{value: "25G"}` | `{value: "25G"}` | `"25G"` |
//! | taints | in the device | in `basic` | none |
//!
//! Everything else that is published is alike. JSON is enough: the API server takes it in every version, and what it
//! stores can be compared with what was sent, fields of newer servers included.

use network_driver_common::model::{AttributeValue, Device, DriverName};
use network_driver_kubernetes::ResourceApi;
use serde_json::{Map, Value, json};

/// What a slice's specification says besides its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Name of the driver.
    pub driver: &'a DriverName,
    /// Name of the node, which is also the pool's.
    pub node: &'a str,
    /// Generation of the pool.
    pub generation: i64,
    /// Number of slices in the pool.
    pub count: usize,
}

/// A device as an entry of a slice.
pub fn device(api: ResourceApi, device: &Device) -> Value {
    let attributes = device.attributes.iter();
    let attributes: Map<String, Value> = attributes
        .map(|(name, value)| (name.to_string(), attribute(value)))
        .collect();
    let capacity = device.capacity.iter();
    let capacity: Map<String, Value> = capacity
        .map(|(name, quantity)| (name.clone(), quantity_of(api, quantity)))
        .collect();
    // The server drops empty maps: send none, or what is stored never equals what was sent.
    let mut body = Map::new();
    for (key, map) in [("attributes", attributes), ("capacity", capacity)] {
        if !map.is_empty() {
            body.insert(key.to_owned(), Value::Object(map));
        }
    }
    match api {
        ResourceApi::V1 | ResourceApi::V1beta2 => {
            body.insert("name".to_owned(), json!(device.name.as_str()));
            Value::Object(body)
        }
        ResourceApi::V1beta1 | ResourceApi::V1alpha3 => {
            json!({ "name": device.name.as_str(), "basic": body })
        }
    }
}

fn attribute(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Int(int) => json!({ "int": int }),
        AttributeValue::Bool(bool) => json!({ "bool": bool }),
        AttributeValue::Text(text) => json!({ "string": text }),
        AttributeValue::Version(text) => json!({ "version": text }),
    }
}

fn quantity_of(api: ResourceApi, quantity: &str) -> Value {
    match api {
        ResourceApi::V1alpha3 => json!(quantity),
        ResourceApi::V1 | ResourceApi::V1beta2 | ResourceApi::V1beta1 => {
            json!({ "value": quantity })
        }
    }
}

/// A slice's specification; alike in all versions.
pub fn spec(frame: Frame<'_>, devices: &[Value]) -> Value {
    let mut spec = json!({
        "driver": frame.driver.as_str(),
        "nodeName": frame.node,
        "pool": {
            "name": frame.node,
            "generation": frame.generation,
            "resourceSliceCount": frame.count,
        },
    });
    if let (false, Some(fields)) = (devices.is_empty(), spec.as_object_mut()) {
        fields.insert("devices".to_owned(), json!(devices));
    }
    spec
}

/// The taints of an entry.
pub fn taints(api: ResourceApi, entry: &Value) -> &[Value] {
    let holder = match api {
        ResourceApi::V1 | ResourceApi::V1beta2 => Some(entry),
        ResourceApi::V1beta1 => entry.get("basic"),
        ResourceApi::V1alpha3 => None,
    };
    let taints = holder.and_then(|holder| holder.get("taints")?.as_array());
    taints.map(Vec::as_slice).unwrap_or_default()
}

/// Gives an entry taints, where its version has such.
pub fn set_taints(api: ResourceApi, entry: &mut Value, taints: Vec<Value>) {
    let holder = match api {
        ResourceApi::V1 | ResourceApi::V1beta2 => Some(entry),
        ResourceApi::V1beta1 => entry.get_mut("basic"),
        ResourceApi::V1alpha3 => None,
    };
    if let Some(fields) = holder.and_then(Value::as_object_mut) {
        fields.insert("taints".to_owned(), taints.into());
    }
}

/// Name of a device's entry.
pub fn device_name(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

/// The devices of a specification.
pub fn devices(spec: &Value) -> &[Value] {
    let devices = spec.get("devices").and_then(Value::as_array);
    devices.map(Vec::as_slice).unwrap_or_default()
}

/// Name of the pool of a specification.
pub fn pool(spec: &Value) -> Option<&str> {
    spec.pointer("/pool/name")?.as_str()
}

/// Generation of the pool of a specification.
pub fn generation(spec: &Value) -> Option<i64> {
    spec.pointer("/pool/generation")?.as_i64()
}

#[cfg(test)]
mod tests;
