//! What is durably known of a prepared claim.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::{ClaimRef, Device, IfName, InterfaceConfig, PodUid, SandboxId, Snapshot};

/// A prepared claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which claim.
    pub claim: ClaimRef,
    /// Pods that the claim is reserved for; a sandbox of no other pod gets its devices.
    pub pods: BTreeSet<PodUid>,
    /// One per device, in the order of the allocation's results.
    pub attachments: Vec<Attachment>,
    /// W3C trace context of the Prepare call; `None` without tracing.
    pub traceparent: Option<String>,
    /// When it was prepared.
    pub prepared: SystemTime,
    /// `/proc/sys/kernel/random/boot_id` at that time.
    pub boot_id: String,
    /// Where the hook last reported it attached. The hook's own state decides; this is what is known after a loss.
    pub sandbox: Option<SandboxId>,
}

/// One device of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Base name of the request, without a subrequest.
    pub request: String,
    /// Pool of the device.
    pub pool: String,
    /// The slice entry as published when the claim was prepared.
    pub device: Arc<Device>,
    /// What the user wants of it.
    pub config: InterfaceConfig,
    /// What home must look like again; `None` until the hook has acknowledged the record.
    pub snapshot: Option<Snapshot>,
}

/// What the node's own traffic depends on, beyond what its routes show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protected {
    /// Addresses of the Node object and of the API server.
    pub destinations: BTreeSet<IpAddr>,
    /// Links that the operator protects by hand.
    pub interfaces: BTreeSet<IfName>,
}
