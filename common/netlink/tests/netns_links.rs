//! Links against the real kernel, in namespaces of their own.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use network_driver_common::model::{IfName, LinkParameter, SettableFlags};
use network_driver_netlink::testing::{Namespace, skipped_without};
use network_driver_netlink::{
    Dumper, Errno, LinkChange, LinkKind, MacvlanMode, NewLink, OperState, Socket,
};

fn name(text: impl AsRef<[u8]>) -> IfName {
    IfName::try_from(text.as_ref()).unwrap()
}

#[test]
fn netns_a_link_moves_and_is_renamed_in_one_request() {
    let (home, pod, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let before = home.link("nic0").unwrap();
    let mut socket = home.socket().unwrap();
    socket
        .move_link(before.index, pod.netns(), &name("net1"))
        .unwrap();
    assert_eq!(home.link_names().unwrap(), []);
    let after = pod.link("net1").unwrap();
    assert_eq!(after.hardware_address, before.hardware_address);
    assert_eq!(after.kind.as_deref(), Some("veth"));
    assert!(!after.flags.up());
    assert!(socket.link(before.index).unwrap().is_none());
}

#[test]
fn netns_a_move_to_a_taken_name_fails_with_the_link_over_there_under_its_old_name() {
    let (home, pod, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    pod.veth("net1", &far, "far1").unwrap();
    let index = home.link("nic0").unwrap().index;
    let error = home
        .socket()
        .unwrap()
        .move_link(index, pod.netns(), &name("net1"))
        .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EEXIST));
    assert_eq!(home.link_names().unwrap(), []);
    assert_eq!(pod.link_names().unwrap(), [name("net1"), name("nic0")]);
}

