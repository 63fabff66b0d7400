use std::collections::{BTreeMap, BTreeSet};

use network_driver_common::error::sentence;
use network_driver_common::model::{ClaimRef, LinkIdentity, Mtu};
use serde_json::{Value, json};

use super::*;

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

fn device(name: &DeviceName) -> Device {
    let interface: IfName = name.as_str().parse().unwrap();
    Device {
        name: name.clone(),
        identity: LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: "02:00:00:00:00:01".parse().unwrap(),
            home_name: interface.clone(),
        },
        interface,
        attributes: BTreeMap::new(),
        capacity: BTreeMap::new(),
    }
}

fn find(name: &DeviceName) -> Result<Arc<Device>, PrepareError> {
    if name.as_str().starts_with("eth") {
        Ok(Arc::new(device(name)))
    } else {
        let (device, node) = (name.clone(), "node-1".to_owned());
        Err(PrepareError::DeviceNotFound { device, node })
    }
}

fn claim(results: &[(&str, &str)], configs: Vec<(usize, &[&str], Value)>) -> AllocatedClaim {
    let config = |(index, requests, mut parameters): (usize, &[&str], Value)| {
        parameters["apiVersion"] = json!("network.example.com/v1alpha1");
        parameters["kind"] = json!("NetworkConfig");
        OpaqueConfig {
            index,
            requests: requests.iter().map(ToString::to_string).collect(),
            parameters,
        }
    };
    let result = |(request, device): &(&str, &str)| AllocatedDevice {
        request: (*request).to_owned(),
        pool: "node-1".into(),
        device: device.parse().unwrap(),
        admin_access: false,
    };
    AllocatedClaim {
        claim: ClaimRef {
            namespace: "default".into(),
            name: "nic".into(),
            uid: "c-1".parse().unwrap(),
        },
        results: results.iter().map(result).collect(),
        configs: configs.into_iter().map(config).collect(),
        pods: BTreeSet::new(),
    }
}

fn planned(claim: &AllocatedClaim) -> Result<Vec<Attachment>, PrepareError> {
    plan(claim, &driver(), "node-1", find)
}

#[test]
fn each_result_becomes_an_attachment_of_its_base_request() {
    let claim = claim(
        &[("nic/fast", "eth1"), ("other", "eth2")],
        vec![
            (0, &["nic/fast"], json!({"interface": {"name": "net1"}})),
            (1, &["nic"], json!({"interface": {"mtu": 1400}})),
        ],
    );
    let attachments = planned(&claim).unwrap();
    assert_eq!(attachments[0].request, "nic");
    let config = &attachments[0].config;
    assert_eq!(config.name, Some("net1".parse().unwrap()));
    assert_eq!(config.mtu.map(Mtu::get), Some(1400));
    assert_eq!(attachments[1].config, InterfaceConfig::default());
    assert_eq!(attachments[1].device.name.as_str(), "eth2");
}

#[test]
fn what_cannot_be_attached_is_said() {
    let named = |name: &str| json!({"interface": {"name": name}});
    let mut admin = claim(&[("nic", "eth1")], vec![]);
    admin.results[0].admin_access = true;
    let mut elsewhere = claim(&[("nic", "eth1")], vec![]);
    elsewhere.results[0].pool = "node-2".into();
    let cases = [
        (admin, "device eth1 is allocated with adminAccess"),
        (
            elsewhere,
            "device eth1 is of pool node-2, but this node's pool is node-1",
        ),
        (
            claim(&[("nic", "gone")], vec![]),
            "device gone is not on node node-1",
        ),
        (
            claim(&[("a", "eth1"), ("b", "eth1")], vec![]),
            "device eth1 is allocated twice",
        ),
        (
            claim(
                &[("a", "eth1"), ("a", "eth2")],
                vec![(0, &[], named("net1"))],
            ),
            "invalid configuration: interface.name: devices eth1 and eth2 would both be named net1",
        ),
        (
            claim(
                &[("a", "eth1"), ("b", "eth2")],
                vec![(0, &["a"], named("eth2"))],
            ),
            "invalid configuration: interface.name: devices eth1 and eth2 would both be named eth2",
        ),
        (
            claim(
                &[("a", "eth1")],
                vec![(
                    0,
                    &[],
                    json!({"interface": {"mtu": 1000, "addresses": ["fd00::1/64"]}}),
                )],
            ),
            "invalid configuration: interface.mtu: 1000 is below the 1280",
        ),
        (
            claim(
                &[("a", "eth1")],
                vec![
                    (2, &[], json!({"vlan": 1})),
                    (5, &[], json!({"interface": {"mtu": 1}})),
                ],
            ),
            "invalid configuration: config[2].vlan: unknown field `vlan`, expected one of \
             `apiVersion`, `kind`, `interface`, `routes`; config[5].interface.mtu: MTU 1 must",
        ),
    ];
    for (claim, want) in cases {
        let text = sentence(&planned(&claim).unwrap_err());
        assert!(
            text.starts_with(want),
            "{text:?} does not start with {want:?}"
        );
    }
}
