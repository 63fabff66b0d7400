//! Whether a device works in its pod.

use super::{ClaimUid, DeviceFault, DeviceName, PodRef};

/// What is known of a device in a pod: a state, not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceHealth {
    /// The claim that holds it.
    pub claim: ClaimUid,
    /// The device.
    pub device: DeviceName,
    /// The pod that has it; `None` when it is not known.
    pub pod: Option<PodRef>,
    /// Why it does not work; `None` when it does.
    pub fault: Option<DeviceFault>,
}
