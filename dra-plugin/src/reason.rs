//! The closed list of reasons that events, conditions and metric labels use.

/// Why something happened, or what did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A claim is prepared.
    ClaimPrepared,
    /// A claim is unprepared and its devices are home.
    ClaimUnprepared,
    /// Prepare failed for a reason without a word of its own.
    ClaimPrepareFailed,
    /// Unprepare failed.
    ClaimUnprepareFailed,
    /// The user's parameters are wrong.
    InvalidConfiguration,
    /// The allocated device is not on this node.
    DeviceNotFound,
    /// Another claim holds the device.
    DeviceInUse,
    /// The node's own traffic uses the device.
    DeviceProtected,
    /// The hook is away, or not connected to the container runtime.
    NriNotConnected,
    /// A device could not be brought home as it was.
    DeviceQuarantined,
    /// An operator took a device out of quarantine.
    DeviceReleased,
    /// A record that the database had lost is known again.
    StateRebuilt,
    /// An interface is in its pod.
    InterfaceAttached,
    /// An interface came home.
    InterfaceReturned,
    /// An interface could not be put into its pod.
    InterfaceAttachFailed,
    /// The wanted name is taken in the pod.
    InterfaceNameConflict,
    /// An interface vanished while a pod had it.
    InterfaceLost,
    /// A container was refused because its claim is not attached to its pod.
    ClaimNotAttached,
    /// The pod uses the node's network namespace.
    HostNetworkNotSupported,
    /// Attaching took longer than the runtime waits.
    AttachDeadlineExceeded,
}

impl Reason {
    /// All reasons.
    pub(crate) const ALL: [Self; 20] = [
        Self::ClaimPrepared,
        Self::ClaimUnprepared,
        Self::ClaimPrepareFailed,
        Self::ClaimUnprepareFailed,
        Self::InvalidConfiguration,
        Self::DeviceNotFound,
        Self::DeviceInUse,
        Self::DeviceProtected,
        Self::NriNotConnected,
        Self::DeviceQuarantined,
        Self::DeviceReleased,
        Self::StateRebuilt,
        Self::InterfaceAttached,
        Self::InterfaceReturned,
        Self::InterfaceAttachFailed,
        Self::InterfaceNameConflict,
        Self::InterfaceLost,
        Self::ClaimNotAttached,
        Self::HostNetworkNotSupported,
        Self::AttachDeadlineExceeded,
    ];

    /// The reasons that a failed Prepare can have.
    pub(crate) const PREPARE: [Self; 7] = [
        Self::ClaimPrepareFailed,
        Self::InvalidConfiguration,
        Self::DeviceNotFound,
        Self::DeviceInUse,
        Self::DeviceProtected,
        Self::DeviceQuarantined,
        Self::NriNotConnected,
    ];

    /// The reasons that a failed Unprepare can have.
    pub(crate) const UNPREPARE: [Self; 2] = [Self::ClaimUnprepareFailed, Self::NriNotConnected];

    /// As events and conditions write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClaimPrepared => "ClaimPrepared",
            Self::ClaimUnprepared => "ClaimUnprepared",
            Self::ClaimPrepareFailed => "ClaimPrepareFailed",
            Self::ClaimUnprepareFailed => "ClaimUnprepareFailed",
            Self::InvalidConfiguration => "InvalidConfiguration",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::DeviceInUse => "DeviceInUse",
            Self::DeviceProtected => "DeviceProtected",
            Self::NriNotConnected => "NRINotConnected",
            Self::DeviceQuarantined => "DeviceQuarantined",
            Self::DeviceReleased => "DeviceReleased",
            Self::StateRebuilt => "StateRebuilt",
            Self::InterfaceAttached => "InterfaceAttached",
            Self::InterfaceReturned => "InterfaceReturned",
            Self::InterfaceAttachFailed => "InterfaceAttachFailed",
            Self::InterfaceNameConflict => "InterfaceNameConflict",
            Self::InterfaceLost => "InterfaceLost",
            Self::ClaimNotAttached => "ClaimNotAttached",
            Self::HostNetworkNotSupported => "HostNetworkNotSupported",
            Self::AttachDeadlineExceeded => "AttachDeadlineExceeded",
        }
    }

    /// The reason that the hook wrote, if it is of this list.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// As metric labels write it: `device_not_found`.
    pub(crate) fn label(self) -> String {
        let mut label = String::new();
        let mut after_lower = false;
        for c in self.as_str().replace("NRI", "Nri").chars() {
            if c.is_ascii_uppercase() && after_lower {
                label.push('_');
            }
            after_lower = c.is_ascii_lowercase();
            label.push(c.to_ascii_lowercase());
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::parse("Whatever"), None);
    }

    #[test]
    fn labels_are_snake_case() {
        assert_eq!(Reason::DeviceNotFound.label(), "device_not_found");
        assert_eq!(Reason::NriNotConnected.label(), "nri_not_connected");
    }
}
