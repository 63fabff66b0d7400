//! What must be written so that the slices that stand become those that are wanted. Pure.
//!
//! Rules (those of Kubernetes' own slice controller, less needless writes): a pool's generation stays when only one
//! slice changes and their number does not; else it rises by one above the highest seen and every slice is written with
//! it, so that a reader never takes old and new for one pool. Slices of ours that have no place in the pool (a name
//! without index, an index too high, a second one of an index, another pool) are deleted first, then existing ones are
//! updated, then new ones created: a reader ignores the pool until the count is right.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{DynamicObject, ObjectMeta, TypeMeta};
use network_driver_common::model::DriverName;
use network_driver_kubernetes::ResourceApi;
use serde_json::{Value, json};

use super::convert::{self, Frame};

/// Most devices in a slice (`ResourceSliceMaxDevices`).
pub const MAX_DEVICES: usize = 128;

/// Most devices in a slice that holds one with taints (`ResourceSliceMaxDevicesWithTaintsOrConsumesCounters`).
pub const MAX_DEVICES_WITH_TAINTS: usize = 64;

/// Longest prefix that the API server keeps of a `generateName`: 63 less the five characters that it adds.
const MAX_BASE_BYTES: usize = 58;

/// Whose slices they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Version that the API server serves.
    pub api: ResourceApi,
    /// Name of the driver.
    pub driver: DriverName,
    /// Name of the node, which is also the pool's.
    pub node: String,
    /// UID of the Node object.
    pub node_uid: String,
}

/// A slice of ours that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Its metadata, without managed fields.
    pub metadata: ObjectMeta,
    /// Its specification.
    pub spec: Value,
}

/// What the server made of what was sent, where that differs: by the index of the slice, sent and stored devices.
/// Such a slice is as good as it gets and is not written again.
pub type Lowered = BTreeMap<usize, (Vec<Value>, Vec<Value>)>;

/// Something to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Delete a slice, if it is still the one we saw.
    Delete {
        /// Its name.
        name: String,
        /// Its UID.
        uid: Option<String>,
        /// Its resource version.
        resource_version: Option<String>,
    },
    /// Replace a slice, if it is still the one we saw.
    Update {
        /// Its place in the pool.
        index: usize,
        /// The whole object.
        object: Box<DynamicObject>,
    },
    /// Create a slice.
    Create {
        /// Its place in the pool.
        index: usize,
        /// The whole object.
        object: Box<DynamicObject>,
    },
}

impl Write {
    /// What it does, for people.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Delete { .. } => "delete",
            Self::Update { .. } => "update",
            Self::Create { .. } => "create",
        }
    }
}

impl Owner {
    /// The object of a new slice.
    fn new_slice(&self, index: usize, spec: &Value) -> DynamicObject {
        let metadata = ObjectMeta {
            generate_name: Some(self.base(index)),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        };
        self.object(metadata, spec)
    }

    fn object(&self, metadata: ObjectMeta, spec: &Value) -> DynamicObject {
        DynamicObject {
            types: Some(TypeMeta {
                api_version: self.api.api_version(),
                kind: "ResourceSlice".to_owned(),
            }),
            metadata,
            data: json!({ "spec": spec }),
        }
    }

    /// The node owns its slices: they go with it.
    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: self.node.clone(),
            uid: self.node_uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    /// What a slice's name begins with. The scheduler takes slices by name, so the index keeps their order.
    fn base(&self, index: usize) -> String {
        format!("{index:05x}-{}-{}-", self.driver, self.node)
    }

    /// The place of a slice in our pool, if it has one.
    pub fn index(&self, slice: &Standing) -> Option<usize> {
        if convert::pool(&slice.spec) != Some(&self.node) {
            return None;
        }
        let name = slice.metadata.name.as_deref()?;
        let (digits, _) = name.split_once('-')?;
        let index = usize::from_str_radix(digits, 16).ok()?;
        let base = self.base(index);
        let kept = base.get(..MAX_BASE_BYTES).unwrap_or(&base);
        name.starts_with(kept).then_some(index)
    }

    /// The devices of the pool as it stands, by name.
    pub fn standing_devices(&self, standing: &[&Standing]) -> BTreeMap<String, Value> {
        let ours = standing.iter().copied();
        let ours = ours.filter(|slice| self.index(slice).is_some());
        let newest = ours
            .clone()
            .filter_map(|s| convert::generation(&s.spec))
            .max();
        let ours = ours.filter(|slice| convert::generation(&slice.spec) == newest);
        let devices = ours.flat_map(|slice| convert::devices(&slice.spec));
        devices
            .filter_map(|entry| Some((convert::device_name(entry)?.to_owned(), entry.clone())))
            .collect()
    }
}

