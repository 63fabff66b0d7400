//! What is said of cards.

use network_driver_tests::cluster::{Cluster, PATIENCE};
use network_driver_tests::hardware::{Card, E1000E, IGB_0, IGB_1};
use network_driver_tests::wait::until_true;
use serde_json::{Value, json};

use crate::{cards, cluster};

/// A published attribute; null where there is none.
fn attribute(cluster: &Cluster, card: &Card, name: &str) -> Value {
    let devices = cluster.api.devices();
    let attributes = devices.get(&card.device()).map(|device| &device.attributes);
    let value = attributes.and_then(|attributes| attributes.get(name));
    let value = value.and_then(|value| value.as_object()?.values().next().cloned());
    value.unwrap_or_default()
}

fn has(cluster: &Cluster, card: &Card, wanted: &[(&str, Value)]) {
    for (name, value) in wanted {
        let found = attribute(cluster, card, name);
        assert_eq!(found, *value, "{name} of {}", card.device());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_attributes_say_where_a_card_sits_and_what_runs_it() {
    let Some(cards) = cards() else { return };
    let [first, second, plain] = [IGB_0, IGB_1, E1000E].map(|model| cards.card(model).unwrap());
    let cluster = cluster(&[&first, &second, &plain], &plain).await;
    for (card, address, root, node) in [
        (&first, "0000:41:00.0", "pci0000:40", 0),
        (&second, "0000:81:00.0", "pci0000:80", 1),
    ] {
        let wanted = [
            ("kind", json!("physical")),
            ("driver", json!("igb")),
            ("pciVendor", json!("8086")),
            ("pciDevice", json!("10c9")),
            ("resource.kubernetes.io/pciBusID", json!(address)),
            ("resource.kubernetes.io/pcieRoot", json!(root)),
            ("resource.kubernetes.io/numaNode", json!(node)),
            ("numaNode", json!(node)),
            ("sriovTotalVfs", json!(7)),
            ("sriovVfs", json!(0)),
            ("sriovPfAddress", Value::Null),
            ("speed", json!(1000)),
            ("duplex", json!("full")),
            ("virtual", json!(false)),
        ];
        has(&cluster, card, &wanted);
    }
    let wanted = [
        ("driver", json!("e1000e")),
        ("resource.kubernetes.io/pcieRoot", json!("pci0000:00")),
        ("resource.kubernetes.io/numaNode", Value::Null),
        ("numaNode", Value::Null),
        ("sriovTotalVfs", Value::Null),
        ("sriovVfs", Value::Null),
    ];
    has(&cluster, &plain, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_attributes_follow_the_functions_of_a_card() {
    let Some(cards) = cards() else { return };
    let [card, far] = [IGB_1, E1000E].map(|model| cards.card(model).unwrap());
    let cluster = cluster(&[&card], &far).await;
    let functions = card.set_functions(3).unwrap();
    for (number, function) in (0..).zip(&functions) {
        crate::is_published(&cluster, function).await;
        let wanted = [
            ("driver", json!("igbvf")),
            ("sriovPfAddress", json!(card.address)),
            ("sriovVf", json!(number)),
            ("sriovTotalVfs", Value::Null),
            ("resource.kubernetes.io/pcieRoot", json!("pci0000:80")),
            ("numaNode", json!(1)),
        ];
        has(&cluster, function, &wanted);
    }
    let counted = || attribute(&cluster, &card, "sriovVfs") == json!(3);
    until_true("the number of functions", PATIENCE, counted)
        .await
        .unwrap();
    card.set_functions(0).unwrap();
    let devices: Vec<_> = functions.iter().map(Card::device).collect();
    let gone = || {
        let published = cluster.api.devices();
        !devices.iter().any(|device| published.contains_key(device))
    };
    until_true("the functions gone", PATIENCE, gone)
        .await
        .unwrap();
    let counted = || attribute(&cluster, &card, "sriovVfs") == json!(0);
    until_true("the number of functions", PATIENCE, counted)
        .await
        .unwrap();
}
