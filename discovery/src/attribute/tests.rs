use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use network_driver_common::model::HardwareAddress;
use network_driver_netlink::{LinkFlags, OperState, ParentDevice};

use super::*;

/// A physical link that is up.
pub(crate) fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.parse().unwrap(),
        kind: None,
        slave_kind: None,
        // IFF_UP, IFF_BROADCAST, IFF_RUNNING, IFF_MULTICAST
        flags: LinkFlags::from_bits(0x1043),
        mtu: 1500,
        min_mtu: None,
        max_mtu: None,
        hardware_address: "02:00:00:00:00:01".parse().unwrap(),
        permanent_address: None,
        alias: Vec::new(),
        altnames: Vec::new(),
        master: None,
        parent: None,
        parent_netnsid: None,
        vxlan_lower: None,
        operstate: OperState::Up,
        carrier: true,
        bus: Some(ParentDevice {
            bus: "pci".into(),
            name: "0000:41:00.0".into(),
        }),
        netns_immutable: false,
        phys_port_name: None,
        phys_switch_id: None,
        hardware_type: 1,
    }
}

/// A virtual link that is up.
pub(crate) fn virtual_link(index: u32, name: &str, kind: &str) -> Link {
    Link {
        kind: Some(kind.into()),
        bus: None,
        ..link(index, name)
    }
}

/// A folder that looks like /sys: eth0 is a PF (0000:41:00.0) with one VF (0000:41:10.0, eth1), eth2 a virtio link,
/// usb0 a USB adapter behind a PCI controller.
fn sysfs() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let join = |path: &str, target: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(root.path().join(target), path).unwrap();
    };
    let pf = "devices/pci0000:40/0000:40:01.0/0000:41:00.0";
    let vf = "devices/pci0000:40/0000:40:01.0/0000:41:10.0";
    for (function, device) in [(pf, "0x1521"), (vf, "0x1520")] {
        put(&format!("{function}/vendor"), "0x8086\n");
        put(&format!("{function}/device"), &format!("{device}\n"));
        put(&format!("{function}/numa_node"), "1\n");
    }
    put(&format!("{pf}/sriov_totalvfs"), "7\n");
    put(&format!("{pf}/sriov_numvfs"), "1\n");
    join(&format!("{pf}/driver"), "bus/pci/drivers/igb");
    join(&format!("{pf}/virtfn0"), vf);
    join(&format!("{vf}/physfn"), pf);
    join("bus/pci/devices/0000:41:00.0", pf);
    join("bus/pci/devices/0000:41:10.0", vf);
    let virtio = "devices/pci0000:00/0000:00:03.0/virtio1";
    put("devices/pci0000:00/0000:00:03.0/numa_node", "-1\n");
    put(&format!("{virtio}/status"), "0x0f\n");
    join("bus/virtio/devices/virtio1", virtio);
    put(
        "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/speed",
        "480\n",
    );
    let net = |name: &str, index: u32, device: &str| {
        put(&format!("class/net/{name}/ifindex"), &format!("{index}\n"));
        join(&format!("class/net/{name}/device"), device);
    };
    net("eth0", 1, pf);
    put("class/net/eth0/speed", "25000\n");
    put("class/net/eth0/duplex", "full\n");
    put("class/net/eth0/dev_port", "1\n");
    net("eth1", 2, vf);
    put("class/net/eth1/speed", "-1\n");
    put("class/net/eth1/duplex", "unknown\n");
    net("eth2", 3, virtio);
    net(
        "usb0",
        4,
        "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0",
    );
    root
}

fn read(root: &Path, link: &Link) -> (Facts, String) {
    let facts = Facts::read(&Sysfs::new(root), &providers(), link);
    let said = facts.lasting.0.iter().chain(&facts.with_carrier.0);
    let said: Vec<_> = said
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (facts.clone(), said.join(" "))
}

fn on_bus(index: u32, name: &str, bus: Option<(&str, &str)>) -> Link {
    Link {
        bus: bus.map(|(bus, name)| ParentDevice {
            bus: bus.into(),
            name: name.into(),
        }),
        ..link(index, name)
    }
}

#[test]
fn a_physical_function_says_where_it_sits_and_what_it_can() {
    let root = sysfs();
    let (facts, said) = read(root.path(), &link(1, "eth0"));
    assert_eq!(facts.pci, Some(("0000:41:00.0".parse().unwrap(), 1)));
    assert_eq!(
        said,
        "driver=igb pciVendor=8086 pciDevice=1521 resource.kubernetes.io/pciBusID=0000:41:00.0 \
         resource.kubernetes.io/pcieRoot=pci0000:40 numaNode=1 resource.kubernetes.io/numaNode=1 \
         sriovTotalVfs=7 speed=25000 duplex=full sriovVfs=1"
    );
}

#[test]
fn a_virtual_function_names_its_physical_one_and_no_speed_without_carrier() {
    let root = sysfs();
    let (_, said) = read(
        root.path(),
        &on_bus(2, "eth1", Some(("pci", "0000:41:10.0"))),
    );
    assert!(
        said.contains("sriovPfAddress=0000:41:00.0 sriovVf=0"),
        "{said}"
    );
    assert!(
        !said.contains("speed") && !said.contains("duplex"),
        "{said}"
    );
}

