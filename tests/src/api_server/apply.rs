//! Merging: JSON merge patches, and server-side apply of a claim's `status.devices`.

use serde_json::{Map, Value, json};

use crate::json::put;

/// Merges a patch into an object (RFC 7386): `null` removes.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (field, value) in patch {
        if value.is_null() {
            target.remove(field);
        } else {
            merge(target.entry(field).or_insert(Value::Null), value);
        }
    }
}

/// Where `metadata.managedFields` keeps which entries of `status.devices` a manager applied: their keys, in a short
/// form of our own.
const OWNED: &str = "x-owned-devices";

/// Applies the `status.devices` of `applied` for a manager: its entries are added or replaced, those it applied
/// earlier and no longer names are removed, others stay.
///
/// # Errors
/// An entry belongs to another manager, differs, and the apply is not forced.
pub(super) fn apply_status(
    claim: &mut Value,
    applied: &Value,
    manager: &str,
    force: bool,
) -> Result<(), String> {
    let wanted = devices(applied);
    let mut entries = devices(claim);
    let owned_before = owned(claim, manager);
    let wanted_keys: Vec<Value> = wanted.iter().map(key).collect();
    entries
        .retain(|entry| !owned_before.contains(&key(entry)) || wanted_keys.contains(&key(entry)));
    for entry in wanted {
        let slot = entries.iter_mut().find(|old| key(old) == key(&entry));
        match slot {
            None => entries.push(entry),
            Some(old) if owned_before.contains(&key(&entry)) || *old == entry || force => {
                *old = entry;
            }
            Some(_) => return Err(format!("{} is managed by another", key(&entry))),
        }
    }
    put(claim, &["status", "devices"], Value::Array(entries));
    set_owned(claim, manager, &wanted_keys);
    Ok(())
}

fn devices(object: &Value) -> Vec<Value> {
    let list = object.pointer("/status/devices").and_then(Value::as_array);
    list.cloned().unwrap_or_default()
}

/// Key of the map list: driver, pool, device and share.
pub(super) fn key(entry: &Value) -> Value {
    let part = |field: &str| entry.get(field).cloned().unwrap_or_default();
    json!([
        part("driver"),
        part("pool"),
        part("device"),
        part("shareID")
    ])
}

fn owned(claim: &Value, manager: &str) -> Vec<Value> {
    let list = claim
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let of_manager = list.and_then(|l| l.iter().find(|e| e["manager"] == manager));
    let keys = of_manager.and_then(|e| e[OWNED].as_array());
    keys.cloned().unwrap_or_default()
}

fn set_owned(claim: &mut Value, manager: &str, keys: &[Value]) {
    let entry =
        json!({"manager": manager, "operation": "Apply", "subresource": "status", OWNED: keys});
    let list = claim
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let mut list = list.cloned().unwrap_or_default();
    list.retain(|e| e["manager"] != manager);
    list.push(entry);
    put(claim, &["metadata", "managedFields"], Value::Array(list));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(driver: &str, device: &str, name: &str) -> Value {
        json!({"driver": driver, "pool": "p", "device": device, "networkData": {"interfaceName": name}})
    }

    fn status(entries: &[Value]) -> Value {
        json!({"status": {"devices": entries}})
    }

    #[test]
    fn a_manager_replaces_and_removes_its_own_entries_only() {
        let mut claim = json!({"metadata": {}, "status": {"devices": [entry("other", "x", "o")]}});
        let both = status(&[entry("ours", "a", "1"), entry("ours", "b", "2")]);
        apply_status(&mut claim, &both, "us", false).unwrap();
        apply_status(&mut claim, &status(&[entry("ours", "b", "3")]), "us", false).unwrap();
        let left = [entry("other", "x", "o"), entry("ours", "b", "3")];
        assert_eq!(claim["status"]["devices"], json!(left));
    }

    #[test]
    fn anothers_entry_is_a_conflict_unless_forced() {
        let mut claim = json!({"metadata": {}, "status": {"devices": [entry("other", "x", "o")]}});
        let theirs = status(&[entry("other", "x", "changed")]);
        assert!(apply_status(&mut claim, &theirs, "us", false).is_err());
        assert!(apply_status(&mut claim, &theirs, "us", true).is_ok());
    }

    #[test]
    fn a_merge_patch_adds_replaces_and_removes() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut object, &json!({"a": {"b": null, "e": 3}, "d": [2]}));
        assert_eq!(object, json!({"a": {"c": 2, "e": 3}, "d": [2]}));
    }
}
