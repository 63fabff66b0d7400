//! A node with hundreds of links.

use network_driver_tests::cluster::{Cluster, Setup};
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
