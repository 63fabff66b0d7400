//! What can go wrong with an attach, for machines and for people.

use std::error::Error;
use std::fmt;

use network_driver_common::fail::Injected;
use network_driver_common::model::{DeviceName, IfName};
use network_driver_netlink::{OpenSocketError, RequestError};

use crate::chain;
use crate::links::check::Refusal;
use crate::links::configure::ConfigureError;
use crate::links::detach::Quarantined;
use crate::links::plan::NameConflict;
use crate::links::state::StateError;

/// An attach that did not succeed and was undone.
#[derive(Debug)]
pub(crate) struct AttachError {
    /// What failed.
    failure: Box<AttachFailure>,
    /// Devices that the undo could not bring home as they were.
    pub(crate) quarantined: Vec<Quarantined>,
}

impl AttachError {
    pub(crate) fn new(failure: AttachFailure, quarantined: Vec<Quarantined>) -> Self {
        Self {
            failure: Box::new(failure),
            quarantined,
        }
    }

    /// Reason of the closed list: `InterfaceAttachFailed`, `AttachDeadlineExceeded`, `InterfaceNameConflict`,
    /// `HostNetworkNotSupported`, or that of a [`Refusal`].
    pub(crate) fn reason(&self) -> &'static str {
        self.failure.reason()
    }

    /// Whether an earlier attach had left something behind, which was looked at again and still is not home.
    pub(crate) fn is_second_look(&self) -> bool {
        matches!(*self.failure, AttachFailure::NotHome(_))
    }

    /// A sentence for people with all causes, and with what the undo left behind.
    pub(crate) fn message(&self) -> String {
        let mut message = chain(self.failure.as_ref());
        for Quarantined { reason, .. } in &self.quarantined {
            message.push_str("; ");
            message.push_str(reason);
        }
        message
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure.source()
    }
}

/// What failed in an attach.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachFailure {
    /// The pod has no network namespace of its own.
    #[error("the pod's network namespace is the node's own")]
    HomeNamespace,
    /// No socket in the node's or the pod's namespace.
    #[error("open a socket in the {place}'s network namespace")]
    Open {
        /// `node` or `pod`.
        place: &'static str,
        /// Why not.
        #[source]
        source: OpenSocketError,
    },
    /// The node's or the pod's links could not be read.
    #[error("read the {place}'s network")]
    Read {
        /// `node` or `pod`.
        place: &'static str,
        /// Why not.
        #[source]
        source: RequestError,
    },
    /// A device cannot be lent.
    #[error(transparent)]
    Refused(Refusal),
    /// A name cannot be given.
    #[error(transparent)]
    Name(NameConflict),
    /// The snapshots could not be kept.
    #[error("keep what the links look like")]
    State(#[source] StateError),
    /// A device that an earlier attach left away could not be brought home first.
    #[error("{0}")]
    NotHome(String),
    /// A link was not moved.
    #[error("move device {device} (interface {home_name}) into the pod as {name}")]
    Move {
        /// Which device.
        device: DeviceName,
        /// Its name at home.
        home_name: IfName,
        /// Its name in the pod.
        name: IfName,
        /// Why not.
        #[source]
        source: RequestError,
    },
    /// A link was moved and is not there.
    #[error("device {device} is not in the pod after its move")]
    Vanished {
        /// Which device.
        device: DeviceName,
    },
    /// An interface was not configured.
    #[error("configure interface {name} of device {device}")]
    Configure {
        /// Which device.
        device: DeviceName,
        /// Its name in the pod.
        name: IfName,
        /// Why not.
        #[source]
        source: ConfigureError,
    },
    /// An interface is not what it was made to be.
    #[error("interface {name} of device {device} {difference}")]
    Differs {
        /// Which device.
        device: DeviceName,
        /// Its name in the pod.
        name: IfName,
        /// In what, as a phrase that follows the name.
        difference: String,
    },
    /// A test's doing.
    #[error(transparent)]
    Injected(Injected),
    /// The time the runtime gives is over.
    #[error("no time left to {step}")]
    Late {
        /// What was to be done next.
        step: String,
    },
}

impl AttachFailure {
    /// As [`AttachError::reason`].
    pub(in crate::links) fn reason(&self) -> &'static str {
        match self {
            failure if failure.is_late() => "AttachDeadlineExceeded",
            Self::HomeNamespace => "HostNetworkNotSupported",
            Self::Refused(refusal) => refusal.reason,
            Self::Name(_) => "InterfaceNameConflict",
            _ => "InterfaceAttachFailed",
        }
    }

    /// Whether time ran out, between two requests or in one.
    fn is_late(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(RequestError::TimedOut { .. }) = error.downcast_ref() {
                return true;
            }
            cause = error.source();
        }
        matches!(self, Self::Late { .. })
    }
}
