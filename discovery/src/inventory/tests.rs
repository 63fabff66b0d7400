use std::time::SystemTime;

use network_driver_common::model::{
    AttributeValue, FaultReason, RouteOptions, SnapshotAddress, SnapshotRoute,
};

use super::*;
use crate::attribute::providers;
use crate::attribute::tests::{link, virtual_link};
use crate::filter::{Offer, filters};

fn inventory() -> Inventory {
    let kinds = vec!["veth".to_owned()];
    let offer = Offer {
        kinds: kinds.clone(),
        ..Offer::default()
    };
    let rules = Rules {
        filters: filters(&"network.example.com".parse().unwrap(), offer),
        providers: Arc::new(providers()),
        kinds,
    };
    Inventory::new(rules, Protected::default())
}

/// An inventory of these links, with no default route.
fn with(links: &[Link]) -> Inventory {
    let mut inventory = inventory();
    inventory.replace(links.to_vec(), Vec::new());
    inventory.set_routes(Some(Vec::new()));
    inventory.settle();
    inventory
}

fn nic(index: u32, name: &str) -> Link {
    virtual_link(index, name, "veth")
}

fn address(index: u32, text: &str) -> Address {
    Address {
        index,
        address: SnapshotAddress {
            address: text.parse().unwrap(),
            peer: None,
            broadcast: None,
            scope: 0,
            flags: 0,
            label: Vec::new(),
            preferred_lifetime: u32::MAX,
            valid_lifetime: u32::MAX,
            protocol: 0,
            metric: 0,
        },
    }
}

fn route(destination: &str, index: u32) -> RouteEntry {
    RouteEntry {
        index: Some(index),
        next_hops: Vec::new(),
        unkept: None,
        route: SnapshotRoute {
            destination: destination.parse().unwrap(),
            gateway: None,
            preferred_source: None,
            table: 254,
            protocol: 4,
            scope: 0,
            kind: 1,
            metric: 0,
            onlink: false,
            options: RouteOptions::default(),
        },
    }
}

/// What a person would see: `name offered` or `name reason`.
fn shown(inventory: &Inventory) -> Vec<String> {
    let view = inventory.view();
    let links = view.links.iter().map(|link| match &link.offered {
        Offered::As(device) => format!("{} offered as {}", link.name, device.name),
        Offered::No { reason, .. } => format!("{} {reason}", link.name),
    });
    links.collect()
}

fn attribute(inventory: &Inventory, device: &str, name: &str) -> Option<AttributeValue> {
    let view = inventory.view();
    let mut devices = view.devices();
    let device = devices.find(|found| found.name.as_str() == device)?;
    device.attributes.get(&name.parse().unwrap()).cloned()
}

fn gone(index: u32, name: &str) -> Event {
    Event::LinkGone {
        index,
        name: name.parse().unwrap(),
        moved: true,
    }
}

#[test]
fn without_routes_nothing_is_offered() {
    let mut inventory = with(&[nic(1, "a")]);
    assert_eq!(shown(&inventory), ["a offered as a"]);
    inventory.set_routes(None);
    assert!(inventory.settle());
    assert_eq!(
        shown(&inventory),
        ["a may carry the default route, whose link cannot be told"]
    );
    assert_eq!(inventory.view().counts().protected, 1);
}

#[test]
fn a_link_comes_changes_and_goes() {
    let mut inventory = with(&[]);
    inventory.apply(Event::Link(nic(1, "a")));
    assert!(inventory.settle());
    assert_eq!(shown(&inventory), ["a offered as a"]);
    let mut changed = nic(1, "a");
    changed.mtu = 9000;
    inventory.apply(Event::Link(changed.clone()));
    assert!(inventory.settle());
    assert_eq!(
        attribute(&inventory, "a", "mtu"),
        Some(AttributeValue::Int(9000))
    );
    inventory.apply(Event::Link(changed));
    assert!(!inventory.settle(), "the same again shows nothing new");
    inventory.apply(gone(1, "a"));
    assert!(inventory.settle());
    assert!(shown(&inventory).is_empty());
    inventory.apply(gone(1, "a"));
    assert!(!inventory.settle());
}

