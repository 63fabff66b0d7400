//! Offload features of links against the real kernel.
#![cfg(test)]

use std::collections::BTreeMap;
use std::time::Instant;

use network_driver_common::model::Feature;
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{Errno, Ethtool, RequestError};

fn feature(name: &str) -> Feature {
    name.parse().unwrap()
}

#[test]
fn netns_every_feature_that_can_be_changed_is_changed_and_changed_back() {
    let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    home.veth("nic0", &far, "far0").unwrap();
    let index = home.link("nic0").unwrap().index;
    let mut ethtool = Ethtool::open_in(home.netns()).unwrap();
    let before = ethtool.features(index).unwrap();
    assert!(before.wanted.len() > 10, "{before:?}");
    assert_eq!(before.wanted.get(&feature("rx-gro")), Some(&false));
    for (name, wanted) in &before.wanted {
        let other = BTreeMap::from([(name.clone(), !wanted)]);
        ethtool.want(index, &other).unwrap();
        let after = ethtool.features(index).unwrap();
        let differ = after
            .wanted
            .iter()
            .filter(|(k, v)| before.wanted[*k] != **v);
        let differ: Vec<_> = differ.map(|(name, _)| name).collect();
        assert_eq!(differ, [name]);
        ethtool.want(index, &before.wanted).unwrap();
        assert_eq!(ethtool.features(index).unwrap(), before, "{name}");
    }
}

#[test]
fn netns_a_feature_that_the_kernel_does_not_know_is_passed_over() {
    let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    home.veth("nic0", &far, "far0").unwrap();
    let index = home.link("nic0").unwrap().index;
    let mut ethtool = Ethtool::open_in(home.netns()).unwrap();
    let unknown = BTreeMap::from([(feature("from-tomorrow"), true)]);
    ethtool.want(index, &unknown).unwrap();
    let both = BTreeMap::from([
        (feature("from-tomorrow"), true),
        (feature("tx-nocache-copy"), true),
    ]);
    ethtool.want(index, &both).unwrap();
    let found = ethtool.features(index).unwrap();
    assert!(found.active.contains(&feature("tx-nocache-copy")));
    assert!(!found.wanted.contains_key(&feature("from-tomorrow")));
}

#[test]
fn netns_a_link_that_is_not_there_and_time_that_is_over_are_told() {
    let home = Namespace::new().unwrap();
    let mut ethtool = Ethtool::open_in(home.netns()).unwrap();
    let error = ethtool.features(4_000_000).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENODEV), "{error:?}");
    ethtool.set_deadline(Some(Instant::now()));
    let error = ethtool.features(1).unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error:?}");
}
