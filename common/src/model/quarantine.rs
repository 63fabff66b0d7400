//! A device that is not offered because it could not be brought home as it was.

use std::time::SystemTime;

use super::{ClaimRef, DeviceName, LinkIdentity};

/// A device in quarantine. It stays there, whatever becomes of its claim, until an operator has put it right and
/// releases it; one that is lost, until a link with its identity appears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The device.
    pub device: DeviceName,
    /// The link behind it, by which it is known under whatever name it came home; `None` when it is not known.
    pub identity: Option<LinkIdentity>,
    /// Why, as a sentence for people that names the device and the cause.
    pub reason: String,
    /// Since when; `None` when it is not known.
    pub since: Option<SystemTime>,
    /// The claim that had it; `None` when it is not known.
    pub claim: Option<ClaimRef>,
    /// It was neither in its pod nor on the node.
    pub lost: bool,
}