#[test]
fn a_change_that_no_attribute_shows_makes_no_view() {
    let mut inventory = with(&[nic(1, "a")]);
    let mut changed = nic(1, "a");
    changed.alias = b"rack 7".to_vec();
    inventory.apply(Event::Link(changed));
    assert!(!inventory.settle());
}

#[test]
fn a_card_is_held_back_while_a_tunnel_sends_over_it() {
    let mut inventory = with(&[nic(1, "a"), nic(2, "b")]);
    let tunnel = Link {
        vxlan_lower: Some(1),
        ..virtual_link(3, "flannel.1", "vxlan")
    };
    inventory.apply(Event::Link(tunnel.clone()));
    assert!(inventory.settle());
    assert_eq!(
        shown(&inventory)[..2],
        [
            "a carries flannel.1, which the kernel would delete",
            "b offered as b"
        ]
    );
    // `ip link set flannel.1 type vxlan dev b`
    inventory.apply(Event::Link(Link {
        vxlan_lower: Some(2),
        ..tunnel
    }));
    assert!(inventory.settle());
    assert_eq!(
        shown(&inventory)[..2],
        [
            "a offered as a",
            "b carries flannel.1, which the kernel would delete"
        ]
    );
}

#[test]
fn a_rename_is_another_device_and_shows_in_what_others_say() {
    let port = Link {
        master: Some(1),
        slave_kind: Some("bridge".into()),
        ..nic(2, "b")
    };
    let child = Link {
        parent: Some(3),
        ..nic(4, "d")
    };
    let mut inventory = with(&[virtual_link(1, "br0", "bridge"), port, nic(3, "c"), child]);
    inventory.apply(Event::Link(virtual_link(1, "br1", "bridge")));
    inventory.apply(Event::Link(nic(3, "e_f")));
    assert!(inventory.settle());
    assert_eq!(
        shown(&inventory)[1..],
        [
            "b is a port of bridge br1",
            "e_f offered as x--655f66",
            "d offered as d"
        ]
    );
    assert_eq!(
        attribute(&inventory, "d", "parent"),
        Some(AttributeValue::text("e_f"))
    );
}

#[test]
fn a_default_route_protects_at_once_and_until_it_is_known_to_be_gone() {
    let mut inventory = with(&[nic(1, "a"), nic(2, "b")]);
    assert!(!inventory.take_routes_stale());
    inventory.apply(Event::Route(route("0.0.0.0/0", 1)));
    assert!(inventory.settle());
    assert_eq!(
        shown(&inventory),
        ["a carries the default route", "b offered as b"]
    );
    // What the new one replaced is not told: read them again.
    assert!(inventory.take_routes_stale());
    inventory.apply(Event::RouteGone(route("0.0.0.0/0", 1)));
    assert!(!inventory.settle());
    assert!(inventory.take_routes_stale());
    inventory.set_routes(Some(vec![route("10.0.0.0/8", 1)]));
    assert!(inventory.settle());
    assert_eq!(shown(&inventory), ["a offered as a", "b offered as b"]);
}

#[test]
fn a_link_that_goes_down_has_its_routes_read_again() {
    let mut inventory = with(&[nic(1, "a")]);
    let mut down = nic(1, "a");
    down.flags = network_driver_netlink::LinkFlags::from_bits(0x1002);
    inventory.apply(Event::Link(down));
    assert!(inventory.take_routes_stale());
    assert!(!inventory.take_routes_stale());
}