/// What must be written, in order. `devices` are the entries wanted, in a stable order.
pub fn plan(
    owner: &Owner,
    standing: &[&Standing],
    devices: &[Value],
    lowered: &Lowered,
) -> Vec<Write> {
    let wanted = chunks(owner.api, devices);
    let (places, obsolete) = places(owner, standing, wanted.len());
    let highest = standing
        .iter()
        .filter(|slice| convert::pool(&slice.spec) == Some(&owner.node))
        .filter_map(|slice| convert::generation(&slice.spec))
        .max();
    let frame = |generation| Frame {
        driver: &owner.driver,
        node: &owner.node,
        generation,
        count: wanted.len(),
    };
    let kept = frame(highest.unwrap_or_default());
    let is_right = |index: usize, devices: &[Value]| {
        places.get(&index).is_some_and(|slice| {
            let references = slice.metadata.owner_references.as_deref();
            references == Some(&[owner.reference()])
                && is_spec(&slice.spec, kept, index, devices, lowered)
        })
    };
    let numbered = wanted.iter().copied().enumerate();
    let wrong: Vec<_> = numbered.clone().filter(|(i, d)| !is_right(*i, d)).collect();
    let recount = places
        .values()
        .any(|slice| slice.spec.pointer("/pool/resourceSliceCount") != Some(&json!(wanted.len())));
    let raise = wrong.len() > 1 || places.len() < wanted.len() || recount;
    let (frame, written) = if raise {
        let generation = highest.unwrap_or_default().saturating_add(1);
        (frame(generation), numbered.collect())
    } else {
        (kept, wrong)
    };
    let mut writes: Vec<Write> = obsolete.into_iter().map(delete).collect();
    let mut creates = Vec::new();
    for (index, devices) in written {
        let spec = convert::spec(frame, devices);
        match places.get(&index) {
            Some(slice) => writes.push(Write::Update {
                index,
                object: Box::new(update(owner, slice, index, &spec)),
            }),
            None => creates.push(Write::Create {
                index,
                object: Box::new(owner.new_slice(index, &spec)),
            }),
        }
    }
    writes.append(&mut creates);
    writes
}

/// The devices of each slice: as many as may be, and at least one slice.
fn chunks(api: ResourceApi, devices: &[Value]) -> Vec<&[Value]> {
    let is_tainted = |device: &Value| !convert::taints(api, device).is_empty();
    let (mut chunks, mut rest) = (Vec::new(), devices);
    while !rest.is_empty() || chunks.is_empty() {
        let most = rest.len().min(MAX_DEVICES);
        let first = rest.iter().take(most).position(is_tainted);
        let length = match first {
            // Those before it fill a slice that needs no such bound.
            Some(first) => first.max(MAX_DEVICES_WITH_TAINTS.min(most)),
            None => most,
        };
        let (chunk, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

/// The slices that have a place in a pool of `count`, by index, and those that have none.
fn places<'a>(
    owner: &Owner,
    standing: &[&'a Standing],
    count: usize,
) -> (BTreeMap<usize, &'a Standing>, Vec<&'a Standing>) {
    let mut places: BTreeMap<usize, &Standing> = BTreeMap::new();
    let mut obsolete = Vec::new();
    for slice in standing.iter().copied() {
        let Some(index) = owner.index(slice).filter(|index| *index < count) else {
            obsolete.push(slice);
            continue;
        };
        // Of two with one index the newer stays, so that readers lose nothing.
        let rank = |s: &Standing| (convert::generation(&s.spec), s.metadata.name.clone());
        match places.get(&index) {
            Some(other) if rank(other) >= rank(slice) => obsolete.push(slice),
            Some(_) | None => obsolete.extend(places.insert(index, slice)),
        }
    }
    (places, obsolete)
}

fn is_spec(
    spec: &Value,
    frame: Frame<'_>,
    index: usize,
    devices: &[Value],
    lowered: &Lowered,
) -> bool {
    if *spec == convert::spec(frame, devices) {
        return true;
    }
    lowered
        .get(&index)
        .is_some_and(|(sent, stored)| sent == devices && *spec == convert::spec(frame, stored))
}

fn delete(slice: &Standing) -> Write {
    Write::Delete {
        name: slice.metadata.name.clone().unwrap_or_default(),
        uid: slice.metadata.uid.clone(),
        resource_version: slice.metadata.resource_version.clone(),
    }
}

/// The slice with another specification; labels and annotations that others put there stay.
fn update(owner: &Owner, slice: &Standing, index: usize, spec: &Value) -> DynamicObject {
    let metadata = ObjectMeta {
        owner_references: Some(vec![owner.reference()]),
        generate_name: Some(owner.base(index)),
        ..slice.metadata.clone()
    };
    owner.object(metadata, spec)
}

#[cfg(test)]
mod tests;
