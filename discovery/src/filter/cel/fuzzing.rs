//! Fuzz targets: the operator's condition and pattern, and what a condition may call. See `network-driver-fuzzing`.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use network_driver_common::model::Device;
use network_driver_fuzzing::Target;

use super::functions::{Quantity, Semver};
use super::{CelFilter, InvalidFilter};
use crate::attribute::{providers, sample};
use crate::filter::NamePattern;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

fn device() -> Device {
    let interface: network_driver_common::model::IfName = "eth1".parse().unwrap();
    Device {
        name: "eth1".parse().unwrap(),
        identity: network_driver_common::model::LinkIdentity::Other {
            kind: "veth".into(),
            hardware_address: "02:00:00:00:00:01".parse().unwrap(),
            home_name: interface.clone(),
        },
        interface,
        attributes: sample(&providers()),
        capacity: [("bandwidth".to_owned(), "25G".to_owned())].into(),
    }
}

/// A condition is refused, or the thread that evaluates it lives on.
#[test]
fn filter() {
    target("filter").run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let driver = "network.example.com".parse().unwrap();
        match CelFilter::new(&text, &driver, sample(&providers())) {
            Ok(filter) => {
                let answer = filter.ask(&device());
                assert_ne!(answer, Err("the evaluator has ended".to_owned()));
            }
            Err(error) => assert!(!matches!(error, InvalidFilter::Thread), "it panicked"),
        }
    });
}

/// Versions and quantities: two of them, on a line each, have one order.
#[test]
fn quantity() {
    fn ordered<T: Ord>(one: &str, two: &str, parse: impl Fn(&str) -> Option<T>) {
        let Some(one) = parse(one) else { return };
        assert_eq!(one.cmp(&one), Ordering::Equal);
        if let Some(two) = parse(two) {
            assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
        }
    }
    target("quantity").run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (one, two) = text.split_once('\n').unwrap_or((&text, ""));
        ordered(one, two, |text| Semver::parse(text).ok());
        ordered(one, two, |text| Quantity::parse(text).ok());
    });
}

/// A pattern and a name, a line each. Judged by another method, too: byte by byte, keeping all places in the pattern
/// that may have been reached.
#[test]
fn name_pattern() {
    fn fits(pattern: &[u8], name: &[u8]) -> bool {
        let step = |at: usize| at.saturating_add(1);
        let skip_stars = |reached: &mut BTreeSet<usize>| {
            for (at, byte) in pattern.iter().enumerate() {
                if *byte == b'*' && reached.contains(&at) {
                    reached.insert(step(at));
                }
            }
        };
        let mut reached = BTreeSet::from([0]);
        skip_stars(&mut reached);
        for byte in name {
            let next = reached.iter().filter_map(|at| match pattern.get(*at)? {
                b'*' => Some(*at),
                same => (same == byte).then(|| step(*at)),
            });
            let mut next = next.collect();
            skip_stars(&mut next);
            reached = next;
        }
        reached.contains(&pattern.len())
    }
    target("name_pattern").run(|bytes| {
        let text = String::from_utf8_lossy(bytes.get(..200).unwrap_or(bytes));
        let (pattern, name) = text.split_once('\n').unwrap_or((&text, ""));
        let Ok(parsed) = pattern.parse::<NamePattern>();
        let wanted = fits(pattern.as_bytes(), name.as_bytes());
        assert_eq!(parsed.fits(name.as_bytes()), wanted, "{pattern:?} {name:?}");
    });
}