#[test]
fn the_nodes_address_and_the_way_to_the_api_server_protect() {
    let mut inventory = with(&[nic(1, "a"), nic(2, "b"), nic(3, "c")]);
    let server: IpAddr = "10.9.9.9".parse().unwrap();
    inventory.set_destinations([server, "10.0.0.5".parse().unwrap()].into());
    assert!(
        inventory.take_routes_stale(),
        "the ways have to be looked up"
    );
    inventory.set_routed(vec![(server, 2)], &BTreeSet::new());
    inventory.apply(Event::Address(address(1, "10.0.0.5/24")));
    inventory.settle();
    let want = [
        "a holds the node's address 10.0.0.5",
        "b is the way to 10.9.9.9",
        "c offered as c",
    ];
    assert_eq!(shown(&inventory), want);
    inventory.apply(Event::AddressGone(address(1, "10.0.0.5/24")));
    inventory.settle();
    assert_eq!(shown(&inventory)[0], "a offered as a");
    inventory.set_routed(Vec::new(), &[server].into());
    inventory.settle();
    let still = "b is the way to 10.9.9.9";
    assert_eq!(shown(&inventory)[1], still, "the kernel was not asked");
    inventory.set_routed(Vec::new(), &BTreeSet::new());
    inventory.settle();
    assert_eq!(shown(&inventory)[1], "b offered as b");
}

#[test]
fn addresses_are_shown_in_a_stable_order_and_a_renewed_one_is_no_change() {
    let mut inventory = with(&[nic(1, "a")]);
    // An address may be told before its link.
    inventory.apply(Event::Address(address(2, "10.0.2.1/24")));
    for text in ["10.0.0.2/24", "10.0.0.1/24"] {
        inventory.apply(Event::Address(address(1, text)));
    }
    inventory.settle();
    let ipv4 = |inventory: &Inventory, device| attribute(inventory, device, "ipv4");
    let want = AttributeValue::text("10.0.0.1/24,10.0.0.2/24");
    assert_eq!(ipv4(&inventory, "a"), Some(want));
    let mut renewed = address(1, "10.0.0.1/24");
    renewed.address.valid_lifetime = 7200;
    inventory.apply(Event::Address(renewed));
    assert!(!inventory.settle());
    inventory.apply(Event::Link(nic(2, "b")));
    inventory.settle();
    assert_eq!(
        ipv4(&inventory, "b"),
        Some(AttributeValue::text("10.0.2.1/24"))
    );
}

#[test]
fn files_are_read_once_for_a_link_and_again_for_its_carrier_only() {
    let mut inventory = with(&[
        link(1, "eth0"),
        nic(2, "b"),
        virtual_link(3, "mv", "macvlan"),
    ]);
    let unread = |inventory: &mut Inventory| {
        let unread = inventory.take_unread().into_iter();
        unread
            .map(|(link, _, unread)| (link.index, unread))
            .collect::<Vec<_>>()
    };
    assert_eq!(unread(&mut inventory), [(1, Unread::All), (2, Unread::All)]);
    let mut changed = link(1, "eth0");
    changed.mtu = 9000;
    inventory.apply(Event::Link(changed.clone()));
    assert_eq!(unread(&mut inventory), []);
    changed.carrier = false;
    inventory.apply(Event::Link(changed.clone()));
    assert_eq!(unread(&mut inventory), [(1, Unread::WithCarrier)]);
    // The same number under another device is another link.
    changed.bus = None;
    inventory.apply(Event::Link(changed));
    assert_eq!(unread(&mut inventory), [(1, Unread::All)]);
    inventory.audit_files();
    assert_eq!(
        unread(&mut inventory),
        [(1, Unread::WithCarrier), (2, Unread::WithCarrier)]
    );
}