#[test]
fn netns_a_link_changes_as_asked() {
    let (home, _, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let mut socket = home.socket().unwrap();
    let index = home.link("nic0").unwrap().index;
    let change = LinkChange {
        name: Some(name("nic1")),
        mtu: Some(1400),
        hardware_address: Some("02:00:00:00:00:07".parse().unwrap()),
        up: Some(true),
        alias: Some(b"to the \xff switch".to_vec()),
        master: None,
        flags: Some(SettableFlags::from_bits(0x180)), // noarp, promisc
        parameters: [
            (LinkParameter::TxQueueLength, 77),
            (LinkParameter::GsoMaxSize, 40_000),
        ]
        .into(),
    };
    socket.change_link(index, &change).unwrap();
    let (link, settings) = socket.link_with_settings(index).unwrap().unwrap();
    let numbers = settings.parameters();
    assert!(change.parameters.iter().all(|(k, v)| numbers[k] == *v));
    assert!(link.flags.no_arp() && link.flags.promiscuous());
    assert!(!link.flags.multicast() && link.flags.broadcast());
    assert_eq!(link.name, name("nic1"));
    assert_eq!(link.mtu, 1400);
    assert_eq!(link.hardware_address.to_string(), "02:00:00:00:00:07");
    assert!(link.flags.up() && !link.flags.lower_up());
    assert_eq!(link.alias, b"to the \xff switch");
    assert_eq!(link.min_mtu, Some(68));
    // The kernel looks at the carrier a moment later.
    let end = Instant::now() + Duration::from_secs(10);
    while !matches!(
        socket.link(index).unwrap().unwrap().operstate,
        OperState::Down | OperState::LowerLayerDown
    ) {
        assert!(Instant::now() < end, "{:?}", home.link("nic1"));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(link.parent.is_some() && link.parent_netnsid.is_some());

    let change = LinkChange {
        up: Some(false),
        alias: Some(Vec::new()),
        ..LinkChange::default()
    };
    socket.change_link(index, &change).unwrap();
    let link = socket.link(index).unwrap().unwrap();
    assert!(!link.flags.up() && link.flags.promiscuous());
    assert_eq!(link.alias, b"");
}

#[test]
fn netns_a_link_joins_a_bridge_and_leaves_it() {
    if skipped_without(&LinkKind::Bridge).unwrap() {
        return;
    }
    let (home, _, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let mut socket = home.socket().unwrap();
    socket
        .create_link(&NewLink::new(name("br0"), LinkKind::Bridge))
        .unwrap();
    let bridge = home.link("br0").unwrap().index;
    let index = home.link("nic0").unwrap().index;
    let join = |master| LinkChange {
        master: Some(master),
        ..LinkChange::default()
    };
    socket.change_link(index, &join(bridge)).unwrap();
    let link = home.link("nic0").unwrap();
    assert_eq!(link.master, Some(bridge));
    assert_eq!(link.slave_kind.as_deref(), Some("bridge"));
    socket.change_link(index, &join(0)).unwrap();
    assert_eq!(home.link("nic0").unwrap().master, None);
    assert_eq!(home.link("br0").unwrap().kind.as_deref(), Some("bridge"));
}

#[test]
fn netns_names_need_not_be_text() {
    let (home, _, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let mut socket = home.socket().unwrap();
    let index = home.link("nic0").unwrap().index;
    for odd in [&b"a\xffb"[..], b"0123456789abcde", b"...", b"a_b.c"] {
        let change = LinkChange {
            name: Some(name(odd)),
            ..LinkChange::default()
        };
        socket.change_link(index, &change).unwrap();
        let link = socket.link_by_name(&name(odd)).unwrap().unwrap();
        assert_eq!((link.index, link.name.as_bytes()), (index, odd));
    }
}

#[test]
fn netns_alternative_names_come_and_go_and_are_found() {
    let (home, pod, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let mut socket = home.socket().unwrap();
    let index = home.link("nic0").unwrap().index;
    let long = [b'x'; 127];
    for altname in [&b"uplink-a"[..], b"odd\xfe", &long] {
        socket.add_altname(index, altname).unwrap();
    }
    let link = socket.link(index).unwrap().unwrap();
    assert_eq!(link.altnames, [&b"uplink-a"[..], b"odd\xfe", &long]);
    let taken = socket.link_by_name(&name("uplink-a")).unwrap().unwrap();
    assert_eq!(taken.name, name("nic0"));

    socket.delete_altname(index, &long).unwrap();
    socket.move_link(index, pod.netns(), &name("net1")).unwrap();
    let link = pod.link("net1").unwrap();
    assert_eq!(link.altnames, [&b"uplink-a"[..], b"odd\xfe"]);
}

#[test]
fn netns_links_are_born_where_they_are_wanted() {
    let (home, pod, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let parent = home.link("nic0").unwrap().index;
    let mode = MacvlanMode::Bridge;
    let kinds = [
        ("macvlan", LinkKind::Macvlan { parent, mode }),
        ("ipvlan", LinkKind::Ipvlan { parent }),
        ("vlan", LinkKind::Vlan { parent, id: 7 }),
        ("dummy", LinkKind::Dummy),
        ("ifb", LinkKind::Ifb),
        ("bond", LinkKind::Bond),
        ("vrf", LinkKind::Vrf { table: 10 }),
    ];
    for (number, (text, kind)) in kinds.into_iter().enumerate() {
        if skipped_without(&kind).unwrap() {
            continue;
        }
        let mut link = NewLink::new(name(format!("net{number}")), kind.clone());
        link.netns = Some(pod.netns().clone());
        if text == "macvlan" {
            link.mtu = Some(1300);
            link.hardware_address = Some("02:00:00:00:00:08".parse().unwrap());
        }
        let mut socket = home.socket().unwrap();
        socket.create_link(&link).unwrap();
        let born = pod.link(&format!("net{number}")).unwrap();
        assert_eq!(born.kind.as_deref(), Some(text));
        if kind_has_parent(&kind) {
            assert_eq!(born.parent, Some(parent), "{text}");
            assert!(born.parent_netnsid.is_some(), "{text}");
        }
        if text == "macvlan" {
            assert_eq!(born.mtu, 1300);
            assert_eq!(born.hardware_address.to_string(), "02:00:00:00:00:08");
        }
        // Some of these may not be together on one parent.
        pod.socket().unwrap().delete_link(born.index).unwrap();
    }
    assert_eq!(pod.link_names().unwrap(), []);
}

fn kind_has_parent(kind: &LinkKind) -> bool {
    matches!(
        kind,
        LinkKind::Macvlan { .. } | LinkKind::Ipvlan { .. } | LinkKind::Vlan { .. }
    )
}

#[tokio::test]
async fn netns_three_hundred_links_are_listed_whole() {
    let (home, _, far) = three();
    let mut socket = home.socket().unwrap();
    for number in 0..300 {
        let kind = LinkKind::Veth {
            peer: name(format!("far{number}")),
            peer_netns: Some(far.netns().clone()),
            peer_hardware_address: None,
        };
        socket
            .create_link(&NewLink::new(name(format!("nic{number}")), kind))
            .unwrap();
    }
    // A long read first: it teaches the kernel to send long parts.
    let mut found: Vec<_> = socket.links().unwrap().iter().map(|l| l.index).collect();
    assert_eq!(found.len(), 301);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 301);
    let dumper = Dumper::open_in(home.netns()).unwrap();
    let dump = dumper.dump().await.unwrap();
    assert_eq!(dump.links, dumper.links().await.unwrap());
    assert_eq!(dump.links.len(), 301);
    assert!(!dump.addresses.is_empty() && !dump.routes.is_empty());
}

#[test]
fn netns_a_listing_beside_changes_misses_no_link() {
    let (home, far, other) = three();
    let mut wanted = vec![name("lo")];
    for number in 0..150 {
        let here = format!("nic{number}");
        home.veth(&here, &far, &format!("far{number}")).unwrap();
        wanted.push(name(&here));
    }
    wanted.sort();
    let enough = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&enough);
    let busy = home.clone();
    let mut socket = home.socket().unwrap();
    let begun = Instant::now();
    socket.links().unwrap();
    // Changes come as fast as a listing is long, or none would ever be whole on a slow machine.
    let pause = begun.elapsed().saturating_mul(2);
    let changes = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            busy.veth("passing", &other, "by").unwrap();
            let index = busy.link("passing").unwrap().index;
            busy.socket().unwrap().delete_link(index).unwrap();
            std::thread::sleep(pause);
        }
    });
    for _ in 0..100 {
        let links = socket.links().unwrap();
        let names = links.into_iter().map(|link| link.name);
        let mut names: Vec<_> = names.filter(|one| *one != name("passing")).collect();
        names.sort();
        assert_eq!(names, wanted);
    }
    enough.store(true, Ordering::Relaxed);
    changes.join().unwrap();
}

#[test]
fn netns_refusals_come_with_the_words_of_the_kernel() {
    let home = Namespace::new().unwrap();
    let lo = home.link("lo").unwrap();
    assert!(lo.flags.loopback() && lo.flags.up());
    assert_eq!(lo.hardware_type, 772);
    let mut socket = home.socket().unwrap();
    let other = Namespace::new().unwrap();
    let error = socket
        .move_link(lo.index, other.netns(), &name("lo1"))
        .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    home.veth("nic0", &other, "far0").unwrap();
    let change = LinkChange {
        mtu: Some(10),
        ..LinkChange::default()
    };
    let index = home.link("nic0").unwrap().index;
    let error = socket.change_link(index, &change).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EINVAL));
    // Words that kernel 6.1 has too; of the move it says only the number.
    let text = error.to_string();
    assert!(text.contains("less than device minimum"), "{text}");

    assert_eq!(
        socket.delete_link(4711).unwrap_err().errno(),
        Some(Errno::ENODEV)
    );
    assert!(socket.link_by_name(&name("nobody")).unwrap().is_none());
    let long = socket.add_altname(lo.index, &[b'x'; 5000]).unwrap_err();
    assert_eq!(long.errno(), None);
}

#[test]
fn netns_a_socket_works_from_any_thread_in_the_namespace_it_was_opened_in() {
    let (home, _, far) = three();
    home.veth("nic0", &far, "far0").unwrap();
    let mut socket: Socket = home.socket().unwrap();
    let names = std::thread::spawn(move || {
        let links = socket.links().unwrap();
        links.into_iter().map(|link| link.name).collect::<Vec<_>>()
    });
    assert_eq!(names.join().unwrap(), [name("lo"), name("nic0")]);
}

fn three() -> (Namespace, Namespace, Namespace) {
    let new = || Namespace::new().unwrap();
    (new(), new(), new())
}
