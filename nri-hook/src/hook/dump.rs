//! The hook's inner state for people: what `nri-hook sandboxes` and `nri-hook dump` show.

use network_driver_common::model::Record;
use serde::{Deserialize, Serialize};

use super::Hook;
use crate::devices::Devices;
use crate::nri::Phase;
use crate::sandbox::{Holding, HoldingState};

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dump {
    /// State of the connection to the runtime.
    pub(crate) runtime: String,
    /// Sandboxes that the runtime told us of and that have not ended.
    pub(crate) known_sandboxes: usize,
    /// Claims whose devices are out.
    pub(crate) attached: Vec<AttachedRow>,
    /// Records held.
    pub(crate) records: Vec<RecordRow>,
}

/// A claim in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttachedRow {
    pub(crate) claim: String,
    pub(crate) claim_uid: String,
    /// `namespace/name`; empty when unknown.
    pub(crate) pod: String,
    pub(crate) sandbox: String,
    /// `attached` or `leaving`.
    pub(crate) state: String,
    pub(crate) interfaces: Vec<InterfaceRow>,
}

/// An interface in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InterfaceRow {
    pub(crate) device: String,
    pub(crate) home_name: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
}

/// A held record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordRow {
    pub(crate) claim: String,
    pub(crate) claim_uid: String,
    pub(crate) pod_uids: Vec<String>,
    pub(crate) devices: Vec<String>,
    pub(crate) committed: bool,
}

impl<D: Devices> Hook<D> {
    /// The state as it is now, in a stable order.
    pub(crate) fn dump(&self, phase: &Phase) -> Dump {
        let mut attached: Vec<_> = self.sandboxes.holdings().iter().map(attached_row).collect();
        attached.sort_by(|a, b| a.claim_uid.cmp(&b.claim_uid));
        let shown = self.records.all();
        let mut records: Vec<_> = shown
            .iter()
            .map(|shown| record_row(&shown.record, shown.committed))
            .collect();
        records.sort_by(|a, b| a.claim_uid.cmp(&b.claim_uid));
        Dump {
            runtime: match phase {
                Phase::Away { reason } => format!("away: {reason}"),
                Phase::Joining => "joining".to_owned(),
                Phase::Synchronised { runtime } => runtime.clone(),
            },
            known_sandboxes: self.sandboxes.count(),
            attached,
            records,
        }
    }
}

fn attached_row(
    (claim, holding): &(
        network_driver_common::model::ClaimUid,
        std::sync::Arc<Holding>,
    ),
) -> AttachedRow {
    let interfaces = holding.interfaces.iter().map(|interface| InterfaceRow {
        device: interface.device.to_string(),
        home_name: interface.home_name.to_string(),
        name: interface.name.to_string(),
        addresses: interface
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect(),
    });
    AttachedRow {
        claim: holding.record.claim.to_string(),
        claim_uid: claim.to_string(),
        pod: holding
            .pod
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        sandbox: holding.sandbox.to_string(),
        state: match holding.state {
            HoldingState::Attached => "attached".to_owned(),
            HoldingState::Incomplete => "incomplete".to_owned(),
            HoldingState::Leaving => "leaving".to_owned(),
        },
        interfaces: interfaces.collect(),
    }
}

fn record_row(record: &Record, committed: bool) -> RecordRow {
    let devices = record.attachments.iter();
    RecordRow {
        claim: record.claim.to_string(),
        claim_uid: record.claim.uid.to_string(),
        pod_uids: record.pods.iter().map(ToString::to_string).collect(),
        devices: devices
            .map(|attachment| attachment.device.name.to_string())
            .collect(),
        committed,
    }
}
