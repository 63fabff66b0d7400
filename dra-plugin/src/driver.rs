//! What a call of the kubelet, a report of the hook and the work that follows from them have to do with.

use std::sync::Arc;

use network_driver_common::model::{ClaimUid, DriverName};

use crate::claim::{Attempts, ClaimReader, Refresher, Turns};
use crate::events::Events;
use crate::health::HealthBook;
use crate::hook::Hook;
use crate::inventory::Inventory;
use crate::metrics::Metrics;
use crate::status::StatusQueue;
use crate::store::Book;

/// The driver on this node.
#[derive(Debug)]
pub(crate) struct Driver {
    /// Name of the driver.
    pub name: DriverName,
    /// Name of this node, and of its pool.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Claims as the API server has them.
    pub claims: Arc<ClaimReader>,
    /// Claims as we have prepared them.
    pub book: Book,
    /// The hook.
    pub hook: Arc<Hook>,
    /// Devices of this node.
    pub inventory: Arc<Inventory>,
    /// How devices are in their pods.
    pub health: Arc<HealthBook>,
    /// Who works on which claim.
    pub turns: Turns,
    /// Prepares that failed.
    pub attempts: Attempts,
    /// Claims whose pods are to be read again.
    pub refresher: Refresher,
    /// Claims whose status is to be written.
    pub status: StatusQueue,
    /// Events.
    pub events: Events,
    /// Metrics.
    pub metrics: Metrics,
}

impl Driver {
    /// The CDI device that a claim's containers get. nri-hook defines it while the claim is attached.
    pub(crate) fn cdi_id(&self, claim: &ClaimUid) -> String {
        format!("{}/claim={claim}", self.name)
    }
}
