//! A claim that several pods use.

use crate::{FAR_1, cluster};

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_claim_serves_one_pod_after_another() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    for name in ["first", "second", "third"] {
        let pod = cluster.pod(name, &[&claim]);
        pod.start().await.unwrap();
        pod.ping(FAR_1).await.unwrap();
        pod.end().await.unwrap();
        cluster.home_is(&before).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_of_two_pods_at_once_one_waits_until_the_other_has_gone() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let (first, second) = (
        cluster.pod("first", &[&claim]),
        cluster.pod("second", &[&claim]),
    );
    first.start().await.unwrap();
    second.prepare().await.unwrap();
    second.run().await.unwrap();
    second.create_container().await.unwrap_err();
    first.ping(FAR_1).await.unwrap();
    assert_eq!(
        second.links().unwrap(),
        ["eth0"],
        "the device serves one at a time"
    );
    first.end().await.unwrap();
    second.create_container_in_time().await.unwrap();
    second.ping(FAR_1).await.unwrap();
    second.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_pod_whose_sandbox_died_gets_the_interface_in_the_next_one() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let old = pod.sandbox_id();
    pod.stop().await.unwrap();
    pod.run().await.unwrap();
    pod.create_container().await.unwrap();
    cluster.runtime.repeat_stop(&old).await.unwrap();
    cluster.runtime.remove_pod(&old).await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}