#[test]
fn a_pci_link_is_named_after_its_address_and_one_of_a_port_is_offered() {
    let mut inventory = with(&[link(1, "eth0"), link(2, "aaa"), link(3, "eth2")]);
    let facts = |port| {
        let mut facts = Facts::default();
        facts.pci = Some(("0000:41:00.0".parse().unwrap(), port));
        facts.has_device = true;
        facts
    };
    inventory.set_facts(1, facts(0));
    inventory.set_facts(2, facts(0));
    inventory.set_facts(3, facts(1));
    inventory.settle();
    assert_eq!(
        shown(&inventory),
        [
            "eth0 is on the same port of a card as aaa",
            "aaa offered as pci-0000-41-00-0",
            "eth2 offered as pci-0000-41-00-0-p1",
        ]
    );
    let representor = Link {
        phys_port_name: Some("pf0vf1".into()),
        ..link(2, "aaa")
    };
    inventory.apply(Event::Link(representor));
    inventory.apply(Event::Link(Link {
        mtu: 1400,
        ..link(1, "eth0")
    }));
    inventory.settle();
    assert_eq!(
        shown(&inventory)[..2],
        [
            "eth0 offered as pci-0000-41-00-0",
            "aaa is the representor of pf0vf1 and works for it from here",
        ]
    );
    inventory.apply(gone(1, "eth0"));
    inventory.settle();
    assert_eq!(shown(&inventory).len(), 2);
}

fn devices(inventory: &Inventory) -> BTreeSet<NameAndAttributes> {
    let view = inventory.view();
    let devices = view.devices();
    devices
        .map(|device| (device.name.clone(), format!("{:?}", device.attributes)))
        .collect()
}

/// A device's name and what is said of it.
type NameAndAttributes = (DeviceName, String);

fn in_use(inventory: &Inventory, device: &str, claim: &str) -> InUse {
    let view = inventory.view();
    let mut devices = view.devices();
    let device = devices.find(|found| found.name.as_str() == device);
    InUse {
        device: Arc::clone(device.unwrap()),
        claim: claim.parse().unwrap(),
        fault: None,
    }
}

fn held(used: InUse) -> InUseByDevice {
    Arc::new([(used.device.name.clone(), used)].into())
}

#[test]
fn a_device_in_use_keeps_its_entry_wherever_its_link_is() {
    let mut inventory = with(&[nic(1, "a"), nic(2, "b")]);
    let used = in_use(&inventory, "a", "c-1");
    let before = devices(&inventory);
    inventory.set_in_use(held(used.clone()));
    assert!(inventory.settle());
    inventory.apply(gone(1, "a"));
    assert!(inventory.settle());
    assert_eq!(devices(&inventory), before);
    let counts = inventory.view().counts();
    assert_eq!((counts.offered, counts.in_use), (1, 1));
    // Home again, changed, and still held.
    let mut home = nic(7, "a");
    home.mtu = 1400;
    inventory.apply(Event::Link(home));
    inventory.settle();
    assert_eq!(devices(&inventory), before);
    // Free again: offered as it is now.
    inventory.set_in_use(Arc::default());
    assert!(inventory.settle());
    assert_eq!(
        attribute(&inventory, "a", "mtu"),
        Some(AttributeValue::Int(1400))
    );
    inventory.set_in_use(Arc::default());
    assert!(!inventory.settle());
}

#[test]
fn every_device_that_ceases_to_be_there_is_counted() {
    let mut inventory = with(&[nic(1, "a"), nic(2, "b"), nic(3, "c")]);
    let losses = |inventory: &mut Inventory| {
        inventory.settle();
        inventory.view().losses
    };
    let used = in_use(&inventory, "a", "c-1");
    inventory.set_in_use(held(used));
    inventory.apply(gone(1, "a"));
    assert_eq!(losses(&mut inventory), 0, "it is in a pod");
    let mut changed = nic(2, "b");
    changed.mtu = 9000;
    inventory.apply(Event::Link(changed.clone()));
    assert_eq!(losses(&mut inventory), 0, "it is still there");
    changed.carrier = false;
    inventory.apply(Event::Link(changed));
    assert_eq!(losses(&mut inventory), 1);
    inventory.apply(gone(3, "c"));
    assert_eq!(losses(&mut inventory), 2);
    inventory.set_in_use(Arc::default());
    assert_eq!(
        losses(&mut inventory),
        3,
        "the pod ended and it did not come home"
    );
}

