use std::collections::BTreeMap;

use network_driver_common::model::{DeviceName, LinkIdentity};

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
        twin: None,
        device: LazyCell::new(Box::new(|| panic!("only a condition looks at the device"))),
    }
}

fn offer() -> Offer {
    Offer {
        kinds: vec!["veth".into()],
        hidden_names: vec!["docker*".parse().unwrap(), "veth*".parse().unwrap()],
        ..Offer::default()
    }
}

#[test]
fn every_link_that_is_not_offered_has_a_reason() {
    type Make = fn() -> Link;
    let cases: [(Make, Option<&str>); 16] = [
        (|| link(1, "eth0"), None),
        (|| virtual_link(1, "nic0", "veth"), None),
        (
            || {
                let mut lo = link(1, "lo");
                lo.flags = network_driver_netlink::LinkFlags::from_bits(0x49);
                lo
            },
            Some("is the loopback link"),
        ),
        (
            || virtual_link(1, "mv0", "macvlan"),
            Some("is a macvlan (virtual kinds are not offered; see --offer-kinds)"),
        ),
        (
            || virtual_link(1, "ifb0", "ifb"),
            Some("is an ifb (virtual kinds are not offered; see --offer-kinds)"),
        ),
        (
            || virtual_link(1, "br0", "bridge"),
            Some("is a bridge, which cannot be moved to another network namespace"),
        ),
        (
            || virtual_link(1, "bond0", "bond"),
            Some("is a bond, which cannot be moved to another network namespace"),
        ),
        (
            || Link {
                netns_immutable: true,
                ..link(1, "eth0")
            },
            Some("cannot be moved to another network namespace"),
        ),
        (
            || Link {
                bus: None,
                ..link(1, "x0")
            },
            Some("is virtual: no device stands behind it"),
        ),
        (
            || Link {
                master: Some(7),
                slave_kind: Some("vrf".into()),
                ..link(1, "eth0")
            },
            Some("is in VRF link 7"),
        ),
        (
            || Link {
                phys_port_name: Some("pf0vf3".into()),
                ..link(1, "eth0_3")
            },
            Some("is the representor of pf0vf3 and works for it from here"),
        ),
        (
            || Link {
                phys_port_name: Some("p0".into()),
                ..link(1, "eth0")
            },
            None,
        ),
        (
            || virtual_link(1, "veth12", "veth"),
            Some("has a name like veth* (see --hide-names)"),
        ),
        (
            || link(1, "docker0"),
            Some("has a name like docker* (see --hide-names)"),
        ),
        (
            || {
                let mut down = link(1, "eth0");
                down.flags = network_driver_netlink::LinkFlags::from_bits(0x1002);
                down
            },
            Some("is down (see --offer-down)"),
        ),
        (
            || Link {
                carrier: false,
                ..link(1, "eth0")
            },
            Some("has no carrier (see --offer-down)"),
        ),
    ];
    let filters = filters(offer());
    for (make, want) in cases {
        let link = make();
        assert_eq!(reason(&filters, &candidate(&link)).as_deref(), want, "{}", link.name);
    }
}

#[test]
fn ports_name_their_master_and_uplinks_their_reason_first() {
    let filters = filters(offer());
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
    let filters = filters(offer());
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
    let filters = filters(Offer {
        down: true,
        ..offer()
    });
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
fn representors_are_told_from_ways_out() {
    for port in ["pf0vf3", "c1pf0sf88", "pf0", "pf10vf255"] {
        assert!(is_representor(port), "{port}");
    }
    for port in ["p0", "p1s2", "", "pf", "pfvf", "pf0vf", "c1", "pf0vf1x", "vf1"] {
        assert!(!is_representor(port), "{port}");
    }
}

#[test]
fn the_condition_is_asked_last_and_its_error_hides() {
    let driver = "d.example.com".parse().unwrap();
    let sample = [("mtu".parse().unwrap(), network_driver_common::model::AttributeValue::Int(1))];
    let text = r#"device.attributes["d.example.com"].mtu > 1400"#;
    let filter = CelFilter::new(text, &driver, sample.into()).unwrap();
    let filters = filters(Offer {
        condition: Some(filter),
        ..offer()
    });
    let link = link(1, "eth0");
    let with = |mtu: Option<i64>| {
        let identity = LinkIdentity::Other {
            kind: String::new(),
            hardware_address: link.hardware_address.clone(),
            home_name: link.name.clone(),
        };
        let mtu = mtu.map(network_driver_common::model::AttributeValue::Int);
        let device = Device {
            name: DeviceName::of(&identity),
            identity,
            interface: link.name.clone(),
            attributes: mtu.map(|mtu| ("mtu".parse().unwrap(), mtu)).into_iter().collect(),
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
    assert!(error.starts_with("cannot be judged by the filter"), "{error}");
    assert!(error.contains("mtu"), "{error}");
}