#[test]
fn a_virtio_link_belongs_to_the_function_above_and_a_usb_adapter_to_none() {
    let root = sysfs();
    let pci = |link: &Link| {
        read(root.path(), link)
            .0
            .pci
            .map(|(address, _)| address.to_string())
    };
    for bus in [Some(("virtio", "virtio1")), None] {
        let link = on_bus(3, "eth2", bus);
        assert_eq!(pci(&link).as_deref(), Some("0000:00:03.0"), "{bus:?}");
        assert!(!read(root.path(), &link).1.contains("numaNode"));
    }
    let usb = on_bus(4, "usb0", None);
    assert_eq!(pci(&usb), None);
    assert!(read(root.path(), &usb).0.has_device);
}

#[test]
fn files_of_another_namespaces_link_are_not_read() {
    let root = sysfs();
    let other = on_bus(99, "eth0", None);
    assert_eq!(read(root.path(), &other).0, Facts::default());
}

#[test]
fn only_what_depends_on_the_carrier_is_read_again() {
    let root = sysfs();
    let (facts, _) = read(root.path(), &link(1, "eth0"));
    fs::write(root.path().join("class/net/eth0/speed"), "10000\n").unwrap();
    let vendor = root
        .path()
        .join("devices/pci0000:40/0000:40:01.0/0000:41:00.0/vendor");
    fs::write(vendor, "0xffff\n").unwrap();
    let again = facts.refreshed(&Sysfs::new(root.path()), &providers(), &link(1, "eth0"));
    assert_eq!(again.lasting, facts.lasting);
    assert_ne!(again.with_carrier, facts.with_carrier);
}

fn said(link: &Link, addresses: &[&str], parent: Option<&Link>) -> Attributes {
    let addresses: Vec<IpNet> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let subject = Subject {
        link,
        addresses: &addresses,
        parent,
        is_virtual: link.bus.is_none(),
    };
    attributes(&providers(), &subject, &Facts::default())
}

fn text(attributes: &Attributes, name: &str) -> Option<String> {
    attributes
        .get(&name.parse().unwrap())
        .map(ToString::to_string)
}

#[test]
fn a_link_says_what_it_is() {
    let mut link = virtual_link(1, "vlan5", "vlan");
    link.altnames = vec![b"z".to_vec(), b"a\xff".to_vec()];
    let parent = tests::link(2, "bond0");
    let addresses = [
        "10.0.0.1/24",
        "169.254.1.1/16",
        "fd00::1/64",
        "fe80::1/64",
        "10.0.0.2/24",
    ];
    let attributes = said(&link, &addresses, Some(&parent));
    for (name, want) in [
        ("ifName", "vlan5"),
        ("kind", "vlan"),
        ("mac", "02:00:00:00:00:01"),
        ("mtu", "1500"),
        ("up", "true"),
        ("running", "true"),
        ("state", "up"),
        ("virtual", "true"),
        ("parent", "bond0"),
        ("altNames", "a\u{fffd},z"),
        ("ipv4", "10.0.0.1/24,10.0.0.2/24"),
        ("ipv6", "fd00::1/64"),
    ] {
        assert_eq!(text(&attributes, name).as_deref(), Some(want), "{name}");
    }
}

#[test]
fn what_is_not_there_is_not_said() {
    let mut link = link(1, "eth0");
    link.hardware_address = HardwareAddress::default();
    let attributes = said(&link, &["fe80::1/64"], None);
    for name in [
        "mac", "parent", "altNames", "ipv4", "ipv6", "speed", "numaNode",
    ] {
        assert_eq!(text(&attributes, name), None, "{name}");
    }
    assert_eq!(text(&attributes, "kind").as_deref(), Some("physical"));
}

#[test]
fn a_name_the_api_refuses_and_a_33rd_attribute_are_left_out_and_the_rest_stands() {
    let mut draft = Draft::default();
    draft.set("if-name", AttributeValue::Int(1));
    draft.set_text("empty", "");
    for number in 0..40 {
        draft.set(&format!("a{number:02}"), AttributeValue::Int(number));
    }
    draft.set("a00", AttributeValue::Int(100));
    let attributes = draft.finish();
    assert_eq!(attributes.len(), MAX_ATTRIBUTES);
    assert_eq!(text(&attributes, "a31").as_deref(), Some("31"));
    assert_eq!(text(&attributes, "a00").as_deref(), Some("100"));
    assert_eq!(text(&attributes, "a32"), None);
}

#[test]
fn the_sample_has_every_attribute_and_fits_a_device() {
    let sample = sample(&providers());
    let root = sysfs();
    let parent = link(9, "p");
    let mut vf = on_bus(2, "eth1", Some(("pci", "0000:41:10.0")));
    vf.altnames = vec![b"alt".to_vec()];
    let addresses: Vec<IpNet> = vec!["10.0.0.1/8".parse().unwrap(), "fd00::1/8".parse().unwrap()];
    for link in [&link(1, "eth0"), &vf] {
        let subject = Subject {
            link,
            addresses: &addresses,
            parent: Some(&parent),
            is_virtual: false,
        };
        let facts = read(root.path(), link).0;
        for (name, value) in attributes(&providers(), &subject, &facts) {
            let known = sample.get(&name);
            assert!(
                known.is_some_and(
                    |known| std::mem::discriminant(known) == std::mem::discriminant(&value)
                ),
                "{name} is not in the sample"
            );
        }
    }
    assert!(sample.len() <= MAX_ATTRIBUTES);
}