#[test]
fn a_device_in_use_that_fails_is_urgent_once_and_stays_published() {
    let mut inventory = with(&[nic(1, "a")]);
    let well = in_use(&inventory, "a", "c-1");
    let before = devices(&inventory);
    let failed = InUse {
        fault: Some(DeviceFault {
            reason: FaultReason::CarrierDown,
            message: "no carrier".into(),
            since: SystemTime::UNIX_EPOCH,
        }),
        ..well.clone()
    };
    inventory.set_in_use(held(well.clone()));
    inventory.settle();
    for (list, losses) in [(&failed, 1), (&failed, 1), (&well, 1), (&failed, 2)] {
        inventory.set_in_use(held(list.clone()));
        inventory.settle();
        assert_eq!(inventory.view().losses, losses);
        assert_eq!(devices(&inventory), before);
    }
}

fn quarantine(link: &Link) -> Quarantine {
    Quarantine {
        device: link.name.to_string().parse().unwrap(),
        identity: Some(LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: link.hardware_address.clone(),
            home_name: link.name.clone(),
        }),
        reason: "its name is taken".into(),
        since: None,
        claim: None,
        lost: false,
    }
}

#[test]
fn a_link_in_quarantine_is_not_offered_under_any_name_until_it_is_released() {
    let a = nic(1, "a");
    let b = Link {
        hardware_address: "02:00:00:00:00:0b".parse().unwrap(),
        ..nic(2, "b")
    };
    let mut inventory = with(&[a.clone(), b]);
    let used = in_use(&inventory, "a", "c-1");
    inventory.set_in_use(held(used));
    inventory.apply(gone(1, "a"));
    // Home again under another name, its own being taken by a link of another address.
    let usurper = Link {
        hardware_address: "02:00:00:00:00:99".parse().unwrap(),
        ..nic(8, "a")
    };
    let home = Link {
        name: "nd-7".parse().unwrap(),
        index: 7,
        ..a.clone()
    };
    inventory.apply(Event::Link(usurper));
    inventory.apply(Event::Link(home.clone()));
    inventory.set_quarantined(vec![quarantine(&a)]);
    assert!(inventory.settle());
    let names: Vec<_> = inventory
        .view()
        .devices()
        .map(|d| d.name.to_string())
        .collect();
    assert_eq!(names, ["b", "a"], "while it is held, its entry stays");
    inventory.set_in_use(Arc::default());
    inventory.settle();
    let why = "is in quarantine: its name is taken (see `dra-plugin quarantine release a`)";
    let hidden = |name: &str| format!("{name} {why}");
    let shown_now = [hidden("nd-7"), hidden("a"), "b offered as b".to_owned()];
    let mut found = shown(&inventory);
    found.sort_by_key(|line| !line.starts_with("nd-7"));
    assert_eq!(found[0], shown_now[0]);
    assert!(
        found.contains(&shown_now[1]) && found.contains(&shown_now[2]),
        "{found:?}"
    );
    let names: Vec<_> = inventory
        .view()
        .devices()
        .map(|d| d.name.to_string())
        .collect();
    assert_eq!(names, ["b"]);
    // Put right by hand: still not offered before it is released.
    inventory.apply(gone(8, "a"));
    inventory.apply(Event::Link(Link {
        name: a.name.clone(),
        ..home
    }));
    inventory.settle();
    assert_eq!(
        shown(&inventory),
        ["b offered as b".to_owned(), hidden("a")]
    );
    inventory.set_quarantined(Vec::new());
    assert!(inventory.settle());
    assert_eq!(shown(&inventory), ["b offered as b", "a offered as a"]);
}

#[test]
fn once_the_link_has_its_name_again_what_looks_like_it_is_offered() {
    let a = nic(1, "a");
    let twin = Link {
        name: "twin".parse().unwrap(),
        index: 2,
        ..a.clone()
    };
    let mut inventory = with(&[a.clone(), twin]);
    inventory.set_quarantined(vec![quarantine(&a)]);
    inventory.settle();
    let shown = shown(&inventory);
    assert!(shown[0].starts_with("a is in quarantine"), "{shown:?}");
    assert_eq!(shown[1], "twin offered as twin");
}

