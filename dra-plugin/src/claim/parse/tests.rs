use serde_json::json;

use super::*;

fn asked() -> ClaimRef {
    ClaimRef {
        namespace: "default".into(),
        name: "nic".into(),
        uid: "c-1".parse().unwrap(),
    }
}

fn driver() -> DriverName {
    "network.example.com".parse().unwrap()
}

fn object() -> Value {
    json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
        "metadata": {"name": "nic", "namespace": "default", "uid": "c-1", "future": 1},
        "status": {
            "allocation": {
                "devices": {
                    "results": [
                        {"request": "gpu", "driver": "gpu.example.com", "pool": "p", "device": "NOT a label"},
                        {"request": "nic/fast", "driver": "network.example.com", "pool": "node-1", "device": "eth1"},
                        {"request": "watch", "driver": "network.example.com", "pool": "node-1", "device": "eth2",
                         "adminAccess": true, "shareID": null},
                    ],
                    "config": [
                        {"source": "FromClaim", "requests": ["nic"],
                         "opaque": {"driver": "network.example.com", "parameters": {"n": 1}}},
                        {"source": "FromClass", "opaque": {"driver": "network.example.com", "parameters": {"n": 2}}},
                        {"source": "FromClass", "opaque": {"driver": "gpu.example.com", "parameters": 7}},
                        {"source": "FromClass", "requests": []},
                    ],
                },
            },
            "reservedFor": [
                {"resource": "pods", "name": "a", "uid": "p-1"},
                {"apiGroup": "scheduling.k8s.io", "resource": "podgroups", "name": "g", "uid": "g-1"},
                {"resource": "pods", "name": "b", "uid": "p-2"},
            ],
        },
    })
}

#[test]
fn only_results_and_configuration_of_our_driver_are_read() {
    let claim = AllocatedClaim::parse(&asked(), &object(), &driver()).unwrap();
    let devices: Vec<_> = claim.results.iter().map(|r| r.device.as_str()).collect();
    assert_eq!(devices, ["eth1", "eth2"]);
    assert_eq!(claim.results[0].base_request(), "nic");
    assert!(claim.results[1].admin_access && !claim.results[0].admin_access);
    let pods: Vec<_> = claim.pods.iter().map(PodUid::as_str).collect();
    assert_eq!(pods, ["p-1", "p-2"]);
}

#[test]
fn class_configuration_comes_before_that_of_the_claim() {
    let claim = AllocatedClaim::parse(&asked(), &object(), &driver()).unwrap();
    let order: Vec<_> = claim.configs.iter().map(|config| config.index).collect();
    assert_eq!(order, [1, 0]);
}

#[test]
fn configuration_applies_to_a_request_and_its_subrequests() {
    let device = |request: &str| AllocatedDevice {
        request: request.into(),
        pool: String::new(),
        device: "eth1".parse().unwrap(),
        admin_access: false,
    };
    let config = |requests: &[&str]| OpaqueConfig {
        index: 0,
        requests: requests.iter().map(ToString::to_string).collect(),
        parameters: Value::Null,
    };
    for (requests, request, applies) in [
        (&[][..], "nic", true),
        (&["nic"][..], "nic", true),
        (&["nic"][..], "nic/fast", true),
        (&["nic/fast"][..], "nic/fast", true),
        (&["nic/fast"][..], "nic/slow", false),
        (&["nic/fast"][..], "nic", false),
        (&["other"][..], "nic", false),
    ] {
        let got = config(requests).applies_to(&device(request));
        assert_eq!(got, applies, "{requests:?} {request}");
    }
}

#[test]
fn a_claim_of_other_drivers_has_no_results_and_needs_no_pod() {
    let mut object = object();
    object["status"]["reservedFor"] = json!([]);
    let other = "other.example.com".parse().unwrap();
    let claim = AllocatedClaim::parse(&asked(), &object, &other).unwrap();
    assert!(claim.results.is_empty() && claim.configs.is_empty());
}

#[test]
fn what_cannot_be_prepared_is_named() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (
            |o| o["metadata"]["uid"] = json!("c-2"),
            "the claim was replaced: asked for UID c-1, found c-2",
        ),
        (|o| o["status"] = Value::Null, "the claim is not allocated"),
        (
            |o| o["status"]["allocation"] = Value::Null,
            "the claim is not allocated",
        ),
        (
            |o| o["status"]["reservedFor"] = json!([]),
            "the claim is not reserved for any pod",
        ),
        (
            |o| o["status"]["reservedFor"] = json!([{"resource": "podgroups", "uid": "g"}]),
            "the claim is not reserved for any pod",
        ),
        (
            |o| {
                let pod = json!({"resource": "pods", "uid": "p"});
                o["status"]["reservedFor"] = Value::Array(vec![pod; 257]);
            },
            "the claim has 257 consumers, at most 256 are possible",
        ),
        (
            |o| o["status"]["allocation"]["devices"]["results"][1]["device"] = json!("A_B"),
            "the ResourceClaim cannot be read: device name \"A_B\"",
        ),
        (
            |o| o["status"]["allocation"]["devices"]["results"][1]["pool"] = json!(3),
            "the ResourceClaim cannot be read: status.allocation.devices.results[1].pool: ",
        ),
    ];
    for (change, want) in cases {
        let mut object = object();
        change(&mut object);
        let error = AllocatedClaim::parse(&asked(), &object, &driver()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(want), "{text} does not start with {want}");
    }
}
