use std::collections::BTreeMap;

use network_driver_common::model::{AttributeValue, DeviceName, LinkIdentity};
use network_driver_netlink::LinkFlags;

use super::*;
use crate::attribute::tests::{link, virtual_link};

fn reason(filters: &[Box<dyn DeviceFilter>], candidate: &Candidate<'_>) -> Option<String> {
    match verdict(filters, candidate) {
        Verdict::Advertise => None,
        Verdict::Hide(reason) => Some(reason.into_owned()),
    }
}

fn candidate(link: &Link) -> Candidate<'_> {
    Candidate {
        link,
        master: None,
        is_virtual: link.bus.is_none(),
        uplink: None,
        quarantine: None,
        twin: None,
        device: LazyCell::new(Box::new(|| panic!("only a condition looks at the device"))),
    }
}

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

fn offer() -> Offer {
    Offer {
        kinds: vec!["veth".into()],
        hidden_names: vec!["docker*".parse().unwrap(), "veth*".parse().unwrap()],
        ..Offer::default()
    }
}

/// Checks what becomes of each link.
fn assert_reasons(cases: impl IntoIterator<Item = (Link, Option<&'static str>)>) {
    let filters = filters(&driver(), offer());
    for (link, want) in cases {
        let found = reason(&filters, &candidate(&link));
        assert_eq!(found.as_deref(), want, "{}", link.name);
    }
}

#[test]
fn what_a_link_is_decides_with_a_reason() {
    let immutable = Link {
        netns_immutable: true,
        ..link(1, "eth1")
    };
    let without_device = Link {
        bus: None,
        ..link(1, "x0")
    };
    let in_vrf = Link {
        master: Some(7),
        slave_kind: Some("vrf".into()),
        ..link(1, "eth2")
    };
    let named_port = |name: &str, port: &str| Link {
        phys_port_name: Some(port.into()),
        ..link(1, name)
    };
    let immovable = "cannot be moved to another network namespace";
    assert_reasons([
        (link(1, "eth0"), None),
        (virtual_link(1, "nic0", "veth"), None),
        (with_flags("lo", 0x49), Some("is the loopback link")),
        (
            virtual_link(1, "mv0", "macvlan"),
            Some("is a macvlan (virtual kinds are not offered; see --offer-kinds)"),
        ),
        (
            virtual_link(1, "ifb0", "ifb"),
            Some("is an ifb (virtual kinds are not offered; see --offer-kinds)"),
        ),
        (
            virtual_link(1, "br0", "bridge"),
            Some("is a bridge, which cannot be moved to another network namespace"),
        ),
        (
            virtual_link(1, "bond0", "bond"),
            Some("is a bond, which cannot be moved to another network namespace"),
        ),
        (immutable, Some(immovable)),
        (
            without_device,
            Some("is virtual: no device stands behind it"),
        ),
        (in_vrf, Some("is in VRF link 7")),
        (
            named_port("eth0_3", "pf0vf3"),
            Some("is the representor of pf0vf3 and works for it from here"),
        ),
        (named_port("eth3", "p0"), None),
    ]);
}

#[test]
fn a_link_that_carries_our_mark_is_not_put_back_yet() {
    let with_alias = |alias: &str| Link {
        alias: alias.into(),
        ..link(1, "nd-7")
    };
    let ours = with_alias("network.example.com/1 claim=c-1 device=pci-0000-41-10-0 home=eth2");
    assert_reasons([
        (
            ours,
            Some(
                "is not put back: its alias says that claim c-1 has it as device pci-0000-41-10-0, at home named eth2 \
                 (take the alias away when all is well)",
            ),
        ),
        (
            with_alias("other.example.com/1 claim=c-1 device=d home=eth2"),
            None,
        ),
        (with_alias("network.example.com: rack 7"), None),
    ]);
}

#[test]
fn the_name_and_the_state_of_a_link_decide_with_a_reason() {
    let without_carrier = Link {
        carrier: false,
        ..link(1, "eth1")
    };
    assert_reasons([
        (
            virtual_link(1, "veth12", "veth"),
            Some("has a name like veth* (see --hide-names)"),
        ),
        (
            link(1, "docker0"),
            Some("has a name like docker* (see --hide-names)"),
        ),
        (
            with_flags("eth0", 0x1002),
            Some("is down (see --offer-down)"),
        ),
        (without_carrier, Some("has no carrier (see --offer-down)")),
    ]);
}

fn with_flags(name: &str, flags: u32) -> Link {
    Link {
        flags: LinkFlags::from_bits(flags),
        ..link(1, name)
    }
}

#[test]
fn ports_name_their_master_and_uplinks_their_reason_first() {
    let filters = filters(&driver(), offer());
    let master = virtual_link(2, "br0", "bridge");
    let port = Link {
        master: Some(2),
        slave_kind: Some("bridge".into()),
        ..link(1, "eth0")
    };
    let mut candidate = candidate(&port);
    candidate.master = Some(&master);
    assert_eq!(
        reason(&filters, &candidate).as_deref(),
        Some("is a port of bridge br0")
    );
    candidate.uplink = Some(&UplinkReason::DefaultRoute);
    assert_eq!(
        reason(&filters, &candidate).as_deref(),
        Some("carries the default route")
    );
}

#[test]
fn the_second_link_of_a_port_names_the_first() {
    let filters = filters(&driver(), offer());
    let twin = "eth0".parse().unwrap();
    let link = link(1, "eth0v0");
    let mut candidate = candidate(&link);
    candidate.twin = Some(&twin);
    assert_eq!(
        reason(&filters, &candidate).as_deref(),
        Some("is on the same port of a card as eth0")
    );
}

#[test]
fn down_links_are_offered_on_request() {
    let filters = filters(
        &driver(),
        Offer {
            down: true,
            ..offer()
        },
    );
    let mut link = link(1, "eth0");
    link.carrier = false;
    assert_eq!(reason(&filters, &candidate(&link)), None);
}

#[test]
fn patterns_fit_whole_names() {
    for (pattern, name, want) in [
        ("docker*", "docker0", true),
        ("docker*", "docker", true),
        ("docker*", "xdocker0", false),
        ("eth0", "eth0", true),
        ("eth0", "eth01", false),
        ("*", "x", true),
        ("*", "", true),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "abc", true),
        ("a*b*c", "ac", false),
        ("a*a", "a", false),
        ("*th*", "eth0", true),
        ("e*0", "eth0", true),
        ("e*0", "eth1", false),
        ("", "", true),
        ("", "x", false),
        ("**", "x", true),
    ] {
        let pattern: NamePattern = pattern.parse().unwrap();
        assert_eq!(pattern.fits(name.as_bytes()), want, "{pattern} {name}");
    }
}

