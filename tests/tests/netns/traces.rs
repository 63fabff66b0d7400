//! What a trace viewer would show.

use network_driver_tests::cluster::{Cluster, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn netns_the_start_of_a_pod_is_one_trace_tree() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.end().await.unwrap();
    let complete = |trace: &network_driver_tests::collector::Trace| {
        trace.services().len() >= 2 && trace.roots().len() == 1
    };
    let trace = cluster
        .collector
        .wait_for_trace("NodePrepareResources", complete)
        .await
        .unwrap();
    let root = trace.roots()[0];
    assert_eq!(root.service, "dra-plugin", "{}", trace.tree());
}
