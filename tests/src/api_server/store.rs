//! Objects, their resource versions, and who watches them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::path::Kind;
use crate::json::child;

/// What names an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.map(ToOwned::to_owned),
            name: name.to_owned(),
        }
    }

    fn of(kind: Kind, object: &Value) -> Self {
        let meta = |field: &str| object.pointer(&format!("/metadata/{field}"));
        Self::new(
            kind,
            meta("namespace").and_then(Value::as_str),
            meta("name").and_then(Value::as_str).unwrap_or_default(),
        )
    }
}

/// A line of a watch: what happened to which object.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) what: &'static str,
    pub(super) object: Value,
}

#[derive(Debug)]
struct Watcher {
    kind: Kind,
    /// Both an end and a failure of the watch are told here.
    tell: mpsc::UnboundedSender<Change>,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<ObjectKey, Value>,
    /// Every change ever, with its resource version: a watch may begin at any.
    history: Vec<(u64, Kind, Change)>,
    watchers: Vec<Watcher>,
}

impl Store {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn read(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(key)
    }

    pub(super) fn keys(&self, kind: Kind) -> Vec<ObjectKey> {
        let keys = self.objects.keys();
        keys.filter(|key| key.kind == kind).cloned().collect()
    }

    pub(super) fn list(&self, kind: Kind) -> Vec<Value> {
        let entries = self.objects.iter().filter(|(key, _)| key.kind == kind);
        entries.map(|(_, object)| object.clone()).collect()
    }

    /// Creates or replaces; fills in UID, creation time and resource version. A write without a change is none, as
    /// on the real server.
    pub(super) fn put(&mut self, kind: Kind, mut object: Value) -> Value {
        let key = ObjectKey::of(kind, &object);
        let before = self.objects.get(&key);
        let meta = metadata(&mut object);
        for (field, default) in [
            ("uid", new_uid()),
            ("creationTimestamp", "2026-01-01T00:00:00Z".to_owned()),
        ] {
            let old = before.and_then(|o| o.pointer(&format!("/metadata/{field}")));
            let value = old.cloned();
            if let Some(value) = value {
                meta.insert(field.to_owned(), value);
            } else {
                meta.entry(field).or_insert(default.into());
            }
        }
        if let Some(before) = before {
            let version = before.pointer("/metadata/resourceVersion").cloned();
            meta.insert("resourceVersion".to_owned(), version.unwrap_or_default());
            if *before == object {
                return object;
            }
        }
        self.version = self.version.saturating_add(1);
        let what = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        metadata(&mut object).insert("resourceVersion".into(), self.version.to_string().into());
        self.objects.insert(key, object.clone());
        self.announce(kind, what, object.clone());
        object
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Value> {
        let mut object = self.objects.remove(key)?;
        self.version = self.version.saturating_add(1);
        metadata(&mut object).insert("resourceVersion".into(), self.version.to_string().into());
        self.announce(key.kind, "DELETED", object.clone());
        Some(object)
    }

    fn announce(&mut self, kind: Kind, what: &'static str, object: Value) {
        let change = Change { what, object };
        self.watchers
            .retain(|w| w.kind != kind || w.tell.send(change.clone()).is_ok());
        self.history.push((self.version, kind, change));
    }

    /// Everything after a resource version, then what happens.
    pub(super) fn watch(&mut self, kind: Kind, after: u64) -> mpsc::UnboundedReceiver<Change> {
        let (tell, changes) = mpsc::unbounded_channel();
        for (version, of, change) in &self.history {
            if *version > after && *of == kind {
                // The receiver is here.
                drop(tell.send(change.clone()));
            }
        }
        self.watchers.push(Watcher { kind, tell });
        changes
    }

    pub(super) fn end_watches(&mut self) {
        self.watchers.clear();
    }

    pub(super) fn expire_watches(&mut self) {
        let object = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": 410, "reason": "Expired", "message": "too old resource version",
        });
        for watcher in self.watchers.drain(..) {
            let what = "ERROR";
            let object = object.clone();
            // A watch that has gone has nothing to lose.
            drop(watcher.tell.send(Change { what, object }));
        }
    }
}

/// The metadata of an object; made when it has none.
pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    let meta = child(object, "metadata");
    if !meta.is_object() {
        *meta = json!({});
    }
    match meta {
        Value::Object(meta) => meta,
        _ => unreachable!("it was made an object"),
    }
}

/// A UID that no other object of this process has.
pub(super) fn new_uid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("00000000-0000-4000-8000-{number:012x}")
}
