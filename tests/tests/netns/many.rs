//! A node with hundreds of links.

use futures::future::join_all;
use network_driver_tests::cluster::{Cluster, PodHandle, Setup};
use serde_json::Value;

use crate::FAR_1;

#[tokio::test(flavor = "multi_thread")]
async fn netns_300_links_fill_slices_that_fit_together() {
    let setup = Setup::default().nics(&["eth1"]).links("port", 300);
    let cluster = Cluster::start(setup).await.unwrap();
    let before = cluster.home().unwrap();
    let slices = cluster.api.slices();
    let at = |pointer: &str| -> Vec<Value> {
        slices
            .iter()
            .map(|s| s.pointer(pointer).cloned().unwrap())
            .collect()
    };
    assert_eq!(slices.len(), 3, "301 devices at 128 a slice");
    assert!(
        at("/spec/pool/resourceSliceCount")
            .iter()
            .all(|count| *count == 3)
    );
    let generations = at("/spec/pool/generation");
    assert!(generations.iter().all(|g| *g == generations[0]));
    let writes = cluster.api.writes("resourceslices");
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
    assert_eq!(cluster.api.writes("resourceslices"), writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_eight_pods_start_and_end_at_once() {
    let names: Vec<String> = (1..=8).map(|number| format!("eth{number}")).collect();
    let cluster = Cluster::start(Setup::default().nics(&names)).await.unwrap();
    let before = cluster.home().unwrap();
    let claims: Vec<_> = (1..=8)
        .map(|number| {
            let claim = cluster
                .claim(&format!("nic{number}"))
                .device(&format!("eth{number}"));
            claim
                .interface("net1", &format!("10.1.{number}.2/24"))
                .create()
        })
        .collect();
    for _ in 0..2 {
        let pods: Vec<_> = claims
            .iter()
            .map(|claim| cluster.pod(&claim.name, &[claim]))
            .collect();
        for started in join_all(pods.iter().map(PodHandle::start)).await {
            started.unwrap();
        }
        for (number, pod) in (1..).zip(&pods) {
            pod.ping(format!("10.1.{number}.1").parse().unwrap())
                .await
                .unwrap();
        }
        for ended in join_all(pods.iter().map(PodHandle::end)).await {
            ended.unwrap();
        }
        cluster.home_is(&before).await.unwrap();
    }
    assert_eq!(
        cluster.runtime.registrations(),
        1,
        "{:?}",
        cluster.runtime.log()
    );
}
