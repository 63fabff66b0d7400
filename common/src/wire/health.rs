//! Devices that work or do not, and devices in quarantine.

use network_driver_proto::bus;

use super::record::{from_unix_nanos, to_unix_nanos};
use super::{InvalidMessage, field, optional};
use crate::model::{ClaimRef, DeviceFault, DeviceHealth, FaultReason, PodRef, Quarantine};

/// Most characters of a sentence that are taken from a message.
const MAX_SENTENCE: usize = 500;

impl From<&DeviceFault> for bus::DeviceFault {
    fn from(fault: &DeviceFault) -> Self {
        Self {
            reason: fault.reason.as_str().to_owned(),
            message: fault.message.clone(),
            since_unix_nanos: to_unix_nanos(fault.since),
        }
    }
}

/// A fault always makes sense: a word that is not known is [`FaultReason::Unknown`].
impl From<&bus::DeviceFault> for DeviceFault {
    fn from(message: &bus::DeviceFault) -> Self {
        Self {
            reason: FaultReason::parse(&message.reason),
            message: sentence(&message.message),
            since: from_unix_nanos(message.since_unix_nanos),
        }
    }
}

impl From<&DeviceHealth> for bus::DeviceHealth {
    fn from(health: &DeviceHealth) -> Self {
        let fault = health.fault.as_ref().map(bus::DeviceFault::from);
        let healthy = fault.is_none();
        let fault = fault.unwrap_or_default();
        Self {
            claim_uid: health.claim.to_string(),
            device: health.device.to_string(),
            healthy,
            reason: fault.reason,
            message: fault.message,
            since_unix_nanos: fault.since_unix_nanos,
            pod: health.pod.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&bus::DeviceHealth> for DeviceHealth {
    type Error = InvalidMessage;

    fn try_from(message: &bus::DeviceHealth) -> Result<Self, InvalidMessage> {
        let fault = (!message.healthy).then(|| DeviceFault {
            reason: FaultReason::parse(&message.reason),
            message: sentence(&message.message),
            since: from_unix_nanos(message.since_unix_nanos),
        });
        let pod = message.pod.as_ref().map(PodRef::try_from).transpose();
        Ok(Self {
            claim: field("claim_uid", message.claim_uid.parse())?,
            device: field("device", message.device.parse())?,
            pod: pod.map_err(|error| error.within("pod"))?,
            fault,
        })
    }
}

impl From<&Quarantine> for bus::Quarantine {
    fn from(quarantine: &Quarantine) -> Self {
        let claim = quarantine.claim.clone();
        let (namespace, name, uid) = claim
            .map(|claim| (claim.namespace, claim.name, claim.uid.to_string()))
            .unwrap_or_default();
        Self {
            device: quarantine.device.to_string(),
            identity: quarantine.identity.as_ref().map(Into::into),
            reason: quarantine.reason.clone(),
            since_unix_nanos: quarantine.since.map(to_unix_nanos).unwrap_or_default(),
            claim_namespace: namespace,
            claim_name: name,
            claim_uid: uid,
            lost: quarantine.lost,
        }
    }
}

impl TryFrom<&bus::Quarantine> for Quarantine {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Quarantine) -> Result<Self, InvalidMessage> {
        let identity = message.identity.as_ref().map(TryInto::try_into).transpose();
        let since = message.since_unix_nanos;
        Ok(Self {
            device: field("device", message.device.parse())?,
            identity: identity.map_err(|error: InvalidMessage| error.within("identity"))?,
            reason: sentence(&message.reason),
            since: (since != 0).then(|| from_unix_nanos(since)),
            claim: optional("claim_uid", &message.claim_uid)?.map(|uid| ClaimRef {
                namespace: message.claim_namespace.clone(),
                name: message.claim_name.clone(),
                uid,
            }),
            lost: message.lost,
        })
    }
}

fn sentence(text: &str) -> String {
    text.chars().take(MAX_SENTENCE).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::model::{DeviceName, LinkIdentity};

    fn quarantine() -> Quarantine {
        let identity = LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: "02:00:00:00:00:01".parse().unwrap(),
            home_name: "eth1".parse().unwrap(),
        };
        Quarantine {
            device: DeviceName::of(&identity),
            identity: Some(identity),
            reason: "its name is taken".into(),
            since: UNIX_EPOCH.checked_add(Duration::from_nanos(7)),
            claim: Some(ClaimRef {
                namespace: "default".into(),
                name: "nic".into(),
                uid: "c-1".parse().unwrap(),
            }),
            lost: true,
        }
    }

    #[test]
    fn a_quarantine_survives_the_wire_with_and_without_what_is_known_of_it() {
        let full = quarantine();
        let bare = Quarantine {
            identity: None,
            since: None,
            claim: None,
            ..full.clone()
        };
        for quarantine in [full, bare] {
            let message = bus::Quarantine::from(&quarantine);
            assert_eq!(Quarantine::try_from(&message), Ok(quarantine));
        }
        let mut message = bus::Quarantine::from(&quarantine());
        message.claim_uid = "/".into();
        let error = Quarantine::try_from(&message).unwrap_err().to_string();
        assert!(error.starts_with("claim_uid: "), "{error}");
    }

    #[test]
    fn a_devices_health_survives_the_wire() {
        let fault = DeviceFault {
            reason: FaultReason::CarrierDown,
            message: "net1 has no carrier".into(),
            since: UNIX_EPOCH,
        };
        for fault in [Some(fault), None] {
            let health = DeviceHealth {
                claim: "c-1".parse().unwrap(),
                device: "eth1".parse().unwrap(),
                pod: Some(PodRef {
                    namespace: "default".into(),
                    name: "pod".into(),
                    uid: "p-1".parse().unwrap(),
                }),
                fault,
            };
            let message = bus::DeviceHealth::from(&health);
            assert_eq!(message.healthy, health.fault.is_none());
            assert_eq!(DeviceHealth::try_from(&message), Ok(health));
        }
    }
}
