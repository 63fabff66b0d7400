//! One call at a time for each claim; calls for different claims do not wait for each other. An unprepare gives up
//! the prepares of its claim that have begun; one that begins later is ordinary, for a named claim serves one pod after
//! another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use network_driver_common::model::ClaimUid;
use tokio_util::sync::CancellationToken;

/// Who may work on which claim. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    /// A std mutex: held for a map access, never over an await.
    claims: Arc<Mutex<HashMap<ClaimUid, Claim>>>,
}

#[derive(Debug, Default)]
struct Claim {
    /// Calls that wait or work.
    calls: usize,
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Gives up the prepares that have begun until now.
    give_up: CancellationToken,
}

/// A call's place in the line of its claim; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    uid: ClaimUid,
    lock: Arc<tokio::sync::Mutex<()>>,
    give_up: CancellationToken,
}

impl Turns {
    /// A place for a call that an unprepare gives up.
    pub(crate) fn prepare(&self, uid: &ClaimUid) -> Turn {
        self.enter(uid, false)
    }

    /// A place for an unprepare: the prepares before it are given up.
    pub(crate) fn unprepare(&self, uid: &ClaimUid) -> Turn {
        self.enter(uid, true)
    }

    fn enter(&self, uid: &ClaimUid, give_up: bool) -> Turn {
        let mut claims = self.lock();
        let claim = claims.entry(uid.clone()).or_default();
        if give_up {
            std::mem::take(&mut claim.give_up).cancel();
        }
        claim.calls = claim.calls.saturating_add(1);
        Turn {
            turns: self.clone(),
            uid: uid.clone(),
            lock: Arc::clone(&claim.lock),
            give_up: claim.give_up.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimUid, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until it is this call's turn, which it is as long as the guard lives.
    pub(crate) async fn wait(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lock.lock().await
    }

    /// Returns when an unprepare of the claim has come after this call.
    pub(crate) async fn given_up(&self) {
        self.give_up.cancelled().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut claims = self.turns.lock();
        if let Some(claim) = claims.get_mut(&self.uid) {
            claim.calls = claim.calls.saturating_sub(1);
            if claim.calls == 0 {
                claims.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn uid(text: &str) -> ClaimUid {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn calls_for_one_claim_take_turns_and_others_do_not_wait() {
        let turns = Turns::default();
        let (first, second) = (turns.prepare(&uid("a")), turns.prepare(&uid("a")));
        let other = turns.prepare(&uid("b"));
        let guard = first.wait().await;
        assert!(second.wait().now_or_never().is_none());
        assert!(other.wait().now_or_never().is_some());
        drop(guard);
        assert!(second.wait().now_or_never().is_some());
        drop((first, second, other));
        assert!(turns.lock().is_empty(), "nothing is kept of claims at rest");
    }

    #[tokio::test]
    async fn an_unprepare_gives_up_the_prepares_before_it_and_none_after_it() {
        let turns = Turns::default();
        let (running, waiting) = (turns.prepare(&uid("a")), turns.prepare(&uid("a")));
        let other = turns.prepare(&uid("b"));
        let unprepare = turns.unprepare(&uid("a"));
        let later = turns.prepare(&uid("a"));
        assert!(running.given_up().now_or_never().is_some());
        assert!(waiting.given_up().now_or_never().is_some());
        for spared in [&other, &unprepare, &later] {
            assert!(spared.given_up().now_or_never().is_none());
        }
    }
}
