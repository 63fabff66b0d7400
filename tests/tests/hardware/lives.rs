//! A pod's life with a card.

use network_driver_tests::hardware::{E1000E, IGB_0, IGB_1, Model};
use serde_json::json;

use crate::{FAR, cards, cluster};

async fn a_card_serves_a_pod_and_comes_home(model: Model, far: Model) {
    let Some(cards) = cards() else { return };
    let [card, far] = [model, far].map(|model| cards.card(model).unwrap());
    card.dress("172.20.1.1/24").unwrap();
    let cluster = cluster(&[&card], &far).await;
    let before = cluster.home().unwrap();
    let config = json!({
        "interface": {"name": "net1", "mtu": 1400, "addresses": ["10.77.0.2/24", "fd77::2/64"]},
        "routes": [{"destination": "192.168.0.0/16", "gateway": "10.77.0.1"}],
    });
    let claim = cluster.claim("nic").device(&card.device());
    let claim = claim.config(&config).create();
    // Twice, since the second life begins with what the first has left.
    for name in ["first", "second"] {
        let pod = cluster.pod(name, &[&claim]);
        pod.start().await.unwrap();
        assert!(card.at_home().unwrap().is_none(), "still at home");
        pod.ping(FAR).await.unwrap();
        let state = pod.state().unwrap().to_string();
        for part in [
            "link net1 - up multicast mtu 1400",
            "address net1 fd77::2/64",
            "route 192.168.0.0/16 table 254 over net1 via 10.77.0.1",
        ] {
            assert!(state.contains(part), "{part} is not in\n{state}");
        }
        pod.end().await.unwrap();
        cluster.home_is(&before).await.unwrap();
    }
    assert!(cluster.cdi_files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_an_igb_serves_pods_and_comes_home() {
    a_card_serves_a_pod_and_comes_home(IGB_0, E1000E).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_an_e1000e_serves_pods_and_comes_home() {
    a_card_serves_a_pod_and_comes_home(E1000E, IGB_1).await;
}
