//! Claims: written as a user writes them, allocated as the scheduler does.

use serde_json::{Value, json};

use super::{Cluster, DRIVER, NODE};
use crate::kubelet::ClaimName;

/// A created claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Name; the namespace is `default`.
    pub name: String,
    /// UID.
    pub uid: String,
}

impl Claim {
    pub(crate) fn kubelet_name(&self) -> ClaimName {
        ClaimName {
            namespace: "default".into(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    /// The CDI id of its devices.
    pub fn cdi_id(&self) -> String {
        format!("{DRIVER}/claim={}", self.uid)
    }
}

/// A claim in the making.
#[derive(Debug)]
pub struct ClaimBuilder<'a> {
    cluster: &'a Cluster,
    name: String,
    results: Vec<Value>,
    config: Vec<Value>,
}

impl<'a> ClaimBuilder<'a> {
    pub(super) fn new(cluster: &'a Cluster, name: &str) -> Self {
        Self {
            cluster,
            name: name.to_owned(),
            results: Vec::new(),
            config: Vec::new(),
        }
    }

    /// Allocates a device of this node for a request of its own, called like the device.
    #[must_use]
    pub fn device(mut self, device: &str) -> Self {
        self.results.push(json!({
            "request": device, "driver": DRIVER, "pool": NODE, "device": device,
        }));
        self
    }

    /// Gives the device allocated last a name in the pod and an address there.
    #[must_use]
    pub fn interface(self, name: &str, address: &str) -> Self {
        self.config(&json!({"interface": {"name": name, "addresses": [address]}}))
    }

    /// Gives the device allocated last these fields of a `NetworkConfig`.
    #[must_use]
    pub fn config(self, fields: &Value) -> Self {
        let mut parameters =
            json!({"apiVersion": format!("{DRIVER}/v1alpha1"), "kind": "NetworkConfig"});
        if let (Some(all), Some(fields)) = (parameters.as_object_mut(), fields.as_object()) {
            all.extend(fields.clone());
        }
        self.parameters(&parameters)
    }

    /// Gives the device allocated last these opaque parameters, whatever they are.
    #[must_use]
    pub fn parameters(mut self, parameters: &Value) -> Self {
        let request = self.results.last().map(|result| result["request"].clone());
        self.config.push(json!({
            "source": "FromClaim",
            "requests": [request],
            "opaque": {"driver": DRIVER, "parameters": parameters},
        }));
        self
    }

    /// Creates and allocates it.
    pub fn create(self) -> Claim {
        let requests: Vec<Value> = self
            .results
            .iter()
            .map(|result| json!({"name": result["request"], "exactly": {"deviceClassName": "network"}}))
            .collect();
        let claim = json!({
            "metadata": {"namespace": "default", "name": self.name},
            "spec": {"devices": {"requests": requests}},
            "status": {"allocation": {"devices": {"results": self.results, "config": self.config}}},
        });
        let stored = self.cluster.api.put_claim(claim);
        let uid = stored.pointer("/metadata/uid").and_then(Value::as_str);
        Claim {
            name: self.name,
            uid: uid.unwrap_or_default().to_owned(),
        }
    }
}
