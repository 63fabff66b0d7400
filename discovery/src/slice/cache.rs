//! Our slices as they stand: what the watch shows, and what we wrote that it has not shown yet, so that nothing is
//! created twice. Small: a few slices, without managed fields.

use std::collections::BTreeMap;
use std::time::Instant;

use kube::core::DynamicObject;
use kube::runtime::watcher::Event;
use serde_json::Value;

use super::plan::{Owner, Standing};

/// What a watch event did to our slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    /// Nothing that we did not know.
    Nothing,
    /// One is not what it was, or all are known now.
    Changed,
    /// Somebody else deleted one.
    Deleted,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    slices: BTreeMap<String, Cached>,
    /// A list that is coming in, and when it began.
    listing: Option<(Instant, BTreeMap<String, Standing>)>,
    synced: bool,
}

#[derive(Debug)]
struct Cached {
    slice: Standing,
    /// When we wrote it ourselves.
    written: Option<Instant>,
}

impl Cache {
    /// Whether a whole list has come in.
    pub(super) fn is_synced(&self) -> bool {
        self.synced
    }

    /// All slices of ours, by name.
    pub(super) fn slices(&self) -> Vec<&Standing> {
        self.slices.values().map(|cached| &cached.slice).collect()
    }

    /// Takes a watch event.
    pub(super) fn apply(
        &mut self,
        owner: &Owner,
        event: Event<DynamicObject>,
        now: Instant,
    ) -> Seen {
        match event {
            Event::Init => {
                self.listing = Some((now, BTreeMap::new()));
                Seen::Nothing
            }
            Event::InitApply(object) => {
                if let (Some((name, slice)), Some((_, found))) =
                    (ours(owner, object), &mut self.listing)
                {
                    found.insert(name, slice);
                }
                Seen::Nothing
            }
            Event::InitDone => self.listed(),
            Event::Apply(object) => match ours(owner, object) {
                Some((name, slice)) => self.insert(name, slice),
                None => Seen::Nothing,
            },
            Event::Delete(object) => match ours(owner, object) {
                Some((name, _)) if self.slices.remove(&name).is_some() => Seen::Deleted,
                _ => Seen::Nothing,
            },
        }
    }

    fn listed(&mut self) -> Seen {
        let Some((began, found)) = self.listing.take() else {
            return Seen::Nothing;
        };
        let mut seen = if self.synced {
            Seen::Nothing
        } else {
            Seen::Changed
        };
        self.synced = true;
        // What we wrote after the list was begun need not be in it.
        let before = self.slices.len();
        self.slices.retain(|name, cached| {
            found.contains_key(name) || cached.written.is_some_and(|at| at >= began)
        });
        if self.slices.len() < before {
            seen = Seen::Deleted;
        }
        for (name, slice) in found {
            seen = seen.max(self.insert(name, slice));
        }
        seen
    }

    fn insert(&mut self, name: String, slice: Standing) -> Seen {
        if let Some(known) = self.slices.get(&name)
            && (known.slice == slice || version(&known.slice) > version(&slice))
        {
            return Seen::Nothing;
        }
        let written = None;
        self.slices.insert(name, Cached { slice, written });
        Seen::Changed
    }

    /// Takes what the server answered to our own write.
    pub(super) fn wrote(&mut self, owner: &Owner, object: DynamicObject, now: Instant) {
        if let Some((name, slice)) = ours(owner, object) {
            let written = Some(now);
            self.slices.insert(name, Cached { slice, written });
        }
    }

    /// A slice is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.slices.remove(name);
    }
}

/// Resource versions of one object grow as numbers do.
fn version(slice: &Standing) -> Option<u64> {
    slice.metadata.resource_version.as_deref()?.parse().ok()
}

