//! Why a device does not work where it is.

use std::time::SystemTime;

/// A device that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFault {
    /// Why, as a word.
    pub reason: FaultReason,
    /// Why, as a sentence for people that names the device and the cause.
    pub message: String,
    /// Since when.
    pub since: SystemTime,
}

/// The closed list of what can be wrong with a device. Conditions, taints and messages write it as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultReason {
    /// Its link has no carrier, or is set down.
    CarrierDown,
    /// Its link is gone: unplugged, or its driver unbound.
    DeviceGone,
    /// It could not be brought home as it was.
    Quarantined,
    /// A word that this release does not know.
    Unknown,
}

impl FaultReason {
    /// As a word that may be the value of a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CarrierDown => "CarrierDown",
            Self::DeviceGone => "DeviceGone",
            Self::Quarantined => "Quarantined",
            Self::Unknown => "Unknown",
        }
    }

    /// The reason of this word.
    pub fn parse(word: &str) -> Self {
        let known = [Self::CarrierDown, Self::DeviceGone, Self::Quarantined];
        let mut known = known.into_iter();
        known
            .find(|reason| reason.as_str() == word)
            .unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written_and_others_are_unknown() {
        for reason in [
            FaultReason::CarrierDown,
            FaultReason::DeviceGone,
            FaultReason::Quarantined,
            FaultReason::Unknown,
        ] {
            assert_eq!(FaultReason::parse(reason.as_str()), reason);
        }
        assert_eq!(FaultReason::parse("OnFire"), FaultReason::Unknown);
    }
}
