//! Objects of `resource.k8s.io`. Stories speak v1; a server that does not serve it gets and gives its own newest version,
//! which differs in two places that matter here: the request of a claim is flat, and a slice's device is in `basic`.

use std::marker::PhantomData;

use anyhow::{Context as _, Result};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const GROUP: &str = "resource.k8s.io";

/// The newest version of the API group that the server serves.
#[derive(Debug, Clone)]
pub(crate) struct Version(String);

impl Version {
    /// Asks the server.
    ///
    /// # Errors
    /// It serves no ResourceSlices.
    pub(crate) async fn served(client: &Client) -> Result<Self> {
        let group = kube::discovery::group(client, GROUP).await?;
        let newest = group.versions().find(|version| {
            let resources = group.versioned_resources(version);
            resources
                .iter()
                .any(|(kind, _)| kind.kind == "ResourceSlice")
        });
        let newest = newest.context("the API server serves no ResourceSlices")?;
        Ok(Self(newest.to_owned()))
    }

    /// As in `apiVersion`, without the group.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a claim's status has a place for what drivers say of its devices.
    pub(crate) fn has_device_status(&self) -> bool {
        self.0 != "v1alpha3"
    }

    /// Whether objects look otherwise than in v1.
    fn is_flat(&self) -> bool {
        matches!(self.as_str(), "v1alpha3" | "v1beta1")
    }
}

/// Objects of one kind.
pub(crate) struct Resources<K> {
    api: Api<DynamicObject>,
    version: Version,
    kind: PhantomData<K>,
}

impl<K: k8s_openapi::Resource + Serialize + DeserializeOwned> Resources<K> {
    /// Those of a namespace, or of the cluster.
    pub(crate) fn new(client: Client, version: &Version, namespace: Option<&str>) -> Self {
        let kind = GroupVersionKind::gvk(GROUP, version.as_str(), K::KIND);
        let kind = ApiResource::from_gvk_with_plural(&kind, K::URL_PATH_SEGMENT);
        Self {
            api: match namespace {
                Some(namespace) => Api::namespaced_with(client, namespace, &kind),
                None => Api::all_with(client, &kind),
            },
            version: version.clone(),
            kind: PhantomData,
        }
    }

    /// Makes one.
    pub(crate) async fn create(&self, object: &K) -> kube::Result<K> {
        let object = self.to_served(object).map_err(kube::Error::SerdeError)?;
        let made = self.api.create(&PostParams::default(), &object).await?;
        to_v1(&made)
    }

    /// The one of this name.
    pub(crate) async fn get(&self, name: &str) -> kube::Result<K> {
        to_v1(&self.api.get(name).await?)
    }

    /// The one of this name, if there is one.
    pub(crate) async fn get_opt(&self, name: &str) -> kube::Result<Option<K>> {
        let found = self.api.get_opt(name).await?;
        found.as_ref().map(to_v1).transpose()
    }

    /// Some or all.
    pub(crate) async fn list(&self, which: &ListParams) -> kube::Result<Vec<K>> {
        let found = self.api.list(which).await?.items;
        found.iter().map(to_v1).collect()
    }

    /// Has one deleted.
    pub(crate) async fn delete(&self, name: &str) -> kube::Result<()> {
        let deleted = self.api.delete(name, &DeleteParams::default()).await;
        deleted.map(drop)
    }

    fn to_served(&self, object: &K) -> serde_json::Result<DynamicObject> {
        let mut object = serde_json::to_value(object)?;
        object["apiVersion"] = format!("{GROUP}/{}", self.version.as_str()).into();
        if self.version.is_flat() {
            older(&mut object);
        }
        serde_json::from_value(object)
    }
}

fn to_v1<K: k8s_openapi::Resource + DeserializeOwned>(object: &DynamicObject) -> kube::Result<K> {
    let convert = || {
        let mut object = serde_json::to_value(object)?;
        object["apiVersion"] = K::API_VERSION.into();
        newer(&mut object);
        serde_json::from_value(object)
    };
    convert().map_err(kube::Error::SerdeError)
}

/// From v1 to v1beta1, v1alpha3.
fn older(object: &mut Value) {
    for request in items(object, "/devices/requests") {
        if let Some(Value::Object(exactly)) = request.remove("exactly") {
            request.extend(exactly);
        }
    }
    for device in items(object, "/devices") {
        let name = device.remove("name");
        let basic = std::mem::take(device);
        device.extend(name.map(|name| ("name".to_owned(), name)));
        device.insert("basic".to_owned(), basic.into());
    }
}

/// From any version to v1, as far as stories look; what is v1 already stays.
fn newer(object: &mut Value) {
    for device in items(object, "/devices") {
        if let Some(Value::Object(basic)) = device.remove("basic") {
            device.extend(basic);
        }
        // In v1alpha3 a capacity is its value.
        let capacity = device.get_mut("capacity").and_then(Value::as_object_mut);
        for capacity in capacity.into_iter().flat_map(Map::values_mut) {
            if capacity.is_string() {
                *capacity = json!({"value": capacity});
            }
        }
    }
}

/// The objects of a list in an object's `spec`, or in the `spec` of its template.
fn items<'a>(
    object: &'a mut Value,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    let mut spec = &mut object["spec"];
    if spec.get("spec").is_some() {
        spec = &mut spec["spec"];
    }
    let list = spec.pointer_mut(list).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_claims_and_templates_are_flattened() {
        let v1 = json!({"devices": {"requests": [{"name": "nic", "exactly": {"count": 2}}]}});
        let flat = json!({"devices": {"requests": [{"name": "nic", "count": 2}]}});
        for wrap in [
            |spec| json!({"spec": spec}),
            |spec| json!({"spec": {"spec": spec}}),
        ] {
            let mut object = wrap(v1.clone());
            older(&mut object);
            assert_eq!(object, wrap(flat.clone()));
        }
    }

    #[test]
    fn a_device_comes_back_as_it_went_and_v1_stays() {
        let v1 = json!({"spec": {"devices": [
            {"name": "a", "attributes": {"up": {"bool": true}}, "capacity": {"speed": {"value": "1G"}}},
        ]}});
        let mut object = v1.clone();
        older(&mut object);
        assert_eq!(
            object["spec"]["devices"][0]["basic"]["attributes"]["up"]["bool"],
            true
        );
        object["spec"]["devices"][0]["basic"]["capacity"]["speed"] = "1G".into();
        for _ in 0..2 {
            newer(&mut object);
            assert_eq!(object, v1);
        }
    }
}
