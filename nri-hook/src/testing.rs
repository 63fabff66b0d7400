//! Values for tests.

mod devices;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::{
    Attachment, Attributes, ClaimRef, ClaimUid, Device, DeviceName, HardwareAddress, IfName,
    InterfaceConfig, LinkIdentity, PodRef, PodUid, Record,
};
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::NetnsId;

pub(crate) use devices::{FakeDevices, FakeState, Outcome, bare_snapshot};

use crate::cdi::Directory;
use crate::hook::Hook;
use crate::metrics::Metrics;
use crate::nri::{Deadline, Event, Pod, Request};

/// A hook over devices that are only a list; its CDI directory is `cdi` in this one.
pub(crate) fn hook_in(dir: &Path, home: Option<NetnsId>) -> Hook<FakeDevices> {
    let cdi = dir.join("cdi");
    let devices = FakeDevices {
        home,
        cdi: cdi.clone(),
        ..FakeDevices::default()
    };
    let cdi = Directory::new(cdi, "network.example.com".parse().unwrap(), None).unwrap();
    let metrics = Metrics::new(&mut Registry::default());
    Hook::new(Arc::new(devices), cdi, metrics, "boot".into())
}

/// What comes with an event of a runtime that waits this long.
pub(crate) fn request(millis: u64) -> Request {
    let deadline = Deadline::new(Instant::now(), Duration::from_millis(millis));
    Request {
        event: Event::Other,
        deadline,
        traceparent: None,
        runtime: "containerd v2.4.2".into(),
        socket: Path::new("/run/nri/nri.sock").into(),
    }
}

/// A claim's UID.
pub(crate) fn claim(uid: &str) -> ClaimUid {
    uid.parse().unwrap()
}

/// A pod's UID.
pub(crate) fn pod_uid(uid: &str) -> PodUid {
    uid.parse().unwrap()
}

/// A sandbox of a pod.
pub(crate) fn pod(sandbox: &str, uid: &str, netns: Option<&str>) -> Pod {
    Pod {
        sandbox: sandbox.parse().unwrap(),
        owner: PodRef {
            namespace: "default".into(),
            name: format!("pod-{uid}"),
            uid: pod_uid(uid),
        },
        netns: netns.map(Into::into),
    }
}

/// An interface in a pod.
pub(crate) fn interface(name: &str) -> AttachedInterface {
    AttachedInterface {
        device: "eth2".parse().unwrap(),
        name: name.parse().unwrap(),
        hardware_address: HardwareAddress::default(),
        addresses: Vec::new(),
        mtu: 1500,
        home_name: "eth2".parse().unwrap(),
    }
}

/// A record of a claim with one device, named after it, for these pods.
pub(crate) fn record(uid: &str, pods: &[&str]) -> Record {
    let name: IfName = format!("e-{uid}").parse().unwrap();
    let identity = LinkIdentity::Other {
        kind: "veth".into(),
        hardware_address: HardwareAddress::default(),
        home_name: name.clone(),
    };
    Record {
        claim: ClaimRef {
            namespace: "default".into(),
            name: format!("claim-{uid}"),
            uid: claim(uid),
        },
        pods: pods.iter().map(|pod| pod_uid(pod)).collect(),
        attachments: vec![Attachment {
            request: "nic".into(),
            pool: "node".into(),
            device: Arc::new(Device {
                name: DeviceName::of(&identity),
                identity,
                interface: name,
                attributes: Attributes::default(),
                capacity: BTreeMap::new(),
            }),
            config: InterfaceConfig::default(),
            snapshot: None,
        }],
        traceparent: None,
        prepared: UNIX_EPOCH
            .checked_add(Duration::from_secs(1_700_000_000))
            .unwrap(),
        boot_id: "boot".into(),
        sandbox: None,
    }
}
