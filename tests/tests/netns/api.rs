//! The API server: its versions, its failures, and others who write to it.

use network_driver_tests::api_server::{Fault, ResourceVersion};
use network_driver_tests::cluster::{Cluster, PATIENCE, Setup};
use network_driver_tests::wait::until_true;
use serde_json::{Value, json};

use crate::cluster;

#[tokio::test(flavor = "multi_thread")]
async fn netns_slices_are_published_in_whatever_version_is_served() {
    for version in [
        ResourceVersion::V1Alpha3,
        ResourceVersion::V1Beta1,
        ResourceVersion::V1Beta2,
        ResourceVersion::V1,
    ] {
        let setup = Setup::default().nics(&["eth1"]).served(&[version]);
        let cluster = Cluster::start(setup).await.unwrap();
        let device = &cluster.api.devices()["eth1"];
        assert_eq!(
            device.attributes["ifName"],
            json!({"string": "eth1"}),
            "{version:?}"
        );
        assert_eq!(
            device.attributes["mtu"],
            json!({"int": 1450}),
            "{version:?}"
        );
        let slice = &cluster.api.slices()[0];
        let owner = slice.pointer("/metadata/ownerReferences/0").unwrap();
        assert_eq!(
            (&owner["kind"], &owner["name"], &owner["controller"]),
            (&json!("Node"), &json!("node-1"), &json!(true))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_slices_that_are_deleted_or_edited_come_back() {
    let cluster = cluster(&["eth1"]).await;
    let devices = |cluster: &Cluster| cluster.api.devices();
    let published = devices(&cluster);
    cluster.api.wipe_slices();
    until_true("the slices to come back", PATIENCE, || {
        devices(&cluster) == published
    })
    .await
    .unwrap();
    let name = cluster.api.slices()[0]
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned();
    cluster
        .api
        .edit_slice(&name, |slice| slice["spec"]["devices"] = json!([]));
    until_true("the edit to be undone", PATIENCE, || {
        devices(&cluster) == published
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_new_link_appears_and_a_lost_one_goes() {
    let cluster = cluster(&["eth1"]).await;
    let names = |cluster: &Cluster| cluster.api.devices().into_keys().collect::<Vec<_>>();
    let wire = cluster.node.add_links("new", 1).unwrap();
    until_true("the new link", PATIENCE, || {
        names(&cluster) == ["eth1", "new0"]
    })
    .await
    .unwrap();
    let index = wire.link("new0").unwrap().index;
    wire.socket().unwrap().delete_link(index).unwrap();
    until_true("the link to go", PATIENCE, || names(&cluster) == ["eth1"])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_failures_of_the_api_server_delay_the_status_and_nothing_else() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    for fault in [Fault::Internal, Fault::Conflict, Fault::TooManyRequests(1)] {
        cluster.api.fail("patch", "resourceclaims/status", 1, fault);
    }
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let shown = || {
        let claim = cluster.api.claim("default", "nic").unwrap_or_default();
        claim.pointer("/status/devices/0/networkData/interfaceName") == Some(&json!("net1"))
    };
    until_true("the status", PATIENCE, shown).await.unwrap();
    cluster.api.set_down(true);
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}
