//! Virtual functions in pods.

use network_driver_tests::hardware::{Card, E1000E, IGB_0};

use crate::{FAR, cards, claim, cluster, is_published};

/// The functions' MAC addresses: the kernel draws them anew each time.
fn hardware_addresses(functions: &[Card]) -> Vec<String> {
    let links = functions.iter().map(|function| function.link().unwrap());
    links
        .map(|link| link.hardware_address.to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_a_virtual_function_is_known_by_its_pci_address_whatever_its_mac() {
    let Some(cards) = cards() else { return };
    let [card, far] = [IGB_0, E1000E].map(|model| cards.card(model).unwrap());
    let functions = card.set_functions(2).unwrap();
    let macs = hardware_addresses(&functions);
    let [_, function] = functions.as_slice() else {
        panic!("two functions")
    };
    let cluster = cluster(&[&card, function], &far).await;
    let claim = claim(&cluster, "nic", function);
    for name in ["before", "after"] {
        let before = cluster.home().unwrap();
        let pod = cluster.pod(name, &[&claim]);
        pod.start().await.unwrap();
        assert!(function.at_home().unwrap().is_none(), "still at home");
        assert!(card.at_home().unwrap().is_some(), "its card has left too");
        pod.ping(FAR).await.unwrap();
        pod.end().await.unwrap();
        cluster.home_is(&before).await.unwrap();
        if name == "before" {
            // The same functions again, with other addresses: for the driver they are what they were.
            assert_ne!(
                hardware_addresses(&card.set_functions(2).unwrap()),
                macs,
                "the kernel has drawn the same addresses twice"
            );
            is_published(&cluster, function).await;
        }
    }
}
