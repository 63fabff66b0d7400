//! Records, their attachments, and what the hook reports of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use network_driver_proto::bus;

use super::{InvalidMessage, each, field, optional, required, text_or_empty};
use crate::model::{
    Attachment, ClaimRef, DeviceName, HardwareAddress, IfName, InterfaceConfig, Mtu, PodRef,
    Record, Route, Snapshot,
};

impl From<&Record> for bus::Record {
    fn from(record: &Record) -> Self {
        Self {
            claim_namespace: record.claim.namespace.clone(),
            claim_name: record.claim.name.clone(),
            claim_uid: record.claim.uid.to_string(),
            pod_uids: record.pods.iter().map(ToString::to_string).collect(),
            attachments: record.attachments.iter().map(Into::into).collect(),
            traceparent: record.traceparent.clone().unwrap_or_default(),
            prepared_unix_nanos: to_unix_nanos(record.prepared),
            boot_id: record.boot_id.clone(),
            sandbox_id: text_or_empty(record.sandbox.as_ref()),
        }
    }
}

impl TryFrom<&bus::Record> for Record {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Record) -> Result<Self, InvalidMessage> {
        let pod = |uid: &String| field("uid", uid.parse());
        Ok(Self {
            claim: ClaimRef {
                namespace: message.claim_namespace.clone(),
                name: message.claim_name.clone(),
                uid: field("claim_uid", message.claim_uid.parse())?,
            },
            pods: each("pod_uids", &message.pod_uids, pod)?
                .into_iter()
                .collect(),
            attachments: each("attachments", &message.attachments, TryInto::try_into)?,
            traceparent: Some(message.traceparent.clone()).filter(|text| !text.is_empty()),
            prepared: from_unix_nanos(message.prepared_unix_nanos),
            boot_id: message.boot_id.clone(),
            sandbox: optional("sandbox_id", &message.sandbox_id)?,
        })
    }
}

