use k8s_openapi::api::resource::{v1, v1beta1, v1beta2};
use network_driver_common::model::{DeviceName, LinkIdentity};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

/// A slice as a server of each version answers it.
fn recorded(api: ResourceApi) -> Value {
    let text = match api {
        ResourceApi::V1 => include_str!("recorded/v1.json"),
        ResourceApi::V1beta2 => include_str!("recorded/v1beta2.json"),
        ResourceApi::V1beta1 => include_str!("recorded/v1beta1.json"),
        ResourceApi::V1alpha3 => include_str!("recorded/v1alpha3.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn model() -> Device {
    let identity = LinkIdentity::Pci {
        address: "0000:41:00.0".parse().unwrap(),
        dev_port: 0,
    };
    let attribute = |name: &str, value| (name.parse().unwrap(), value);
    Device {
        name: DeviceName::of(&identity),
        identity,
        interface: "eth1".parse().unwrap(),
        attributes: [
            attribute("ifName", AttributeValue::text("eth1")),
            attribute("mtu", AttributeValue::Int(9000)),
            attribute("virtual", AttributeValue::Bool(false)),
            attribute("firmware", AttributeValue::Version("1.2.3".into())),
            attribute(
                "resource.kubernetes.io/pcieRoot",
                AttributeValue::text("pci0000:40"),
            ),
        ]
        .into(),
        capacity: [("bandwidth".to_owned(), "25G".to_owned())].into(),
    }
}

fn frame(driver: &DriverName) -> Frame<'_> {
    Frame {
        driver,
        node: "node-1",
        generation: 1,
        count: 1,
    }
}

#[test]
fn what_is_published_is_what_the_server_gives_back_in_every_version() {
    let driver = "network.example.com".parse().unwrap();
    for api in ResourceApi::ALL {
        let spec = spec(frame(&driver), &[device(api, &model())]);
        assert_eq!(spec, recorded(api)["spec"], "{api:?}");
    }
}

#[test]
fn no_version_knows_a_field_by_another_name() {
    fn survives<T: DeserializeOwned + Serialize>(spec: &Value) {
        let typed: T = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *spec);
    }
    let driver = "network.example.com".parse().unwrap();
    let spec = |api| spec(frame(&driver), &[device(api, &model())]);
    survives::<v1::ResourceSliceSpec>(&spec(ResourceApi::V1));
    survives::<v1beta2::ResourceSliceSpec>(&spec(ResourceApi::V1beta2));
    survives::<v1beta1::ResourceSliceSpec>(&spec(ResourceApi::V1beta1));
    // The types of v1alpha3 slices are gone from newer releases; its device is that of v1beta1 but for capacity.
    let alpha = device(ResourceApi::V1alpha3, &model());
    assert_eq!(alpha["basic"]["capacity"]["bandwidth"], "25G");
}

#[test]
fn empty_maps_and_lists_are_not_sent() {
    let mut bare = model();
    bare.attributes.clear();
    bare.capacity.clear();
    let entry = |api| device(api, &bare);
    assert_eq!(
        entry(ResourceApi::V1),
        json!({ "name": "pci-0000-41-00-0" })
    );
    assert_eq!(
        entry(ResourceApi::V1beta1),
        json!({ "name": "pci-0000-41-00-0", "basic": {} })
    );
    let driver = "network.example.com".parse().unwrap();
    assert_eq!(spec(frame(&driver), &[]).get("devices"), None);
}

#[test]
fn a_slice_is_read_back() {
    for api in ResourceApi::ALL {
        let spec = &recorded(api)["spec"];
        assert_eq!(pool(spec), Some("node-1"));
        assert_eq!(generation(spec), Some(1));
        let names: Vec<_> = devices(spec).iter().filter_map(device_name).collect();
        assert_eq!(names, ["pci-0000-41-00-0"], "{api:?}");
    }
}
