//! Claims as users write them.

use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use serde_json::{Value, json};

/// Name of the driver under test.
pub(crate) const DRIVER: &str = "network.example.com";

/// What a claim asks for: one or more NICs of the story, each with its parameters.
#[derive(Debug, Clone)]
pub(crate) struct Wants {
    class: String,
    requests: Vec<Value>,
    config: Vec<Value>,
    constraints: Vec<Value>,
}

impl Wants {
    /// Nothing yet, of this DeviceClass.
    pub(crate) fn of(class: &str) -> Self {
        Self {
            class: class.to_owned(),
            requests: Vec::new(),
            config: Vec::new(),
            constraints: Vec::new(),
        }
    }

    /// One more NIC, any; the request is named.
    pub(crate) fn request(mut self, name: &str) -> Self {
        self.requests.push(json!({
            "name": name,
            "exactly": {"deviceClassName": self.class},
        }));
        self
    }

    /// One more NIC, the one of this name on the node.
    pub(crate) fn request_link(self, name: &str, link: &str) -> Self {
        let expression = format!(r#"device.attributes["{DRIVER}"].ifName == "{link}""#);
        self.request_such(name, &expression)
    }

    /// One more NIC that this CEL expression is true of.
    pub(crate) fn request_such(mut self, name: &str, expression: &str) -> Self {
        self.requests.push(json!({
            "name": name,
            "exactly": {
                "deviceClassName": self.class,
                "selectors": [{"cel": {"expression": expression}}],
            },
        }));
        self
    }

    /// One more device, any of another DeviceClass.
    pub(crate) fn request_of(mut self, name: &str, class: &str) -> Self {
        let exactly = json!({"deviceClassName": class});
        self.requests
            .push(json!({"name": name, "exactly": exactly}));
        self
    }

    /// All devices have the same value of this attribute.
    pub(crate) fn alike_in(mut self, attribute: &str) -> Self {
        self.constraints.push(json!({"matchAttribute": attribute}));
        self
    }

    /// Parameters for a request: `interface` and `routes`, as in docs/claims.md.
    pub(crate) fn configured(mut self, request: &str, mut parameters: Value) -> Self {
        parameters["apiVersion"] = format!("{DRIVER}/v1alpha1").into();
        parameters["kind"] = "NetworkConfig".into();
        self.config.push(json!({
            "requests": [request],
            "opaque": {"driver": DRIVER, "parameters": parameters},
        }));
        self
    }

    fn spec(&self) -> Value {
        json!({"devices": {
            "requests": self.requests,
            "config": self.config,
            "constraints": self.constraints,
        }})
    }

    /// The claim of this name.
    ///
    /// # Errors
    /// It is no claim.
    pub(crate) fn claim(&self, name: &str) -> serde_json::Result<ResourceClaim> {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": self.spec()}))
    }

    /// The claim template of this name.
    ///
    /// # Errors
    /// It is no template.
    pub(crate) fn template(&self, name: &str) -> serde_json::Result<ResourceClaimTemplate> {
        let spec = json!({"spec": self.spec()});
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
    }
}