#[test]
fn an_empty_first_list_of_devices_in_use_is_news() {
    let mut inventory = with(&[]);
    assert!(!inventory.view().in_use_known);
    inventory.set_in_use(Arc::default());
    assert!(inventory.settle());
    assert!(inventory.view().in_use_known);
}

#[test]
fn a_dump_after_lost_events_corrects_everything_and_writes_nothing_when_all_is_known() {
    let mut inventory = with(&[nic(1, "a"), nic(2, "b")]);
    inventory.replace(vec![nic(1, "a"), nic(2, "b")], Vec::new());
    inventory.set_routes(Some(Vec::new()));
    assert!(!inventory.settle());
    inventory.replace(
        vec![nic(2, "b"), nic(3, "c")],
        vec![address(2, "10.0.0.1/24")],
    );
    assert!(inventory.settle());
    assert_eq!(shown(&inventory), ["b offered as b", "c offered as c"]);
    assert!(attribute(&inventory, "b", "ipv4").is_some());
}

#[test]
fn an_event_touches_its_own_link_only() {
    let links: Vec<Link> = (1..=1000).map(|n| nic(n, &format!("n{n}"))).collect();
    let mut inventory = with(&links);
    let before = inventory.view();
    let mut changed = nic(500, "n500");
    changed.mtu = 9000;
    inventory.apply(Event::Link(changed));
    assert_eq!(inventory.dirty.links, [500].into());
    assert!(!inventory.dirty.uplinks);
    inventory.settle();
    let after = inventory.view();
    let pairs = before.links.iter().zip(&after.links);
    let remade = pairs.filter(|(before, after)| !Arc::ptr_eq(before, after));
    assert_eq!(remade.count(), 1);
}

mod events {
    use proptest::prelude::*;

    use super::*;

    /// Something that may happen to one of a few links.
    fn event() -> impl Strategy<Value = Event> {
        let index = 1..6_u32;
        let link = (index.clone(), 0..4_u8, any::<bool>(), 0..7_u32, 0..7_u32);
        let link = link.prop_map(|(index, name, carrier, master, parent)| Link {
            carrier,
            master: (master > 4).then_some(master),
            parent: (parent != index && parent > 3).then_some(parent),
            ..nic(index, &format!("n{index}{name}"))
        });
        prop_oneof![
            4 => link.prop_map(Event::Link),
            1 => index.clone().prop_map(|index| gone(index, "x")),
            2 => (index.clone(), 1..4_u8)
                .prop_map(|(index, n)| Event::Address(address(index, &format!("10.0.0.{n}/24")))),
            1 => (index, 1..4_u8)
                .prop_map(|(index, n)| Event::AddressGone(address(index, &format!("10.0.0.{n}/24")))),
        ]
    }

    proptest! {
        /// Whatever happens, in whatever portions, the inventory is what a first look at the end would show.
        #[test]
        fn lead_to_what_a_dump_shows(portions in prop::collection::vec(prop::collection::vec(event(), 0..6), 0..12)) {
            let destinations: BTreeSet<IpAddr> = ["10.0.0.1".parse().unwrap()].into();
            let mut followed = with(&[]);
            followed.set_destinations(destinations.clone());
            for event in portions.into_iter().flat_map(|mut events| {
                events.push(Event::Overrun);
                events
            }) {
                let settle = event == Event::Overrun;
                followed.apply(event);
                if settle {
                    followed.settle();
                }
            }
            let links: Vec<Link> = followed.links.values().map(|entry| entry.link.clone()).collect();
            let addresses: Vec<Address> = followed.addresses.values().flatten().cloned().collect();
            let mut fresh = inventory();
            fresh.set_destinations(destinations);
            fresh.replace(links, addresses);
            fresh.set_routes(Some(Vec::new()));
            fresh.settle();
            prop_assert_eq!(shown(&followed), shown(&fresh));
            prop_assert_eq!(devices(&followed), devices(&fresh));
        }
    }
}
