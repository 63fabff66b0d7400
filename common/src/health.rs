//! Whether a daemon is ready, part by part, with a reason for each part that is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Readiness of a daemon. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// Part → why it is not ready; `None` when it is. A std mutex: no await is held.
    parts: Arc<Mutex<BTreeMap<&'static str, Option<String>>>>,
}

/// One part of a daemon, such as its connection to the kubelet.
#[derive(Debug, Clone)]
pub struct Part {
    health: Health,
    name: &'static str,
}

/// A part as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartState {
    /// Name of the part.
    pub name: &'static str,
    /// Why it is not ready; `None` when it is.
    pub reason: Option<String>,
}

impl Health {
    /// Adds a part, not ready because it is starting. A part of that name that exists is returned as it is.
    pub fn part(&self, name: &'static str) -> Part {
        self.lock()
            .entry(name)
            .or_insert_with(|| Some("starting".to_owned()));
        Part {
            health: self.clone(),
            name,
        }
    }

    /// All parts by name.
    pub fn parts(&self) -> Vec<PartState> {
        let parts = self.lock();
        parts
            .iter()
            .map(|(name, reason)| PartState {
                name,
                reason: reason.clone(),
            })
            .collect()
    }

    /// Whether every part is ready.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(Option::is_none)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// The part is ready.
    pub fn ready(&self) {
        self.health.lock().insert(self.name, None);
    }

    /// The part is not ready, for a reason that a person understands.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.health.lock().insert(self.name, Some(why.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_ready_when_all_its_parts_are() {
        let health = Health::default();
        let (kubelet, store) = (health.part("kubelet"), health.part("store"));
        kubelet.ready();
        assert!(!health.is_ready());
        store.not_ready("locked");
        assert_eq!(
            health.parts()[1],
            PartState {
                name: "store",
                reason: Some("locked".into())
            }
        );
        store.ready();
        assert!(health.is_ready());
        assert!(
            health.part("store").health.is_ready(),
            "an existing part keeps its state"
        );
    }
}
