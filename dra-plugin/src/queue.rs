//! Work that is due later, at most one piece for each claim: a newer piece replaces the one that waits. Work that
//! fails is tried again, later each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use network_driver_common::bus::Backoff;
use network_driver_common::model::ClaimUid;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most claims with work waiting.
const MAX: usize = 1024;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_mins(1);

/// The queue; clones share it. One task takes from it.
#[derive(Debug)]
pub(crate) struct ClaimQueue<W> {
    shared: Arc<Shared<W>>,
}

impl<W> Clone for ClaimQueue<W> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<W> Default for ClaimQueue<W> {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    waiting: BTreeMap::new(),
                    next_version: 0,
                }),
                added: Notify::new(),
            }),
        }
    }
}

#[derive(Debug)]
struct Shared<W> {
    /// A std mutex: held for a map access, never over an await.
    state: Mutex<State<W>>,
    added: Notify,
}

#[derive(Debug)]
struct State<W> {
    waiting: BTreeMap<ClaimUid, Waiting<W>>,
    next_version: u64,
}

#[derive(Debug)]
struct Waiting<W> {
    work: W,
    due: Instant,
    version: u64,
    backoff: Backoff,
}

/// Work that is due. It stays in the queue until it is done.
#[derive(Debug)]
pub(crate) struct Due<W> {
    /// The claim.
    pub uid: ClaimUid,
    /// What is to be done.
    pub work: W,
    version: u64,
}

impl<W: Clone> ClaimQueue<W> {
    /// Adds work for a claim, due after a delay, instead of what waits for it. Returns whether there was room; where
    /// there is none the work is dropped.
    pub(crate) fn push(&self, uid: ClaimUid, work: W, delay: Duration) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= MAX && !state.waiting.contains_key(&uid) {
            return false;
        }
        state.next_version = state.next_version.wrapping_add(1);
        let waiting = Waiting {
            work,
            due: later(delay),
            version: state.next_version,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
        };
        state.waiting.insert(uid, waiting);
        drop(state);
        self.shared.added.notify_one();
        true
    }

    /// Adds work for a claim, due now, that is made of the work that waits for it, which may be under way. Returns
    /// whether there was room.
    pub(crate) fn revise(&self, uid: &ClaimUid, revise: impl FnOnce(Option<&W>) -> W) -> bool {
        let work = {
            let state = self.lock();
            revise(state.waiting.get(uid).map(|waiting| &waiting.work))
        };
        self.push(uid.clone(), work, Duration::ZERO)
    }

    /// Waits for work that is due.
    pub(crate) async fn next(&self) -> Due<W> {
        loop {
            let wait_until = match self.first() {
                Some((due, first)) if due <= Instant::now() => return first,
                Some((due, _)) => due,
                None => later(LAST_RETRY),
            };
            tokio::select! {
                () = tokio::time::sleep_until(wait_until) => {}
                () = self.shared.added.notified() => {}
            }
        }
    }

    /// The work is done; newer work of the claim stays.
    pub(crate) fn done(&self, due: &Due<W>) {
        let mut state = self.lock();
        let same = |waiting: &Waiting<W>| waiting.version == due.version;
        if state.waiting.get(&due.uid).is_some_and(same) {
            state.waiting.remove(&due.uid);
        }
    }

    /// The work failed: it is due again later, after `at_least`.
    pub(crate) fn retry(&self, due: &Due<W>, at_least: Option<Duration>) {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.get_mut(&due.uid)
            && waiting.version == due.version
        {
            let wait = waiting.backoff.next_wait();
            waiting.due = later(wait.max(at_least.unwrap_or_default()));
        }
    }

    /// Drops the work that waits for a claim.
    pub(crate) fn forget(&self, uid: &ClaimUid) {
        self.lock().waiting.remove(uid);
    }

    /// How many claims have work waiting.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn first(&self) -> Option<(Instant, Due<W>)> {
        let state = self.lock();
        let (uid, waiting) = state
            .waiting
            .iter()
            .min_by_key(|(_, waiting)| waiting.due)?;
        let due = Due {
            uid: uid.clone(),
            work: waiting.work.clone(),
            version: waiting.version,
        };
        Some((waiting.due, due))
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn later(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(text: &str) -> ClaimUid {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn newer_work_replaces_the_work_that_waits() {
        let queue = ClaimQueue::default();
        queue.push(uid("a"), 1, Duration::from_secs(5));
        queue.push(uid("a"), 2, Duration::ZERO);
        let due = queue.next().await;
        assert_eq!((due.uid.as_str(), due.work), ("a", 2));
        queue.push(uid("a"), 3, Duration::ZERO);
        queue.done(&due);
        assert_eq!(queue.next().await.work, 3, "newer work outlives the older");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_revised_while_it_is_under_way_is_done_again() {
        let queue = ClaimQueue::default();
        queue.revise(&uid("a"), |waiting| waiting.copied().unwrap_or(10) + 1);
        let due = queue.next().await;
        assert_eq!(due.work, 11);
        queue.revise(&uid("a"), |waiting| waiting.copied().unwrap_or(10) + 1);
        queue.done(&due);
        assert_eq!(queue.next().await.work, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn work_comes_when_it_is_due_and_again_after_a_failure() {
        let queue = ClaimQueue::default();
        let start = Instant::now();
        queue.push(uid("late"), "late", Duration::from_secs(100));
        queue.push(uid("soon"), "soon", Duration::from_secs(1));
        let due = queue.next().await;
        assert_eq!(due.work, "soon");
        queue.retry(&due, None);
        let again = queue.next().await;
        assert_eq!(again.work, "soon");
        assert!(start.elapsed() >= Duration::from_millis(1250));
        queue.retry(&again, Some(Duration::from_secs(200)));
        assert_eq!(queue.next().await.work, "late");
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_waiting_claims_is_bounded() {
        let queue = ClaimQueue::default();
        for n in 0..MAX {
            assert!(queue.push(uid(&n.to_string()), n, Duration::ZERO));
        }
        assert!(!queue.push(uid("more"), 0, Duration::ZERO));
        assert!(queue.push(uid("7"), 0, Duration::ZERO));
        queue.forget(&uid("7"));
        assert!(queue.push(uid("more"), 0, Duration::ZERO));
    }
}
