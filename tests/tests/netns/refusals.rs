//! What is refused, with a sentence that says why, and with nothing left behind.

use network_driver_common::bus::Component;
use network_driver_tests::cluster::{Cluster, StartError};
use serde_json::json;

use crate::{FAR_1, cluster};

async fn refused_at_prepare(
    cluster: &Cluster,
    claim: &network_driver_tests::cluster::Claim,
) -> String {
    let pod = cluster.pod("refused", &[claim]);
    match pod.start().await {
        Err(StartError::Prepare(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_name_that_is_taken_in_the_pod_refuses_the_sandbox() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("eth0", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    let refused = pod.run().await.unwrap_err().to_string();
    assert!(
        refused.contains("eth0") && refused.contains("eth1"),
        "{refused}"
    );
    cluster.home_is(&before).await.unwrap();
    assert!(cluster.cdi_files().is_empty());
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_bad_config_is_refused_with_the_path_of_the_field() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let cases = [
        (json!({"interface": {"nmae": "net1"}}), "interface.nmae"),
        (
            json!({"interface": {"name": "sixteen-bytes-xy"}}),
            "interface.name",
        ),
        (json!({"interface": {"mtu": 9}}), "interface.mtu"),
        (
            json!({"interface": {"addresses": ["10.0.0.1/24", "10.0.0.300/24"]}}),
            "interface.addresses[1]",
        ),
        (
            json!({"routes": [{"destination": "::/0", "gateway": "10.0.0.1"}]}),
            "routes[0].gateway",
        ),
        (json!({"kind": "Other"}), "kind"),
        (
            json!({"apiVersion": "network.example.com/v9"}),
            "apiVersion",
        ),
    ];
    for (number, (config, path)) in cases.iter().enumerate() {
        let claim = cluster
            .claim(&format!("bad{number}"))
            .device("eth1")
            .config(config)
            .create();
        let text = refused_at_prepare(&cluster, &claim).await;
        assert!(text.contains(path), "{text} does not name {path}");
    }
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_an_unknown_device_is_refused_and_spoils_no_other_claim() {
    let cluster = cluster(&["eth1"]).await;
    let unknown = cluster.claim("unknown").device("eth9").create();
    let uplink = cluster.claim("uplink").device("uplink0").create();
    let good = cluster.claim("good").device("eth1").create();
    let pod = cluster.pod("web", &[&unknown, &good, &uplink]);
    pod.prepare().await.unwrap_err();
    let asked = [&unknown, &good, &uplink];
    let mut answer = cluster.prepare_claims(&asked).await.unwrap();
    assert_eq!(answer[&good.uid].as_ref().unwrap()[0].device, "eth1");
    for (claim, device) in [(&unknown, "eth9"), (&uplink, "uplink0")] {
        let text = answer.remove(&claim.uid).unwrap().unwrap_err();
        assert!(text.contains(device), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_device_of_another_claim_is_refused_by_the_holders_name() {
    let cluster = cluster(&["eth1"]).await;
    let holder = cluster.claim("holder").device("eth1").create();
    let pod = cluster.pod("web", &[&holder]);
    pod.start().await.unwrap();
    let second = cluster.claim("second").device("eth1").create();
    let text = refused_at_prepare(&cluster, &second).await;
    assert!(text.contains("holder"), "{text}");
    pod.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_without_the_hook_nothing_is_prepared_and_plain_pods_run() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    cluster.stop_daemon(Component::NriHook).unwrap();
    let text = refused_at_prepare(&cluster, &claim).await;
    assert!(text.contains("nri-hook"), "{text}");
    cluster.pod("plain", &[]).start().await.unwrap();
    cluster.start_daemon(Component::NriHook).unwrap();
    cluster
        .runtime
        .synchronised(2, network_driver_tests::cluster::PATIENCE)
        .await
        .unwrap();
    cluster.ready().await.unwrap();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_two_claims_that_want_one_name_are_refused_together_and_both_come_home() {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let before = cluster.home().unwrap();
    let one = cluster
        .claim("one")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let two = cluster
        .claim("two")
        .device("eth2")
        .interface("net1", "10.1.2.2/24")
        .create();
    let pod = cluster.pod("web", &[&one, &two]);
    pod.prepare().await.unwrap();
    let refused = pod.run().await.unwrap_err().to_string();
    assert!(refused.contains("net1"), "{refused}");
    cluster.home_is(&before).await.unwrap();
    assert!(cluster.cdi_files().is_empty());
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_route_that_the_kernel_refuses_undoes_the_whole_attach() {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let before = cluster.home().unwrap();
    let unreachable = json!({
        "interface": {"name": "net2", "addresses": ["10.1.2.2/24"]},
        "routes": [{"destination": "192.168.0.0/16", "gateway": "172.31.0.1"}],
    });
    let builder = cluster
        .claim("both")
        .device("eth1")
        .interface("net1", "10.1.1.2/24");
    let claim = builder.device("eth2").config(&unreachable).create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    let refused = pod.run().await.unwrap_err().to_string();
    assert!(refused.contains("192.168.0.0/16"), "{refused}");
    cluster.home_is(&before).await.unwrap();
    pod.unprepare().await.unwrap();
    let next = cluster
        .claim("next")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("next", &[&next]);
    pod.start().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_link_that_is_gone_before_the_sandbox_refuses_it_and_unprepare_works() {
    let cluster = cluster(&["eth1"]).await;
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    let wire = &cluster.node.nic("eth1").unwrap().wire;
    let far = wire.link("far").unwrap().index;
    wire.socket().unwrap().delete_link(far).unwrap();
    let refused = pod.run().await.unwrap_err().to_string();
    assert!(refused.contains("eth1"), "{refused}");
    pod.unprepare().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_without_the_api_server_a_prepare_fails_and_works_again_afterwards() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    cluster.api.set_down(true);
    let text = refused_at_prepare(&cluster, &claim).await;
    assert!(!text.is_empty());
    cluster.api.set_down(false);
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}
