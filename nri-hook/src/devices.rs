//! What the hook needs of the kernel, so that its own rules can be tested without one.

use std::time::Instant;

use network_driver_common::model::{ClaimUid, Protected, Record, SandboxId, Snapshot};
use network_driver_netlink::{Netns, NetnsId};

use crate::links::{
    AttachError, AttachedClaim, Detached, FindAttachedError, Links, MarkedLink, Presence, Refusal,
};

/// The node's devices. Every call blocks on the kernel.
///
/// # Assumptions
/// Two calls about one claim never run at once.
pub(crate) trait Devices: Send + Sync + 'static {
    /// What tells the node's own network namespace from others.
    fn home_id(&self) -> NetnsId;

    /// Checks that the devices of a record can be lent, and takes their snapshots.
    fn check(&self, record: &Record, protected: &Protected) -> Result<Vec<Snapshot>, Refusal>;

    /// Brings the devices of all records into a pod: all, or none and an error.
    fn attach(
        &self,
        records: &[Record],
        netns: &Netns,
        protected: &Protected,
        deadline: Instant,
    ) -> Result<Vec<AttachedClaim>, AttachError>;

    /// Brings the devices of a record home, from wherever they are.
    fn detach(&self, record: &Record, netns: Option<&Netns>) -> Detached;

    /// The links in a pod that carry our mark.
    fn find_attached(&self, netns: &Netns) -> Result<Vec<MarkedLink>, FindAttachedError>;

    /// The links at home that carry our mark.
    fn marked_at_home(&self) -> Result<Vec<MarkedLink>, FindAttachedError>;

    /// The records of all claims that are away, as far as this node remembers by itself.
    fn kept(&self) -> Vec<Record>;

    /// Remembers that all devices of a claim that is away were in this sandbox.
    fn remember_whole(&self, claim: &ClaimUid, sandbox: &SandboxId);

    /// How the devices of a record are in a pod, in the order of its attachments.
    fn presence(&self, record: &Record, netns: &Netns) -> Result<Vec<Presence>, FindAttachedError>;
}

impl Devices for Links {
    fn home_id(&self) -> NetnsId {
        self.home_id()
    }

    fn check(&self, record: &Record, protected: &Protected) -> Result<Vec<Snapshot>, Refusal> {
        self.check(record, protected)
    }

    fn attach(
        &self,
        records: &[Record],
        netns: &Netns,
        protected: &Protected,
        deadline: Instant,
    ) -> Result<Vec<AttachedClaim>, AttachError> {
        self.attach(records, netns, protected, deadline)
    }

    fn detach(&self, record: &Record, netns: Option<&Netns>) -> Detached {
        self.detach(record, netns)
    }

    fn find_attached(&self, netns: &Netns) -> Result<Vec<MarkedLink>, FindAttachedError> {
        self.find_attached(netns)
    }

    fn marked_at_home(&self) -> Result<Vec<MarkedLink>, FindAttachedError> {
        self.marked_at_home()
    }

    fn kept(&self) -> Vec<Record> {
        self.all_kept()
    }

    fn remember_whole(&self, claim: &ClaimUid, sandbox: &SandboxId) {
        self.remember_whole(claim, sandbox);
    }

    fn presence(&self, record: &Record, netns: &Netns) -> Result<Vec<Presence>, FindAttachedError> {
        self.presence(record, netns)
    }
}