impl From<&Attachment> for bus::Attachment {
    fn from(attachment: &Attachment) -> Self {
        Self {
            request: attachment.request.clone(),
            pool: attachment.pool.clone(),
            device: Some((&*attachment.device).into()),
            config: Some((&attachment.config).into()),
            snapshot: attachment.snapshot.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<&bus::Attachment> for Attachment {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Attachment) -> Result<Self, InvalidMessage> {
        let within = |name: &'static str| move |error: InvalidMessage| error.within(name);
        let device = required("device", message.device.as_ref())?;
        let config = message.config.as_ref().map(TryInto::try_into).transpose();
        let snapshot = message
            .snapshot
            .as_ref()
            .map(Snapshot::try_from)
            .transpose();
        Ok(Self {
            request: message.request.clone(),
            pool: message.pool.clone(),
            device: Arc::new(device.try_into().map_err(within("device"))?),
            config: config.map_err(within("config"))?.unwrap_or_default(),
            snapshot: snapshot.map_err(within("snapshot"))?,
        })
    }
}

impl From<&InterfaceConfig> for bus::InterfaceConfig {
    fn from(config: &InterfaceConfig) -> Self {
        Self {
            name: config
                .name
                .as_ref()
                .map(|name| name.as_bytes().to_vec())
                .unwrap_or_default(),
            mtu: config.mtu.map(Mtu::get).unwrap_or_default(),
            addresses: config.addresses.iter().map(ToString::to_string).collect(),
            routes: config.routes.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<&bus::InterfaceConfig> for InterfaceConfig {
    type Error = InvalidMessage;

    fn try_from(message: &bus::InterfaceConfig) -> Result<Self, InvalidMessage> {
        let name = (!message.name.is_empty()).then(|| IfName::try_from(message.name.as_slice()));
        let mtu = (message.mtu != 0).then(|| Mtu::try_from(u64::from(message.mtu)));
        let address = |text: &String| field("address", text.parse());
        Ok(Self {
            name: field("name", name.transpose())?,
            mtu: field("mtu", mtu.transpose())?,
            addresses: each("addresses", &message.addresses, address)?,
            routes: each("routes", &message.routes, TryInto::try_into)?,
        })
    }
}

impl From<&Route> for bus::Route {
    fn from(route: &Route) -> Self {
        Self {
            destination: route.destination.to_string(),
            gateway: text_or_empty(route.gateway.as_ref()),
        }
    }
}

impl TryFrom<&bus::Route> for Route {
    type Error = InvalidMessage;

    fn try_from(message: &bus::Route) -> Result<Self, InvalidMessage> {
        Ok(Self {
            destination: field("destination", message.destination.parse::<IpNet>())?,
            gateway: optional::<IpAddr>("gateway", &message.gateway)?,
        })
    }
}

impl From<&PodRef> for bus::PodRef {
    fn from(pod: &PodRef) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.to_string(),
        }
    }
}

impl TryFrom<&bus::PodRef> for PodRef {
    type Error = InvalidMessage;

    fn try_from(message: &bus::PodRef) -> Result<Self, InvalidMessage> {
        Ok(Self {
            namespace: message.namespace.clone(),
            name: message.name.clone(),
            uid: field("uid", message.uid.parse())?,
        })
    }
}

/// An interface as it is in the pod, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedInterface {
    /// The device.
    pub device: DeviceName,
    /// Name in the pod.
    pub name: IfName,
    /// Hardware address.
    pub hardware_address: HardwareAddress,
    /// Addresses with their prefix.
    pub addresses: Vec<IpNet>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Name at home.
    pub home_name: IfName,
}

/// Checks a reported interface.
///
/// # Errors
/// The field that is wrong.
pub fn attached_interface(
    message: &bus::AttachedInterface,
) -> Result<AttachedInterface, InvalidMessage> {
    let address = |text: &String| field("address", text.parse());
    let hardware_address = HardwareAddress::try_from(message.hardware_address.as_slice());
    Ok(AttachedInterface {
        device: field("device", message.device.parse())?,
        name: field("name", IfName::try_from(message.name.as_slice()))?,
        hardware_address: field("hardware_address", hardware_address)?,
        addresses: each("addresses", &message.addresses, address)?,
        mtu: message.mtu,
        home_name: field("home_name", IfName::try_from(message.home_name.as_slice()))?,
    })
}

impl From<&AttachedInterface> for bus::AttachedInterface {
    fn from(interface: &AttachedInterface) -> Self {
        Self {
            device: interface.device.to_string(),
            name: interface.name.as_bytes().to_vec(),
            hardware_address: interface.hardware_address.as_bytes().to_vec(),
            addresses: interface
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect(),
            mtu: interface.mtu,
            home_name: interface.home_name.as_bytes().to_vec(),
        }
    }
}

/// Nanoseconds since the Unix epoch; a time before it is the epoch.
pub fn to_unix_nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The time of these nanoseconds since the Unix epoch; a negative number is the epoch.
pub fn from_unix_nanos(nanos: i64) -> SystemTime {
    let since = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{
        AttributeValue, Device, LinkIdentity, LinkParameter, RouteOptions, SettableFlags, Settings,
        SnapshotAddress, SnapshotNeighbor, SnapshotRoute,
    };

    fn snapshot(name: IfName) -> Snapshot {
        Snapshot {
            taken: Some(from_unix_nanos(1_700_000_000_000_000_002)),
            name,
            mtu: 1500,
            hardware_address: "02:00:00:00:00:01".parse().unwrap(),
            up: true,
            alias: b"uplink \xfe".to_vec(),
            altnames: vec![b"enp1s0".to_vec()],
            addresses: vec![SnapshotAddress {
                address: "10.0.0.1/24".parse().unwrap(),
                peer: Some("10.0.0.2".parse().unwrap()),
                broadcast: None,
                scope: 0,
                flags: 0x80,
                label: b"a:1".to_vec(),
                preferred_lifetime: u32::MAX,
                valid_lifetime: u32::MAX,
                protocol: 7,
                metric: 50,
            }],
            routes: vec![SnapshotRoute {
                destination: "fd00::/8".parse().unwrap(),
                gateway: Some("fe80::1".parse().unwrap()),
                preferred_source: None,
                table: 1000,
                protocol: 4,
                scope: 0,
                kind: 1,
                metric: 100,
                onlink: true,
                options: RouteOptions {
                    tos: 0x10,
                    realms: 5,
                    preference: 1,
                    metrics: vec![8, 0, 2, 0, 0x78, 5, 0, 0],
                },
            }],
            neighbors: vec![SnapshotNeighbor {
                address: "10.0.0.9".parse().unwrap(),
                hardware_address: "02:00:00:00:00:09".parse().unwrap(),
                flags: 0x80,
                protocol: 17,
            }],
            settings: Settings {
                ipv4: [1, 0, 2].into(),
                ipv6: [0, 64, -1].into(),
            },
            flags: Some(SettableFlags::from_bits(0x1100)),
            parameters: BTreeMap::from([(LinkParameter::TxQueueLength, 0)]),
            features: BTreeMap::from(
                [("rx-gro", true), ("rx-lro", false)]
                    .map(|(name, wanted)| (name.parse().unwrap(), wanted)),
            )
            .into(),
        }
    }

    fn record() -> Record {
        let name = IfName::try_from(&b"a_\xff"[..]).unwrap();
        let identity = LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: "02:00:00:00:00:01".parse().unwrap(),
            home_name: name.clone(),
        };
        let device = Device {
            name: DeviceName::of(&identity),
            identity,
            interface: name.clone(),
            attributes: [
                ("ifName".parse().unwrap(), AttributeValue::text("a")),
                ("mtu".parse().unwrap(), AttributeValue::Int(1500)),
                ("virtual".parse().unwrap(), AttributeValue::Bool(true)),
            ]
            .into(),
            capacity: BTreeMap::from([("bandwidth".to_owned(), "25G".to_owned())]),
        };
        Record {
            claim: ClaimRef {
                namespace: "default".into(),
                name: "nic".into(),
                uid: "c-1".parse().unwrap(),
            },
            pods: ["p-1".parse().unwrap(), "p-2".parse().unwrap()].into(),
            attachments: vec![Attachment {
                request: "nic".into(),
                pool: "node-1".into(),
                device: Arc::new(device),
                config: InterfaceConfig {
                    name: Some("net1".parse().unwrap()),
                    mtu: Some(Mtu::try_from(1400).unwrap()),
                    addresses: vec!["10.1.0.1/24".parse().unwrap()],
                    routes: vec![Route {
                        destination: "0.0.0.0/0".parse().unwrap(),
                        gateway: Some("10.1.0.254".parse().unwrap()),
                    }],
                },
                snapshot: Some(snapshot(name)),
            }],
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            prepared: from_unix_nanos(1_700_000_000_000_000_001),
            boot_id: "b".into(),
            sandbox: Some("s1".parse().unwrap()),
        }
    }

    #[test]
    fn a_record_survives_the_wire() {
        let message = bus::Record::from(&record());
        assert_eq!(Record::try_from(&message), Ok(record()));
    }

    #[test]
    fn what_another_release_did_not_keep_or_keeps_besides_is_not_known() {
        let mut message = bus::Snapshot::from(&snapshot("a".parse().unwrap()));
        message.parameters.insert("from_tomorrow".into(), 1);
        let read = Snapshot::try_from(&message).unwrap();
        assert_eq!(read, snapshot("a".parse().unwrap()));
        message.flags = None;
        message.parameters.clear();
        message.features.clear();
        let older = Snapshot::try_from(&message).unwrap();
        assert_eq!(older.flags, None);
        assert!(older.parameters.is_empty() && older.features.is_empty());
    }

    #[test]
    fn faults_name_their_field() {
        type Break = fn(&mut bus::Record);
        let device = |r: &mut bus::Record| r.attachments[0].device.as_mut().unwrap().clone();
        let cases: [(Break, &str); 10] = [
            (|r| r.claim_uid.clear(), "claim_uid: "),
            (|r| r.pod_uids[1] = "/".into(), "pod_uids[1].uid: "),
            (
                |r| r.attachments[0].device = None,
                "attachments[0].device: is missing",
            ),
            (
                |r| r.attachments[0].config.as_mut().unwrap().mtu = 3,
                "attachments[0].config.mtu: ",
            ),
            (
                |r| {
                    let snapshot = r.attachments[0].snapshot.as_mut().unwrap();
                    snapshot.addresses[0].address.clear();
                },
                "attachments[0].snapshot.addresses[0].address: ",
            ),
            (
                |r| {
                    let snapshot = r.attachments[0].snapshot.as_mut().unwrap();
                    snapshot.neighbors[0].flags = 256;
                },
                "attachments[0].snapshot.neighbors[0].flags: ",
            ),
            (
                |r| {
                    let snapshot = r.attachments[0].snapshot.as_mut().unwrap();
                    snapshot.ipv6_conf = vec![0; 257];
                },
                "attachments[0].snapshot.ipv6_conf: are 257, at most 256",
            ),
            (
                |r| {
                    let snapshot = r.attachments[0].snapshot.as_mut().unwrap();
                    snapshot.features = (0..257).map(|n| (format!("a{n}"), true)).collect();
                },
                "attachments[0].snapshot.features: are 257, at most 256",
            ),
            (
                |r| {
                    let snapshot = r.attachments[0].snapshot.as_mut().unwrap();
                    snapshot.features.insert("rx gro".into(), true);
                },
                "attachments[0].snapshot.features[0].name: ",
            ),
            (
                |r| r.attachments[0].config.as_mut().unwrap().routes[0].gateway = "x".into(),
                "attachments[0].config.routes[0].gateway: ",
            ),
        ];
        for (break_it, want) in cases {
            let mut message = bus::Record::from(&record());
            assert_eq!(device(&mut message).name, "x--615fff");
            break_it(&mut message);
            let error = Record::try_from(&message).unwrap_err().to_string();
            assert!(
                error.starts_with(want),
                "{error} does not start with {want}"
            );
        }
    }
}
