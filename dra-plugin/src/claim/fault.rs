//! Why a call of the kubelet fails. The texts end in events that users read: they name the device and the cause and
//! say what to do, and hold nothing of the claim's parameters but the field at fault.

use std::time::Duration;

use network_driver_common::fail::Injected;
use network_driver_common::model::{ClaimRef, DeviceName};

use super::parameters::InvalidParameters;
use super::{ParseClaimError, ReadClaimError};
use crate::hook::OrderError;
use crate::reason::Reason;
use crate::store::BookError;

/// Why a claim was not prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// The kubelet's request.
    #[error("the kubelet asked for a claim with an impossible UID")]
    InvalidUid(#[source] network_driver_common::model::InvalidId),
    /// The API server.
    #[error("read the claim")]
    Read(#[source] ReadClaimError),
    /// The claim.
    #[error(transparent)]
    Claim(#[from] ParseClaimError),
    /// The user's parameters.
    #[error("invalid configuration")]
    Parameters(#[from] InvalidParameters),
    /// Access for watching only.
    #[error(
        "device {device} is allocated with adminAccess, which this driver does not support: remove adminAccess from the request"
    )]
    AdminAccess {
        /// The device.
        device: DeviceName,
    },
    /// A device of another node.
    #[error("device {device} is of pool {pool}, but this node's pool is {node}")]
    OtherPool {
        /// The device.
        device: DeviceName,
        /// Its pool.
        pool: String,
        /// Our pool.
        node: String,
    },
    /// One device for two requests.
    #[error("device {device} is allocated twice in one claim, but it cannot be shared")]
    AllocatedTwice {
        /// The device.
        device: DeviceName,
    },
    /// Discovery has not told us yet.
    #[error(
        "the devices of node {node} are not known yet (discovery has not connected); will retry"
    )]
    NoInventory {
        /// This node.
        node: String,
    },
    /// Discovery does not offer it.
    #[error(
        "device {device} is not on node {node}, or no longer offered (see `discovery links` there)"
    )]
    DeviceNotFound {
        /// The device.
        device: DeviceName,
        /// This node.
        node: String,
    },
    /// Another claim has it.
    #[error("device {device} is in use by claim {holder} (UID {uid}); will retry", uid = holder.uid)]
    DeviceInUse {
        /// The device.
        device: DeviceName,
        /// Who has it.
        holder: ClaimRef,
    },
    /// It is neither in its pod nor on the node.
    #[error("device {device} of node {node} is gone: {reason}; will retry")]
    Lost {
        /// The device.
        device: DeviceName,
        /// This node.
        node: String,
        /// Why.
        reason: String,
    },
    /// It could not be brought home as it was.
    #[error(
        "device {device} of node {node} is in quarantine: {reason}; put its link right on the node, then run `dra-plugin quarantine release {device}` there"
    )]
    Quarantined {
        /// The device.
        device: DeviceName,
        /// This node.
        node: String,
        /// Why.
        reason: String,
    },
    /// The claim was allocated anew while we still hold its former devices.
    #[error(
        "the claim is prepared with device {prepared}, not with those that are allocated now; will retry once it is unprepared"
    )]
    AllocationChanged {
        /// A device that is prepared.
        prepared: DeviceName,
    },
    /// The hook is away, or said no.
    #[error(transparent)]
    Hook(#[from] OrderError),
    /// The database.
    #[error("keep the record of the claim")]
    Store(#[source] BookError),
    /// An unprepare came.
    #[error("preparing was given up because the claim is being unprepared")]
    Cancelled,
    /// Too slow.
    #[error("preparing took longer than {} s; will retry", .0.as_secs())]
    Deadline(Duration),
    /// A test's doing.
    #[error(transparent)]
    Injected(#[from] Injected),
    /// A defect.
    #[error("preparing failed by a defect of the driver (see the log of dra-plugin); will retry")]
    Panicked,
}

impl PrepareError {
    /// The reason as events and metrics say it.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Parameters(_) => Reason::InvalidConfiguration,
            Self::DeviceNotFound { .. } | Self::OtherPool { .. } => Reason::DeviceNotFound,
            Self::DeviceInUse { .. } => Reason::DeviceInUse,
            Self::Lost { .. } => Reason::InterfaceLost,
            Self::Quarantined { .. } => Reason::DeviceQuarantined,
            Self::Hook(OrderError::NotReady { .. } | OrderError::Lost { .. }) => {
                Reason::NriNotConnected
            }
            Self::Hook(OrderError::Refused { reason, .. }) => {
                reason.unwrap_or(Reason::ClaimPrepareFailed)
            }
            Self::InvalidUid(_)
            | Self::Read(_)
            | Self::Claim(_)
            | Self::AdminAccess { .. }
            | Self::AllocatedTwice { .. }
            | Self::NoInventory { .. }
            | Self::AllocationChanged { .. }
            | Self::Hook(_)
            | Self::Store(_)
            | Self::Cancelled
            | Self::Deadline(_)
            | Self::Injected(_)
            | Self::Panicked => Reason::ClaimPrepareFailed,
        }
    }
}

/// Why a claim was not unprepared. The kubelet tries again until it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnprepareError {
    /// The hook is away, or said no.
    #[error(transparent)]
    Hook(#[from] OrderError),
    /// The database.
    #[error("remove the record of the claim")]
    Store(#[source] BookError),
    /// Too slow.
    #[error("unpreparing took longer than {} s; will retry", .0.as_secs())]
    Deadline(Duration),
    /// A test's doing.
    #[error(transparent)]
    Injected(#[from] Injected),
    /// A defect.
    #[error("unpreparing failed by a defect of the driver (see the log of dra-plugin); will retry")]
    Panicked,
}

impl UnprepareError {
    /// The reason as events and metrics say it.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Hook(OrderError::NotReady { .. } | OrderError::Lost { .. }) => {
                Reason::NriNotConnected
            }
            Self::Hook(_)
            | Self::Store(_)
            | Self::Deadline(_)
            | Self::Injected(_)
            | Self::Panicked => Reason::ClaimUnprepareFailed,
        }
    }
}