/// The slice, if it is our driver's and our node's: the server may not know how to select.
fn ours(owner: &Owner, object: DynamicObject) -> Option<(String, Standing)> {
    let DynamicObject {
        mut metadata,
        mut data,
        ..
    } = object;
    let spec = data.get_mut("spec").map(Value::take)?;
    let text = |key| spec.get(key).and_then(Value::as_str);
    if text("driver") != Some(owner.driver.as_str()) || text("nodeName") != Some(&owner.node) {
        return None;
    }
    metadata.managed_fields = None;
    Some((metadata.name.clone()?, Standing { metadata, spec }))
}

#[cfg(test)]
mod tests {
    use network_driver_kubernetes::ResourceApi;
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner {
            api: ResourceApi::V1,
            driver: "d.example.com".parse().unwrap(),
            node: "n".to_owned(),
            node_uid: "u".to_owned(),
        }
    }

    fn slice(name: &str, version: u64) -> DynamicObject {
        let object = json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {
                "name": name,
                "resourceVersion": version.to_string(),
                "managedFields": [{ "manager": "x" }],
            },
            "spec": { "driver": "d.example.com", "nodeName": "n", "v": version },
        });
        serde_json::from_value(object).unwrap()
    }

    fn apply(cache: &mut Cache, event: Event<DynamicObject>, now: Instant) -> Seen {
        cache.apply(&owner(), event, now)
    }

    fn list(cache: &mut Cache, slices: &[DynamicObject], now: Instant) -> Seen {
        apply(cache, Event::Init, now);
        for slice in slices {
            apply(cache, Event::InitApply(slice.clone()), now);
        }
        apply(cache, Event::InitDone, now)
    }

    #[test]
    fn an_echo_of_our_own_write_and_an_older_state_are_nothing_new() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        assert_eq!(list(&mut cache, &[slice("a", 1)], now), Seen::Changed);
        cache.wrote(&owner(), slice("a", 3), now);
        assert_eq!(
            apply(&mut cache, Event::Apply(slice("a", 2)), now),
            Seen::Nothing
        );
        assert_eq!(
            apply(&mut cache, Event::Apply(slice("a", 3)), now),
            Seen::Nothing
        );
        assert_eq!(
            apply(&mut cache, Event::Apply(slice("a", 4)), now),
            Seen::Changed
        );
        assert_eq!(cache.slices()[0].metadata.managed_fields, None);
    }

    #[test]
    fn a_new_list_drops_what_is_gone_but_not_what_was_written_since_it_began() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        list(&mut cache, &[slice("a", 1), slice("b", 2)], start);
        apply(&mut cache, Event::Init, start);
        cache.wrote(&owner(), slice("c", 3), start);
        apply(&mut cache, Event::InitApply(slice("a", 1)), start);
        assert_eq!(apply(&mut cache, Event::InitDone, start), Seen::Deleted);
        let names: Vec<_> = cache
            .slices()
            .into_iter()
            .map(|s| s.metadata.name.clone())
            .collect();
        assert_eq!(names, [Some("a".to_owned()), Some("c".to_owned())]);
        let later = start + std::time::Duration::from_secs(1);
        assert_eq!(list(&mut cache, &[], later), Seen::Deleted);
        assert!(cache.slices().is_empty());
    }

    #[test]
    fn slices_of_others_are_not_kept_when_the_server_does_not_select() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let mut of_other_node = slice("a", 1);
        of_other_node.data["spec"]["nodeName"] = json!("m");
        let mut of_other_driver = slice("b", 1);
        of_other_driver.data["spec"]["driver"] = json!("e.example.com");
        list(&mut cache, &[of_other_node.clone(), of_other_driver], now);
        assert!(cache.is_synced() && cache.slices().is_empty());
        assert_eq!(
            apply(&mut cache, Event::Delete(of_other_node), now),
            Seen::Nothing
        );
    }

    #[test]
    fn a_deletion_by_others_is_seen_and_our_own_is_not() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        list(&mut cache, &[slice("a", 1), slice("b", 2)], now);
        assert_eq!(
            apply(&mut cache, Event::Delete(slice("a", 3)), now),
            Seen::Deleted
        );
        cache.forget("b");
        assert_eq!(
            apply(&mut cache, Event::Delete(slice("b", 4)), now),
            Seen::Nothing
        );
    }
}
