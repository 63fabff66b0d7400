//! What a kubelet does that a driver would rather it did not.

use futures::future::join_all;
use network_driver_common::bus::Component;
use network_driver_tests::api_server::ResourceVersion;
use network_driver_tests::cluster::{Cluster, DRIVER, PATIENCE, Setup};
use network_driver_tests::kubelet::DraVersion;

use crate::{FAR_1, cluster};

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_storm_of_prepares_gives_one_answer_and_one_record() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    let asked = [&claim];
    let answers = join_all((0..50).map(|_| cluster.prepare_claims(&asked))).await;
    let first = answers[0].as_ref().unwrap();
    let devices = first[&claim.uid].as_ref().unwrap();
    assert_eq!(devices[0].cdi_ids, [claim.cdi_id()]);
    assert_eq!(
        (devices[0].device.as_str(), devices[0].pool.as_str()),
        ("eth1", "node-1")
    );
    for answer in &answers {
        assert_eq!(answer.as_ref().unwrap(), first);
    }
    let claims = cluster
        .ask(Component::DraPlugin, &["claims", "-o", "json"])
        .unwrap();
    assert_eq!(claims.matches(&claim.uid).count(), 1, "{claims}");
    cluster.home_is(&before).await.unwrap();
    pod.run().await.unwrap();
    cluster.prepare_claims(&[&claim]).await.unwrap();
    pod.create_container().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_an_unprepare_before_the_stop_brings_the_device_home() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();
    pod.stop().await.unwrap();
    pod.remove().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_an_unprepare_works_without_the_claim_object_and_twice() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    cluster.api.delete_claim("default", "nic");
    pod.stop().await.unwrap();
    cluster.unprepare_claim(&claim).await.unwrap();
    cluster.unprepare_claim(&claim).await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_old_kubelets_and_api_servers_are_served_too() {
    for (knows, kubelet, served) in [
        (
            DraVersion::OLD,
            DraVersion::V1Beta1,
            ResourceVersion::V1Beta1,
        ),
        (
            DraVersion::OLDEST,
            DraVersion::V1Alpha3,
            ResourceVersion::V1Alpha3,
        ),
    ] {
        let setup = Setup::default().nics(&["eth1"]).knows(knows);
        let cluster = Cluster::start(setup.served(&[served])).await.unwrap();
        let before = cluster.home().unwrap();
        let plugin = cluster.kubelet.registered(DRIVER, PATIENCE).await.unwrap();
        assert_eq!(plugin.version, kubelet);
        let claim = cluster
            .claim("nic")
            .device("eth1")
            .interface("net1", "10.1.1.2/24")
            .create();
        let pod = cluster.pod("web", &[&claim]);
        pod.start().await.unwrap();
        pod.ping(FAR_1).await.unwrap();
        pod.end().await.unwrap();
        cluster.home_is(&before).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_the_driver_registers_again_when_its_socket_is_removed() {
    let cluster = cluster(&["eth1"]).await;
    let registry = cluster.kubelet.root().join("plugins_registry");
    let first = cluster.kubelet.registered(DRIVER, PATIENCE).await.unwrap();
    for entry in std::fs::read_dir(&registry).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let again = || {
        let plugin = cluster.kubelet.plugin(DRIVER);
        plugin.is_some_and(|p| p.registrations > first.registrations)
    };
    network_driver_tests::wait::until_true("registration", PATIENCE, again)
        .await
        .unwrap();
    let claim = cluster.claim("nic").device("eth1").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.end().await.unwrap();
}
