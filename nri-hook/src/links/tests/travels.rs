//! What travels with a link, where a pod may change it: flags, numbers and offload features.

use std::collections::BTreeMap;

use network_driver_common::model::{Feature, LinkParameter, SettableFlags, WantedFeatures};
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkChange, RequestError, Socket};

use super::node::{Node, address, full_config, neighbor, route};
use crate::links::configure::{Configurator, ConfigureError, Interface, Seen};

/// Values that nobody would have by chance.
const NUMBERS: [(LinkParameter, u32); 7] = [
    (LinkParameter::Group, 7),
    (LinkParameter::TxQueueLength, 444),
    (LinkParameter::GsoMaxSize, 40_000),
    (LinkParameter::GsoMaxSegments, 44),
    (LinkParameter::GroMaxSize, 50_000),
    (LinkParameter::GsoIpv4MaxSize, 30_000),
    (LinkParameter::GroIpv4MaxSize, 31_000),
];

/// A node with a link that has something of everything.
fn node() -> Node {
    let node = Node::new(&[b"eth1"]);
    node.change(b"eth1", |change| {
        change.flags = Some(SettableFlags::from_bits(0x9100)); // promisc, multicast, dynamic
        change.parameters = NUMBERS.into();
    });
    node.add_address(b"eth1", &address("10.1.0.1/24"));
    node.add_address(b"eth1", &address("fd01::1/64"));
    node.add_route(b"eth1", &route("10.77.0.0/16", "10.1.0.9", 254));
    node.add_neighbor(b"eth1", &neighbor("10.1.0.9"));
    node.add_neighbor(b"eth1", &neighbor("fd01::9"));
    let features = ["rx-gro", "tx-nocache-copy"].map(|name| (feature(name), true));
    let index = node.link(b"eth1").index;
    let mut ethtool = node.home.ethtool().unwrap();
    ethtool.want(index, &features.into()).unwrap();
    node
}

fn feature(name: &str) -> Feature {
    name.parse().unwrap()
}

/// A link in a pod, to be changed by it.
struct InPod {
    namespace: Namespace,
    index: u32,
}

impl InPod {
    fn of(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.clone(),
            index: namespace.link("net1").unwrap().index,
        }
    }

    fn change(&self, set: impl FnOnce(&mut LinkChange)) {
        let mut change = LinkChange::default();
        set(&mut change);
        let mut socket = self.namespace.socket().unwrap();
        socket.change_link(self.index, &change).unwrap();
    }

    fn set_flags(&self, flags: SettableFlags) {
        self.change(|change| change.flags = Some(flags));
    }

    fn set_number(&self, parameter: LinkParameter, value: u32) {
        self.change(|change| change.parameters = BTreeMap::from([(parameter, value)]));
    }

    /// Wants each feature if it was not wanted, and the other way round.
    fn turn_features(&self) {
        let mut ethtool = self.namespace.ethtool().unwrap();
        let wanted = ethtool.features(self.index).unwrap().wanted;
        assert!(wanted.len() > 10, "{wanted:?}");
        let turned = wanted.into_iter().map(|(name, wanted)| (name, !wanted));
        ethtool.want(self.index, &turned.collect()).unwrap();
    }

    fn turn_everything(&self) {
        self.set_flags(SettableFlags::from_bits(!0x9100));
        for parameter in LinkParameter::ALL {
            self.set_number(parameter, 22_222);
        }
        self.turn_features();
    }
}

/// The lines of a state that are about what travels with a link.
fn travelling(namespace: &Namespace, name: &str) -> Vec<String> {
    let state = namespace.state().unwrap().to_string();
    let about = ["number", "wanted", "active"].map(|what| format!("{what} {name} "));
    let lines = state.lines().filter_map(|line| {
        let mut starts = about.iter();
        let of_link = starts.any(|start| line.starts_with(start));
        of_link.then(|| line.replacen(name, "-", 1))
    });
    lines.collect()
}

#[test]
fn netns_a_move_loses_no_offload_and_no_number() {
    let node = node();
    let at_home = travelling(&node.home, "eth1");
    assert!(
        at_home.contains(&"number - txqueuelen 444".to_owned()),
        "{at_home:?}"
    );
    assert!(
        at_home.contains(&"active - rx-gro".to_owned()),
        "{at_home:?}"
    );
    let pod = Namespace::new().unwrap();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let flags = node.link(b"eth1").flags.bits();
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    assert_eq!(travelling(&pod, "net1"), at_home);
    let in_pod = pod.link("net1").unwrap().flags.bits();
    assert_eq!(
        SettableFlags::from_bits(in_pod),
        SettableFlags::from_bits(flags)
    );
}

#[test]
fn netns_each_flag_that_a_pod_changes_comes_home_as_it_was() {
    let node = node();
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let bits = (0..32).map(|bit| 1 << bit);
    for bit in bits.filter(|bit| SettableFlags::ALL.bits() & bit != 0) {
        let pod = Namespace::new().unwrap();
        node.attach(std::slice::from_ref(&record), &pod).unwrap();
        let link = InPod::of(&pod);
        link.set_flags(SettableFlags::from_bits(0x9100 ^ bit));
        let changed = pod.link("net1").unwrap().flags.bits();
        assert_eq!(changed & SettableFlags::ALL.bits(), 0x9100 ^ bit);
        assert_eq!(node.detach(&record, Some(&pod)), []);
        node.assert_same(&before);
    }
}

