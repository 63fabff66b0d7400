//! Which link is which, whatever it is called.

use std::collections::BTreeMap;

use network_driver_common::model::{
    ClaimUid, Device, DeviceName, DriverName, HardwareAddress, LinkIdentity,
};
use network_driver_netlink::{Link, LinkFlags, OperState, ParentDevice};

use super::node::{DRIVER, if_name};
use crate::links::identity::{at_home, marked, resembling};

/// A virtual link that is nothing but its name.
fn link(name: &str) -> Link {
    Link {
        index: 2,
        name: if_name(name.as_bytes()),
        kind: None,
        slave_kind: None,
        flags: LinkFlags::default(),
        mtu: 1500,
        min_mtu: None,
        max_mtu: None,
        hardware_address: HardwareAddress::default(),
        permanent_address: None,
        alias: Vec::new(),
        altnames: Vec::new(),
        master: None,
        parent: None,
        parent_netnsid: None,
        vxlan_lower: None,
        operstate: OperState::Unknown,
        carrier: false,
        bus: None,
        netns_immutable: false,
        phys_port_name: None,
        phys_switch_id: None,
        hardware_type: 1,
    }
}

fn pci(name: &str, address: &str, alias: &str) -> Link {
    Link {
        bus: Some(ParentDevice {
            bus: "pci".to_owned(),
            name: address.to_owned(),
        }),
        alias: alias.as_bytes().to_vec(),
        ..link(name)
    }
}

fn veth(name: &str, mac: &str, alias: &str) -> Link {
    Link {
        kind: Some("veth".to_owned()),
        hardware_address: mac.parse().unwrap(),
        alias: alias.as_bytes().to_vec(),
        ..link(name)
    }
}

fn pci_identity(dev_port: u32) -> LinkIdentity {
    LinkIdentity::Pci {
        address: "ffff:41:10.0".parse().unwrap(),
        dev_port,
    }
}

fn veth_identity() -> LinkIdentity {
    LinkIdentity::Other {
        kind: "veth".to_owned(),
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        home_name: if_name(b"eth1"),
    }
}

fn device(identity: LinkIdentity) -> Device {
    Device {
        name: DeviceName::of(&identity),
        identity,
        interface: if_name(b"eth1"),
        attributes: BTreeMap::new(),
        capacity: BTreeMap::new(),
    }
}

fn driver() -> DriverName {
    DRIVER.parse().unwrap()
}

fn claim() -> ClaimUid {
    "uid-1".parse().unwrap()
}

fn found(link: Option<&Link>) -> Option<String> {
    link.map(|link| link.name.to_string())
}

#[test]
fn at_home_a_pci_link_is_found_by_its_address_under_any_name() {
    let port = |name, port: &str| Link {
        phys_port_name: Some(port.to_owned()),
        ..pci(name, "ffff:41:10.0", "")
    };
    let links = [
        link("lo"),
        pci("other", "ffff:41:10.1", ""),
        port("a-host", "pf0"),
        port("a-vf", "pf0vf3"),
        port("a-sf", "c1pf0sf88"),
        port("twin", "p0"),
        port("renamed", "p0"),
    ];
    assert_eq!(
        found(at_home(&links, &pci_identity(0))).as_deref(),
        Some("renamed")
    );
    assert_eq!(found(at_home(&links, &pci_identity(1))), None);
}

#[test]
fn at_home_another_link_is_found_by_kind_address_and_name() {
    let good = veth("eth1", "02:00:00:00:00:01", "");
    assert!(at_home(std::slice::from_ref(&good), &veth_identity()).is_some());
    let wrong = [
        veth("eth2", "02:00:00:00:00:01", ""),
        veth("eth1", "02:00:00:00:00:02", ""),
        Link { kind: None, ..good },
    ];
    assert_eq!(found(at_home(&wrong, &veth_identity())), None);
}

#[test]
fn away_a_mark_is_believed_only_of_a_link_that_can_be_the_device() {
    let alias = "network.example.com/1 claim=uid-1 device=pci-ffff-41-10-0 home=eth1";
    let forged = [
        veth("forged", "02:00:00:00:00:01", alias),
        pci("net1", "ffff:41:10.0", alias),
    ];
    let device_0 = device(pci_identity(0));
    let mark = found(marked(&forged, &driver(), &claim(), &device_0));
    assert_eq!(mark.as_deref(), Some("net1"));
    assert_eq!(
        found(marked(&forged[..1], &driver(), &claim(), &device_0)),
        None
    );

    let alias = "network.example.com/1 claim=uid-1 device=eth1 home=eth1";
    let two = [
        veth("forged", "02:00:00:00:00:02", alias),
        veth("net1", "02:00:00:00:00:01", alias),
    ];
    let device = device(veth_identity());
    let mark = |links| found(marked(links, &driver(), &claim(), &device));
    assert_eq!(mark(&two[..]).as_deref(), Some("net1"));
    // The pod may have given it another address.
    assert_eq!(mark(&two[..1]).as_deref(), Some("forged"));
    let other = "uid-2".parse().unwrap();
    assert_eq!(found(marked(&two, &driver(), &other, &device)), None);
}

#[test]
fn away_an_unmarked_link_is_found_only_when_no_other_is_like_it() {
    let alias = "network.example.com/1 claim=uid-2 device=pci-ffff-41-10-0-p1 home=eth2";
    let ports = [
        pci("net1", "ffff:41:10.0", ""),
        pci("net2", "ffff:41:10.0", alias),
        pci("net3", "ffff:41:10.0", ""),
    ];
    let like =
        |links: &[Link], identity: &LinkIdentity| found(resembling(links, &driver(), identity));
    assert_eq!(like(&ports[..2], &pci_identity(0)).as_deref(), Some("net1"));
    assert_eq!(like(&ports, &pci_identity(0)), None);

    let permanent = Link {
        permanent_address: Some("02:00:00:00:00:01".parse().unwrap()),
        ..veth("net1", "02:00:00:00:00:77", "")
    };
    let links = [permanent, veth("net2", "02:00:00:00:00:02", "")];
    assert_eq!(like(&links, &veth_identity()).as_deref(), Some("net1"));
    let unset = LinkIdentity::Other {
        kind: String::new(),
        hardware_address: HardwareAddress::default(),
        home_name: if_name(b"tun0"),
    };
    assert_eq!(like(&[link("tun1")], &unset), None);
}
