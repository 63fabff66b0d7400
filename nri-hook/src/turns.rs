//! One piece of work on a claim at a time; work on different claims does not wait for each other.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use network_driver_common::model::ClaimUid;
use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, claim by claim.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// A std mutex: no await is held.
    locks: Mutex<HashMap<ClaimUid, Weak<tokio::sync::Mutex<()>>>>,
}

/// The turn of some claims; it ends when dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn {
    _guards: Vec<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn of all these claims.
    ///
    /// # Cancel safety
    /// Dropped midway, no turn is held.
    pub(crate) async fn take(&self, claims: &BTreeSet<ClaimUid>) -> Turn {
        let mut guards = Vec::with_capacity(claims.len());
        // In the order of the set, so that two that want the same claims cannot wait for each other.
        for claim in claims {
            guards.push(self.lock_of(claim).lock_owned().await);
        }
        Turn { _guards: guards }
    }

    fn lock_of(&self, claim: &ClaimUid) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(claim).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::<tokio::sync::Mutex<()>>::default();
        locks.insert(claim.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn claims(uids: &[&str]) -> BTreeSet<ClaimUid> {
        uids.iter().map(|uid| uid.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn only_work_on_the_same_claim_waits() {
        let turns = Turns::default();
        let first = turns.take(&claims(&["a", "b"])).await;
        assert!(turns.take(&claims(&["b", "c"])).now_or_never().is_none());
        assert!(
            turns.take(&claims(&["c"])).now_or_never().is_some(),
            "nothing is held midway"
        );
        drop(first);
        assert!(turns.take(&claims(&["b", "c"])).now_or_never().is_some());
        drop(turns.take(&claims(&["d"])).await);
        assert_eq!(
            turns.locks.lock().unwrap().len(),
            1,
            "nothing is kept of claims at rest"
        );
    }
}
