//! What a pod gets, and what is left at home afterwards.

use network_driver_tests::cluster::{Cluster, Setup};
use serde_json::json;

use crate::{FAR_1, FAR_2, cluster};

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_pod_gets_its_interface_and_home_is_as_before() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let slices = cluster.api.slices();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    let container = pod.start().await.unwrap();
    let mark = format!("NETWORK_DRIVER_CLAIM_{}=", claim.uid.replace('-', "_"));
    assert!(
        container.env.iter().any(|e| e.starts_with(&mark)),
        "{container:?}"
    );
    assert_eq!(pod.links().unwrap(), ["eth0", "net1"]);
    pod.ping(FAR_1).await.unwrap();
    assert!(cluster.links_at_home().unwrap().is_empty());
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
    assert!(cluster.cdi_files().is_empty());
    assert_eq!(
        cluster.api.slices(),
        slices,
        "a pod's life writes nothing to the slices"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_pod_with_two_claims_gets_both() {
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
        .interface("net2", "10.1.2.2/24")
        .create();
    let pod = cluster.pod("web", &[&one, &two]);
    pod.start().await.unwrap();
    assert_eq!(pod.links().unwrap(), ["eth0", "net1", "net2"]);
    pod.ping(FAR_1).await.unwrap();
    pod.ping(FAR_2).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_claim_with_two_devices_brings_both_with_mtu_and_routes() {
    let cluster = cluster(&["eth1", "eth2"]).await;
    let before = cluster.home().unwrap();
    let second = json!({
        "interface": {"name": "net2", "mtu": 1400, "addresses": ["10.1.2.2/24", "fd00::2/64"]},
        "routes": [{"destination": "192.168.0.0/16", "gateway": "10.1.2.1"}],
    });
    let builder = cluster
        .claim("both")
        .device("eth1")
        .interface("net1", "10.1.1.2/24");
    let claim = builder.device("eth2").config(&second).create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.ping(FAR_1).await.unwrap();
    pod.ping(FAR_2).await.unwrap();
    let state = pod.state().unwrap().to_string();
    for part in [
        "link net2 veth up multicast mtu 1400",
        "address net2 fd00::2/64",
        "route 192.168.0.0/16 table 254 over net2 via 10.1.2.1",
    ] {
        assert!(state.contains(part), "{part} is not in\n{state}");
    }
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_pod_without_a_claim_is_left_alone() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let pod = cluster.pod("plain", &[]);
    pod.start().await.unwrap();
    assert_eq!(pod.links().unwrap(), ["eth0"]);
    cluster.home_is(&before).await.unwrap();
    pod.end().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_host_network_pod_is_refused_only_when_it_has_a_claim() {
    let cluster = cluster(&["eth1"]).await;
    let before = cluster.home().unwrap();
    let plain = cluster.pod("plain", &[]);
    plain.run_on_host_network().await.unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("host", &[&claim]);
    pod.prepare().await.unwrap();
    let refused = pod.run_on_host_network().await.unwrap_err().to_string();
    assert!(refused.contains("hostNetwork"), "{refused}");
    cluster.home_is(&before).await.unwrap();
    pod.unprepare().await.unwrap();
    cluster.home_is(&before).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_odd_link_names_are_no_trouble() {
    let names: [&[u8]; 3] = [b"a_b.c", b"fifteen-bytes-x", b"caf\xe9"];
    let cluster = Cluster::start(Setup::default().nics(&names)).await.unwrap();
    let before = cluster.home().unwrap();
    let devices = ["x--615f622e63", "fifteen-bytes-x", "x--636166e9"];
    for (number, device) in (1..).zip(devices) {
        let keeps_name = number == 3;
        let builder = cluster.claim(&format!("odd{number}")).device(device);
        let addresses = json!({"addresses": [format!("10.1.{number}.2/24")]});
        let claim = if keeps_name {
            builder.config(&json!({"interface": addresses})).create()
        } else {
            builder
                .interface("net1", &format!("10.1.{number}.2/24"))
                .create()
        };
        let pod = cluster.pod(&format!("odd{number}"), &[&claim]);
        pod.start().await.unwrap();
        let name = if keeps_name { "caf\\xe9" } else { "net1" };
        assert!(pod.links().unwrap().contains(&name.to_owned()), "{device}");
        pod.ping(format!("10.1.{number}.1").parse().unwrap())
            .await
            .unwrap();
        pod.end().await.unwrap();
        cluster.home_is(&before).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_the_claim_shows_the_interface_in_its_status() {
    let cluster = cluster(&["eth1"]).await;
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("net1", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let network = || {
        let claim = cluster.api.claim("default", "nic")?;
        claim.pointer("/status/devices/0/networkData").cloned()
    };
    let wait = network_driver_tests::wait::until(
        "the status",
        network_driver_tests::cluster::PATIENCE,
        async || network(),
    );
    let network = wait.await.unwrap();
    assert_eq!(network["interfaceName"], "net1");
    assert_eq!(network["ips"], json!(["10.1.1.2/24"]));
    assert_eq!(network["hardwareAddress"].as_str().unwrap().len(), 17);
    pod.end().await.unwrap();
}
