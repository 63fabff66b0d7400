//! Taints of devices in use that do not work: a scheduler then gives them to nobody else, and people see why. The entry
//! stays as it was otherwise. Pure.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;
use network_driver_common::model::{DeviceFault, DriverName};
use network_driver_kubernetes::ResourceApi;
use serde_json::{Value, json};

use super::convert;
use crate::inventory::View;

/// Taints the entries of devices in use that do not work. `standing` gives the entries of the pool as it stands, by name:
/// a taint that is there already keeps its time, whoever has restarted since.
pub fn taint(
    api: ResourceApi,
    driver: &DriverName,
    view: &View,
    standing: impl FnOnce() -> BTreeMap<String, Value>,
    entries: &mut [Value],
) {
    let faults: BTreeMap<&str, &DeviceFault> = view
        .in_use
        .iter()
        .filter_map(|(name, used)| Some((name.as_str(), used.fault.as_ref()?)))
        .collect();
    if faults.is_empty() {
        return;
    }
    let standing = standing();
    for entry in entries {
        let name = convert::device_name(entry).map(str::to_owned);
        let fault = name.as_deref().and_then(|name| faults.get(name));
        let (Some(name), Some(fault)) = (name, fault) else {
            continue;
        };
        let taint = unhealthy(driver, fault);
        let known = standing.get(&name);
        let known =
            known.and_then(|known| convert::taints(api, known).iter().find(|k| same(k, &taint)));
        let taint = known.cloned().unwrap_or(taint);
        convert::set_taints(api, entry, vec![taint]);
    }
}

fn unhealthy(driver: &DriverName, fault: &DeviceFault) -> Value {
    json!({
        "key": format!("{driver}/unhealthy"),
        "value": fault.reason.as_str(),
        "effect": "NoSchedule",
        "timeAdded": timestamp(fault.since),
    })
}

/// Whether it is the same taint, if perhaps of another time.
fn same(one: &Value, other: &Value) -> bool {
    let fields = ["key", "value", "effect"];
    fields
        .iter()
        .all(|field| one.get(field) == other.get(field))
}

/// RFC 3339 in whole seconds, as the API server stores it.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use k8s_openapi::api::resource::{v1, v1beta1, v1beta2};
    use network_driver_common::model::{Device, DeviceName, FaultReason, LinkIdentity};

    use super::*;
    use crate::inventory::InUse;
    use crate::slice::entries::entries;

    fn driver() -> DriverName {
        "network.example.com".parse().unwrap()
    }

    /// A view of two devices in use, the first of which has failed at a second.
    fn view(fault: Option<(FaultReason, f64)>) -> View {
        let used = |name: &str, fault| {
            let identity = LinkIdentity::Other {
                kind: "veth".into(),
                hardware_address: "02:00:00:00:00:01".parse().unwrap(),
                home_name: name.parse().unwrap(),
            };
            let device = Arc::new(Device {
                name: DeviceName::of(&identity),
                identity,
                interface: name.parse().unwrap(),
                attributes: [].into(),
                capacity: [].into(),
            });
            let claim = "c-1".parse().unwrap();
            (
                device.name.clone(),
                InUse {
                    device,
                    claim,
                    fault,
                },
            )
        };
        let fault = fault.map(|(reason, second)| DeviceFault {
            reason,
            message: "net1 has no carrier".into(),
            since: UNIX_EPOCH
                .checked_add(Duration::from_secs_f64(second))
                .unwrap(),
        });
        View {
            in_use: Arc::new([used("a", fault), used("b", None)].into()),
            in_use_known: true,
            ..View::default()
        }
    }

    fn tainted(api: ResourceApi, view: &View, standing: &[Value]) -> Vec<Value> {
        let mut wanted = entries(api, view, &BTreeMap::new());
        let named = |entry: &Value| {
            (
                convert::device_name(entry).unwrap().to_owned(),
                entry.clone(),
            )
        };
        let standing = standing.iter().map(named).collect();
        taint(api, &driver(), view, || standing, &mut wanted);
        wanted
    }

    #[test]
    fn only_what_has_failed_is_tainted_and_only_where_the_version_has_taints() {
        let view = view(Some((FaultReason::CarrierDown, 60.7)));
        let want = json!([{
            "key": "network.example.com/unhealthy", "value": "CarrierDown",
            "effect": "NoSchedule", "timeAdded": "1970-01-01T00:01:00Z",
        }]);
        let entry = |api| tainted(api, &view, &[]);
        assert_eq!(entry(ResourceApi::V1)[0]["taints"], want);
        assert_eq!(entry(ResourceApi::V1beta2)[0]["taints"], want);
        assert_eq!(entry(ResourceApi::V1beta1)[0]["basic"]["taints"], want);
        assert!(entry(ResourceApi::V1alpha3)[0]["basic"]["taints"].is_null());
        assert!(entry(ResourceApi::V1)[1]["taints"].is_null());
        // The field is known by this name, at this place.
        let v1: v1::Device = serde_json::from_value(entry(ResourceApi::V1)[0].clone()).unwrap();
        let v1beta2: v1beta2::Device =
            serde_json::from_value(entry(ResourceApi::V1beta2)[0].clone()).unwrap();
        let v1beta1: v1beta1::Device =
            serde_json::from_value(entry(ResourceApi::V1beta1)[0].clone()).unwrap();
        assert_eq!(v1.taints.unwrap().len(), 1);
        assert_eq!(v1beta2.taints.unwrap().len(), 1);
        assert_eq!(v1beta1.basic.unwrap().taints.unwrap().len(), 1);
    }

    #[test]
    fn a_taint_keeps_its_time_until_it_is_another() {
        let first = tainted(
            ResourceApi::V1,
            &view(Some((FaultReason::CarrierDown, 60.7))),
            &[],
        );
        let later = view(Some((FaultReason::CarrierDown, 900.7)));
        assert_eq!(tainted(ResourceApi::V1, &later, &first), first);
        let other = view(Some((FaultReason::DeviceGone, 900.7)));
        let other = tainted(ResourceApi::V1, &other, &first);
        assert_eq!(other[0]["taints"][0]["timeAdded"], "1970-01-01T00:15:00Z");
        let cleared = tainted(ResourceApi::V1, &view(None), &other);
        assert!(cleared[0]["taints"].is_null());
    }
}
