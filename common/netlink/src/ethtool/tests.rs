//! What is read from recorded and from damaged bytes, and what is written.

use proptest::prelude::*;

use super::*;
use crate::message::Messages;
use crate::recorded;

fn names() -> FeatureNames {
    let bytes = recorded::bytes(recorded::FEATURE_NAMES);
    FeatureNames::parse(recorded::messages(&bytes)[0].body).unwrap()
}

#[test]
fn recorded_features_are_read_by_their_names() {
    let bytes = recorded::bytes(recorded::FEATURES);
    let features = parse(recorded::messages(&bytes)[0].body, &names()).unwrap();
    let wanted = |name: &str| features.wanted.get(&name.parse().unwrap()).copied();
    assert_eq!(wanted("rx-gro"), Some(false));
    assert_eq!(wanted("rx-gro-list"), Some(true));
    assert_eq!(wanted("tx-tcp-segmentation"), Some(false));
    assert_eq!(wanted("rx-lro"), None, "a veth has none");
    assert_eq!(wanted("vlan-challenged"), None, "nobody changes it");
    let active = |name: &str| features.active.contains(&name.parse().unwrap());
    assert!(active("rx-gro-list"));
    assert!(!active("rx-gro") && !active("tx-tcp-segmentation"));
}

#[test]
fn what_the_kernel_never_changes_is_not_said_to_be_changeable() {
    let mut bytes = recorded::bytes(recorded::FEATURES);
    let hardware = [0xe9, 0x49, 0xdd]; // the first of its features, as they stand in the recording
    let place = bytes.windows(3).position(|part| part == hardware).unwrap();
    let parse_all = |bytes: &[u8]| {
        let features = parse(recorded::messages(bytes)[0].body, &names()).unwrap();
        features.wanted.into_keys().collect::<Vec<_>>()
    };
    let before = parse_all(&bytes);
    bytes[place + 1] |= 0x06; // 9 and 10: rx-vlan-filter, vlan-challenged
    let mut after = parse_all(&bytes);
    after.retain(|name| !before.contains(name));
    assert_eq!(after, ["rx-vlan-filter".parse().unwrap()]);
}

#[test]
fn names_are_known_by_their_numbers_and_gaps_are_left_out() {
    let names = names();
    let found: Vec<_> = names.numbered().take(3).collect();
    let found: Vec<_> = found.iter().map(|(n, name)| (*n, name.as_str())).collect();
    let want = [
        (0, "tx-scatter-gather"),
        (1, "tx-checksum-ipv4"),
        (3, "tx-checksum-ip-generic"),
    ];
    assert_eq!(found, want);
}

#[test]
fn a_change_is_written_as_it_would_be_read() {
    let request = set(21, 7, &[(3, true), (33, false), (64, true)]).unwrap();
    let mut request = request;
    let bytes = request.numbered(1).to_vec();
    let message = Messages::new(&bytes).next().unwrap().unwrap();
    assert_eq!((message.kind, message.body[0]), (21, SET));
    let attributes = message::Attributes::behind(message.body, HEADER).unwrap();
    let attributes: Vec<_> = attributes.map(Result::unwrap).collect();
    let [(FEATURES_HEADER, _), (FEATURES_WANTED, wanted)] = attributes[..] else {
        panic!("{attributes:?}")
    };
    let set = Bitset::parse(wanted).unwrap();
    let is_in: Vec<_> = (0..200).filter(|number| set.has(*number)).collect();
    assert_eq!(is_in, [3, 64]);
    let parts: Vec<_> = message::Attributes::new(wanted)
        .map(|part| part.unwrap().1.to_vec())
        .collect();
    let bytes = |words: [u32; 3]| words.map(u32::to_ne_bytes).concat();
    let want = [
        96_u32.to_ne_bytes().to_vec(),
        bytes([1 << 3, 0, 1]),
        bytes([1 << 3, 1 << 1, 1]),
    ];
    assert_eq!(parts, want);
}

#[test]
fn sets_in_another_form_or_cut_off_are_refused() {
    for bad in [
        &[4, 0, 3, 0][..],          // ETHTOOL_A_BITSET_BITS
        &[6, 0, 4, 0, 1, 1, 0, 0],  // half a word
        &[12, 0, 4, 0, 1, 1, 0, 0], // longer than it is
    ] {
        assert!(Bitset::parse(bad).is_err(), "{bad:?}");
    }
    assert!(parse(&[0; HEADER - 1], &names()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_features_panic_or_find_what_has_no_name(bytes in recorded::damaged()) {
        let names = names();
        let bodies = Messages::new(&bytes).flatten().map(|message| message.body);
        for body in bodies.chain([&bytes[..]]) {
            if let Ok(found) = FeatureNames::parse(body) {
                prop_assert!(found.numbered().count() <= body.len() / 8);
            }
            if let Ok(found) = parse(body, &names) {
                let count = names.numbered().count();
                prop_assert!(found.wanted.len().max(found.active.len()) <= count);
            }
        }
    }
}