#[test]
fn netns_each_number_that_a_pod_changes_comes_home_as_it_was() {
    let node = node();
    let before = node.settled();
    let text = before.0.to_string();
    for (parameter, value) in NUMBERS {
        let since_6_3 = matches!(
            parameter,
            LinkParameter::GsoIpv4MaxSize | LinkParameter::GroIpv4MaxSize
        );
        if since_6_3 && !text.contains(&format!("number eth1 {parameter} ")) {
            continue;
        }
        let line = format!("number eth1 {parameter} {value}\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    for parameter in LinkParameter::ALL {
        let pod = Namespace::new().unwrap();
        node.attach(std::slice::from_ref(&record), &pod).unwrap();
        InPod::of(&pod).set_number(parameter, 22_222);
        assert_eq!(node.detach(&record, Some(&pod)), []);
        node.assert_same(&before);
    }
}

#[test]
fn netns_a_number_that_is_set_along_with_another_one_comes_home_too() {
    let node = node();
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    for (parameter, along) in [
        (LinkParameter::GsoMaxSize, LinkParameter::GsoIpv4MaxSize),
        (LinkParameter::GroMaxSize, LinkParameter::GroIpv4MaxSize),
    ] {
        let pod = Namespace::new().unwrap();
        node.attach(std::slice::from_ref(&record), &pod).unwrap();
        let link = InPod::of(&pod);
        link.set_number(parameter, 22_222);
        let (_, as_before) = NUMBERS.into_iter().find(|(one, _)| *one == along).unwrap();
        link.set_number(along, as_before);
        assert_eq!(node.detach(&record, Some(&pod)), []);
        node.assert_same(&before);
    }
}

#[test]
fn netns_offloads_that_a_pod_changes_come_home_as_they_were() {
    let node = node();
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod = Namespace::new().unwrap();
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let at_home = travelling(&pod, "net1");
    InPod::of(&pod).turn_features();
    assert_ne!(travelling(&pod, "net1"), at_home);
    assert_eq!(node.detach(&record, Some(&pod)), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_link_that_fell_home_with_all_of_it_changed_is_put_in_order() {
    let mut node = node();
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod = Namespace::new().unwrap();
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    let link = InPod::of(&pod);
    link.turn_everything();
    let mut socket = pod.socket().unwrap();
    let name = "net1".parse().unwrap();
    socket
        .move_link(link.index, node.home.netns(), &name)
        .unwrap();
    node.restart();
    assert_eq!(node.detach(&record, None), []);
    node.assert_same(&before);
}

#[test]
fn netns_a_link_that_differs_only_in_its_offloads_is_put_in_order() {
    // As after a crash in the middle of a detach.
    let node = node();
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.links.state.write(&record).unwrap();
    let off = BTreeMap::from([(feature("rx-gro"), false)]);
    let index = node.link(b"eth1").index;
    node.home.ethtool().unwrap().want(index, &off).unwrap();
    assert_eq!(node.detach(&record, None), []);
    node.assert_same(&before);
}

#[test]
fn netns_what_an_older_record_does_not_tell_is_left_as_it_is() {
    let mut node = node();
    let pod = Namespace::new().unwrap();
    let mut record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    node.attach(std::slice::from_ref(&record), &pod).unwrap();
    InPod::of(&pod).turn_everything();
    let changed = travelling(&pod, "net1");
    let flags = pod.link("net1").unwrap().flags.bits();
    node.restart_without_state();
    let snapshot = record.attachments[0].snapshot.as_mut().unwrap();
    snapshot.flags = None;
    snapshot.parameters.clear();
    snapshot.features = WantedFeatures::default();
    assert_eq!(node.detach(&record, Some(&pod)), []);
    assert_eq!(travelling(&node.home, "eth1"), changed);
    let at_home = node.link(b"eth1").flags.bits();
    assert_eq!(
        SettableFlags::from_bits(at_home),
        SettableFlags::from_bits(flags)
    );
}

/// Changes all of it, as if the attach had, and then fails.
struct Vandal(Namespace);

impl Configurator for Vandal {
    fn apply(&self, _: &mut Socket, _: &Interface<'_>) -> Result<(), ConfigureError> {
        InPod::of(&self.0).turn_everything();
        let request = "vandalise";
        Err(ConfigureError::new("sabotage")(RequestError::TimedOut {
            request,
        }))
    }

    fn verify(&self, _: &Interface<'_>, _: &Seen) -> Option<String> {
        None
    }
}

#[test]
fn netns_an_attach_that_fails_after_changing_all_of_it_leaves_home_as_it_was() {
    let mut node = node();
    let before = node.settled();
    let record = node.prepared("uid-1", &[(b"eth1", full_config("net1"))]);
    let pod = Namespace::new().unwrap();
    let vandal = Vandal(pod.clone());
    node.links.configurators.push(Box::new(vandal));
    let error = node.attach(&[record], &pod).unwrap_err();
    assert!(error.message().contains("sabotage"), "{}", error.message());
    assert_eq!(error.quarantined, []);
    node.assert_same(&before);
}