#[test]
fn the_condition_is_asked_last_and_its_error_hides() {
    let driver: DriverName = "d.example.com".parse().unwrap();
    let sample = [("mtu".parse().unwrap(), AttributeValue::Int(1))];
    let text = r#"device.attributes["d.example.com"].mtu > 1400"#;
    let filter = CelFilter::new(text, &driver, sample.into()).unwrap();
    let filters = filters(
        &driver,
        Offer {
            condition: Some(filter),
            ..offer()
        },
    );
    let link = link(1, "eth0");
    let with = |mtu: Option<i64>| {
        let identity = LinkIdentity::Other {
            kind: String::new(),
            hardware_address: link.hardware_address.clone(),
            home_name: link.name.clone(),
        };
        let mtu = mtu.map(AttributeValue::Int);
        let device = Device {
            name: DeviceName::of(&identity),
            identity,
            interface: link.name.clone(),
            attributes: mtu
                .map(|mtu| ("mtu".parse().unwrap(), mtu))
                .into_iter()
                .collect(),
            capacity: BTreeMap::new(),
        };
        let mut candidate = candidate(&link);
        candidate.device = LazyCell::new(Box::new(|| device));
        reason(&filters, &candidate)
    };
    assert_eq!(with(Some(1500)), None);
    let want = "does not meet the filter (see --filter)";
    assert_eq!(with(Some(1400)).as_deref(), Some(want));
    let error = with(None).unwrap();
    assert!(
        error.starts_with("cannot be judged by the filter"),
        "{error}"
    );
    assert!(error.contains("mtu"), "{error}");
}
