//! Whether any claim holds a device of the driver: a claim that is allocated, whether its pod runs yet or not.

use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use network_driver_common::cli::table;
use network_driver_common::model::DriverName;
use network_driver_kubernetes::ResourceApi;
use serde_json::Value;

use super::{Verdict, VerifyError};

/// Claims of a page.
const PAGE: u32 = 500;

pub(super) async fn check(
    client: &Client,
    api: ResourceApi,
    driver: &DriverName,
) -> Result<Verdict, VerifyError> {
    let claims: Api<DynamicObject> = Api::all_with(client.clone(), &api.claims());
    let mut page = ListParams::default().limit(PAGE);
    let mut used = Vec::new();
    loop {
        let list = claims.list(&page).await;
        let list = list.map_err(|source| VerifyError::List {
            what: "ResourceClaims",
            source: Box::new(source),
        })?;
        used.extend(list.items.iter().filter_map(|claim| row(claim, driver)));
        let more = list.metadata.continue_.filter(|more| !more.is_empty());
        let Some(more) = more else { break };
        page = page.continue_token(&more);
    }
    let verdict = match used.len() {
        0 => Ok(()),
        claims => Err(VerifyError::Used {
            claims,
            driver: driver.to_string(),
        }),
    };
    let text = if used.is_empty() {
        format!("no claim holds a device of {driver}\n")
    } else {
        table(["CLAIM", "POOL", "DEVICES"], used)
    };
    Ok((text, verdict))
}

/// The claim, the pool and the driver's devices that it holds; `None` when it holds none.
fn row(claim: &DynamicObject, driver: &DriverName) -> Option<[String; 3]> {
    let results = claim.data.pointer("/status/allocation/devices/results");
    let text = |result: &Value, key| {
        let value = result.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let results = results.and_then(Value::as_array)?.iter();
    let ours: Vec<_> = results
        .filter(|result| text(result, "driver") == driver.as_str())
        .collect();
    let pool = ours.first().map(|result| text(result, "pool"))?;
    let devices: Vec<_> = ours.iter().map(|result| text(result, "device")).collect();
    let meta = &claim.metadata;
    let [namespace, name] =
        [&meta.namespace, &meta.name].map(|part| part.as_deref().unwrap_or("?"));
    Some([format!("{namespace}/{name}"), pool, devices.join(",")])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_claims_that_hold_our_devices_count() {
        let result = |driver: &str, device: &str| json!({ "driver": driver, "pool": "node-1", "device": device });
        let (ours, other) = ("network.example.com", "gpu.example.com");
        let cases = [
            (json!({}), None),
            (json!({ "allocation": { "devices": {} } }), None),
            (
                json!({ "allocation": { "devices": { "results": [result(other, "gpu0")] } } }),
                None,
            ),
            (
                json!({ "allocation": { "devices": { "results": [
                    result(other, "gpu0"), result(ours, "nic1"), result(ours, "nic2"),
                ] } } }),
                Some(["web/nics", "node-1", "nic1,nic2"].map(str::to_owned)),
            ),
        ];
        for (status, want) in cases {
            let claim =
                json!({ "metadata": { "namespace": "web", "name": "nics" }, "status": status });
            let claim: DynamicObject = serde_json::from_value(claim).unwrap();
            assert_eq!(row(&claim, &ours.parse().unwrap()), want, "{status}");
        }
    }
}
