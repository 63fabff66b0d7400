//! Which entries the pool should have. Pure.

use std::collections::BTreeMap;

use network_driver_kubernetes::ResourceApi;
use serde_json::Value;

use super::convert;
use crate::inventory::View;

/// The entries of the pool by name, in the order of names, so that they stand in the same order after a restart.
///
/// `kept` are those that stood when we started. Until dra-plugin has told which devices are in use, any of them may be:
/// they stay as they stood, also where the link is away or has changed. After that only those in use do, which the view
/// holds.
pub fn entries(api: ResourceApi, view: &View, kept: &BTreeMap<String, Value>) -> Vec<Value> {
    let devices = view.devices();
    let mut entries: BTreeMap<String, Value> = devices
        .map(|device| (device.name.to_string(), convert::device(api, device)))
        .collect();
    if !view.in_use_known {
        let kept = kept.iter();
        entries.extend(kept.map(|(name, entry)| (name.clone(), entry.clone())));
    }
    entries.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use network_driver_common::model::{AttributeValue, Device};
    use serde_json::json;

    use super::*;
    use crate::fixture;
    use crate::inventory::{InUse, LinkView, Offered};

    fn device(name: &str, mtu: i64) -> Arc<Device> {
        Arc::new(Device {
            attributes: [("mtu".parse().unwrap(), AttributeValue::Int(mtu))].into(),
            ..Device::clone(&fixture::device(name))
        })
    }

    fn view(offered: &[Arc<Device>]) -> View {
        let links = offered.iter().map(|device| {
            Arc::new(LinkView {
                name: device.interface.clone(),
                index: 1,
                kind: "veth".into(),
                offered: Offered::As(Arc::clone(device)),
            })
        });
        View {
            links: links.collect(),
            ..View::default()
        }
    }

    /// `name=mtu` of each entry.
    fn shown(view: &View, kept: &BTreeMap<String, Value>) -> Vec<String> {
        let entries = entries(ResourceApi::V1, view, kept);
        let shown = entries.iter().map(|entry| {
            let mtu = &entry["attributes"]["mtu"]["int"];
            format!("{}={mtu}", entry["name"].as_str().unwrap())
        });
        shown.collect()
    }

    fn kept(names: &[&str]) -> BTreeMap<String, Value> {
        let entry = |name: &&str| {
            let entry = json!({ "name": name, "attributes": { "mtu": { "int": 1 } } });
            ((*name).to_owned(), entry)
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn what_stood_at_start_stays_until_it_is_known_what_is_in_use() {
        let mut view = view(&[device("b", 2), device("c", 2)]);
        let kept = kept(&["a", "b"]);
        assert_eq!(shown(&view, &kept), ["a=1", "b=1", "c=2"]);
        view.in_use_known = true;
        assert_eq!(shown(&view, &kept), ["b=2", "c=2"]);
    }

    #[test]
    fn a_device_in_use_stands_as_it_was_prepared() {
        let mut view = view(&[device("b", 2)]);
        view.in_use_known = true;
        let used = [device("a", 9), device("b", 9)].map(|device| {
            let claim = "c-1".parse().unwrap();
            let fault = None;
            (
                device.name.clone(),
                InUse {
                    device,
                    claim,
                    fault,
                },
            )
        });
        view.in_use = Arc::new(used.into());
        assert_eq!(shown(&view, &kept(&["a"])), ["a=9", "b=9"]);
    }
}
