//! Pods of a prepared claim, read again. The kubelet prepares a claim once, however many pods use it: a pod that comes
//! later shows only in `reservedFor`. It is read again when the hook has detached the claim and no unprepare follows,
//! and when the hook could not attach it; and every now and then as long as its devices are in no pod, for the first pod may
//! end before it got them, of which nobody tells.

use std::time::Duration;

use network_driver_common::error::sentence;
use network_driver_common::model::ClaimUid;
use tracing::{debug, info};

use super::turn::Turn;
use super::{AllocatedClaim, PrepareError, ReadClaimError};
use crate::driver::Driver;
use crate::queue::ClaimQueue;

/// Between two rounds over claims whose devices are in no pod.
const PERIOD: Duration = Duration::from_secs(30);

/// Most claims of a round: each is a request to the API server.
const ROUND: usize = 16;

/// Claims whose pods are to be read again. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refresher {
    queue: ClaimQueue<()>,
}

impl Refresher {
    /// Has the claim's pods read again after a delay; asking twice is asking once.
    pub(crate) fn ask(&self, uid: &ClaimUid, delay: Duration) {
        if !self.queue.push(uid.clone(), (), delay) {
            debug!(claimUID = %uid, "pods of the claim not read again: too many claims are waiting");
        }
    }

    /// The claim is gone.
    pub(crate) fn forget(&self, uid: &ClaimUid) {
        self.queue.forget(uid);
    }
}

/// Reads again what the refresher is asked for. Never ends.
pub(crate) async fn refresh(driver: &Driver) -> std::convert::Infallible {
    let queue = &driver.refresher.queue;
    loop {
        let due = queue.next().await;
        match driver.refresh_pods(&due.uid).await {
            Ok(()) => queue.done(&due),
            Err(error) => {
                debug!(claimUID = %due.uid, err = sentence(&error), "pods of the claim not read again; will retry");
                queue.retry(&due, None);
            }
        }
    }
}

/// Asks for claims whose devices are in no pod, some at a time. Never ends.
pub(crate) async fn ask_again(driver: &Driver) -> std::convert::Infallible {
    let mut period = tokio::time::interval(PERIOD);
    let mut last = None;
    loop {
        period.tick().await;
        last = driver.ask_round(last.as_ref());
    }
}

impl Driver {
    /// Asks for the claims of a round, those behind this one; returns the last of them, `None` when all had their turn.
    pub(crate) fn ask_round(&self, after: Option<&ClaimUid>) -> Option<ClaimUid> {
        let records = self.book.records();
        let behind = |uid: &ClaimUid| after.is_none_or(|after| uid > after);
        let waiting = records
            .iter()
            .filter(|record| record.sandbox.is_none())
            .map(|record| &record.claim.uid)
            .filter(|uid| behind(uid));
        let round: Vec<_> = waiting.take(ROUND).collect();
        for uid in &round {
            self.refresher.ask(uid, Duration::ZERO);
        }
        round
            .get(ROUND.saturating_sub(1))
            .map(|last| (*last).clone())
    }

    async fn refresh_pods(&self, uid: &ClaimUid) -> Result<(), PrepareError> {
        let turn = self.turns.prepare(uid);
        tokio::select! {
            biased;
            () = turn.given_up() => Ok(()),
            done = self.refresh_in_turn(uid, &turn) => done,
        }
    }

    async fn refresh_in_turn(&self, uid: &ClaimUid, turn: &Turn) -> Result<(), PrepareError> {
        let _turn = turn.wait().await;
        let record = self.book.settled(uid).await.map_err(PrepareError::Store)?;
        let Some(record) = record else { return Ok(()) };
        let object = match self.claims.read(&record.claim).await {
            // The kubelet will unprepare it.
            Err(ReadClaimError::NotFound { .. }) => return Ok(()),
            object => object.map_err(PrepareError::Read)?,
        };
        let Ok(claim) = AllocatedClaim::parse(&record.claim, &object, &self.name) else {
            return Ok(());
        };
        let changed = claim.pods != record.pods;
        let pods = claim.pods;
        let updated = self.book.update(uid, move |record| record.pods = pods);
        let Some(record) = updated.await.map_err(PrepareError::Store)? else {
            return Ok(());
        };
        if changed {
            info!(claim = %record.claim, claimUID = %uid, pods = record.pods.len(), "pods of the claim have changed");
        }
        self.hook.commit(&record).await?;
        Ok(())
    }
}
