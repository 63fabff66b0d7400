//! What happens to claims when the runtime says what happens to pods. Attaches before a pod's containers can be
//! created, detaches when the pod has ended, refuses a container whose claim is not there.
//!
//! ```text
//!  runtime ──► events ──┐           ┌──► devices (kernel)
//!  dra-plugin ► orders ─┼► attach ──┼──► cdi (ids)
//!  timer ───► catch_up ─┤  detach   └──► reports ──► dra-plugin
//!  links ──► reconcile ─┘
//! ```
//! Every piece of work holds the turn of its claims, and looks again at what it knew before it had it.

mod adopt;
mod attach;
mod catch_up;
mod detach;
mod dump;
mod events;
mod left_behind;
mod orders;
mod reconcile;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use network_driver_common::model::{ClaimUid, Record};
use tokio::sync::Notify;
use tokio::task::JoinError;
use tracing::Span;

use crate::cdi;
use crate::confirmation::Confirmation;
use crate::devices::Devices;
use crate::metrics::Metrics;
use crate::records::{HealthBoard, Records, Reports};
use crate::sandbox::Sandboxes;
use crate::turns::Turns;

pub(crate) use dump::Dump;
#[cfg(test)]
pub(crate) use dump::{AttachedRow, InterfaceRow};
use left_behind::LeftBehind;
use reconcile::Doubts;
pub(crate) use reconcile::Watch;

/// The hook.
pub(crate) struct Hook<D> {
    pub(crate) records: Records,
    pub(crate) reports: Reports,
    pub(crate) health: HealthBoard,
    pub(crate) confirmation: Confirmation,
    pub(crate) metrics: Metrics,
    pub(crate) sandboxes: Sandboxes,
    devices: Arc<D>,
    cdi: cdi::Directory,
    turns: Turns,
    /// Held while a list of the runtime is worked through: one after another.
    adopting: tokio::sync::Mutex<()>,
    /// A list of the runtime has been worked through: what an earlier life of this process lent is known.
    adopted: AtomicBool,
    /// Something may have become possible that was not.
    changed: Notify,
    /// What is out may no longer be as it was left.
    doubts: Arc<Doubts>,
    left_behind: LeftBehind,
    boot_id: String,
}

impl<D> fmt::Debug for Hook<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("sandboxes", &self.sandboxes)
            .finish_non_exhaustive()
    }
}

impl<D: Devices> Hook<D> {
    /// A hook that knows nothing yet. `boot_id` is `/proc/sys/kernel/random/boot_id`.
    pub(crate) fn new(
        devices: Arc<D>,
        cdi: cdi::Directory,
        metrics: Metrics,
        boot_id: String,
    ) -> Self {
        Self {
            records: Records::default(),
            reports: Reports::default(),
            health: HealthBoard::default(),
            confirmation: Confirmation::new(false),
            metrics,
            sandboxes: Sandboxes::default(),
            devices,
            cdi,
            turns: Turns::default(),
            adopting: tokio::sync::Mutex::default(),
            adopted: AtomicBool::new(false),
            changed: Notify::new(),
            doubts: Arc::default(),
            left_behind: LeftBehind::default(),
            boot_id,
        }
    }

    /// Has it looked soon at what could not be done before.
    pub(crate) fn catch_up_soon(&self) {
        self.changed.notify_one();
    }
}

/// The claims of records.
fn claims_of(records: &[Arc<Record>]) -> BTreeSet<ClaimUid> {
    records
        .iter()
        .map(|record| record.claim.uid.clone())
        .collect()
}

/// Runs what blocks on the kernel or the disk on a thread for that, in the current span. Goes on when dropped.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await
}
