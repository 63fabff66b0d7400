//! Cards whose pods end without a word, and cards that are pulled out.

use network_driver_common::bus::Component;
use network_driver_tests::cluster::PATIENCE;
use network_driver_tests::hardware::{Card, E1000E, IGB_0, Model, take_name};
use network_driver_tests::wait::{until, until_true};

use crate::{FAR, cards, claim, cluster, is_published};

/// The name under which the kernel has let a card fall home, by itself.
async fn fallen(card: &Card) -> String {
    let look = async || card.at_home().ok().flatten();
    let link = until("the card to fall home", PATIENCE, look).await;
    link.unwrap().name.to_string()
}

/// While the hook is away a pod dies with its namespace, and the kernel lets the card fall home under the pod's name for
/// it, or as `dev<n>` where that is taken. Back again, the hook makes of it what it was.
async fn a_card_that_fell_home_is_restored(model: Model, far: Model, name_is_taken: bool) {
    let Some(cards) = cards() else { return };
    let [card, far] = [model, far].map(|model| cards.card(model).unwrap());
    card.dress("172.20.1.1/24").unwrap();
    let cluster = cluster(&[&card], &far).await;
    let taken = name_is_taken.then(|| take_name(cluster.node.home(), "net1").unwrap());
    let before = cluster.home().unwrap();
    let claim = claim(&cluster, "nic", &card);
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.ping(FAR).await.unwrap();

    cluster.kill_daemon(Component::NriHook).unwrap();
    pod.stop().await.unwrap();
    let name = fallen(&card).await;
    if taken.is_some() {
        assert!(name.starts_with("dev"), "{name}");
    } else {
        assert_eq!(name, "net1");
    }
    let registrations = cluster.runtime.registrations();
    cluster.start_daemon(Component::NriHook).unwrap();
    let again = registrations.saturating_add(1);
    cluster.runtime.synchronised(again, PATIENCE).await.unwrap();
    cluster.ready().await.unwrap();
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();

    let next = cluster.pod("next", &[&claim]);
    next.start().await.unwrap();
    next.ping(FAR).await.unwrap();
    next.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_a_card_that_fell_home_under_the_pods_name_is_restored() {
    a_card_that_fell_home_is_restored(E1000E, IGB_0, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_a_card_that_fell_home_under_a_name_of_the_kernels_is_restored() {
    a_card_that_fell_home_is_restored(IGB_0, E1000E, true).await;
}

/// The hook is asked for a card whose namespace is ending: it waits until the kernel has brought it home.
#[tokio::test(flavor = "multi_thread")]
async fn hardware_a_card_that_is_still_falling_home_is_waited_for() {
    let Some(cards) = cards() else { return };
    let [card, far] = [IGB_0, E1000E].map(|model| cards.card(model).unwrap());
    card.dress("172.20.1.1/24").unwrap();
    let cluster = cluster(&[&card], &far).await;
    let before = cluster.home().unwrap();
    let claim = claim(&cluster, "nic", &card);
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();

    cluster.kill_daemon(Component::NriHook).unwrap();
    let held = pod.namespace().unwrap();
    pod.stop().await.unwrap();
    cluster.start_daemon(Component::NriHook).unwrap();
    let let_fall = async {
        let waits = || {
            let log = cluster.log(Component::NriHook);
            log.contains("waits for a card that may be on its way home")
        };
        until_true("the hook to wait", PATIENCE, waits).await?;
        assert!(card.at_home()?.is_none(), "has not left");
        drop(held);
        anyhow::Ok(())
    };
    let end = async {
        cluster.ready().await?;
        pod.unprepare().await
    };
    tokio::try_join!(end, let_fall).unwrap();
    cluster.home_is(&before).await.unwrap();
    let listed = cluster.ask(Component::DraPlugin, &["quarantine", "list", "-o", "json"]);
    assert_eq!(listed.unwrap().trim(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn hardware_a_card_that_is_pulled_out_of_a_pod_is_lost_until_it_is_plugged_in_again() {
    let Some(cards) = cards() else { return };
    let [card, far] = [IGB_0, E1000E].map(|model| cards.card(model).unwrap());
    let cluster = cluster(&[&card], &far).await;
    let claim = claim(&cluster, "nic", &card);
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    card.pull().unwrap();
    assert_eq!(pod.links().unwrap(), ["eth0"]);
    // It does not hold up the pod's end.
    pod.end().await.unwrap();
    let listed = cluster.ask(Component::DraPlugin, &["quarantine", "list"]);
    let listed = listed.unwrap();
    assert!(
        listed.contains(&card.device()) && listed.contains("lost"),
        "{listed}"
    );

    let is_gone = || !cluster.api.devices().contains_key(&card.device());
    until_true("the card to be withdrawn", PATIENCE, is_gone)
        .await
        .unwrap();

    card.plug().unwrap();
    card.set_up().unwrap();
    is_published(&cluster, &card).await;
    let is_free = || {
        let listed = cluster.ask(Component::DraPlugin, &["quarantine", "list"]);
        !listed.unwrap().contains(&card.device())
    };
    until_true("the card to be let go", PATIENCE, is_free)
        .await
        .unwrap();
    let before = cluster.home().unwrap();
    let next = cluster.pod("next", &[&claim]);
    next.start().await.unwrap();
    next.ping(FAR).await.unwrap();
    next.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}
