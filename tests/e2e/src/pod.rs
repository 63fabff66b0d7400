//! Pods as users write them, with an image of the node's own.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Builds a pod whose container sleeps until it is told to end.
#[derive(Debug, Clone)]
pub(crate) struct NewPod {
    name: String,
    labels: Value,
    spec: Value,
}

/// The image of all containers; the node has it.
pub(crate) const BUSYBOX: &str = "e2e.local/busybox:1";

/// Sleeps for ever, ends at once when asked.
pub(crate) const SLEEP: &str = "trap 'exit 0' TERM; while true; do sleep 1000 & wait $!; done";

impl NewPod {
    /// A pod without a claim.
    pub(crate) fn named(name: &str) -> Self {
        let spec = json!({
            "terminationGracePeriodSeconds": 2,
            "dnsPolicy": "Default",
            "containers": [{
                "name": "main",
                "image": BUSYBOX,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", SLEEP],
                "resources": {"claims": []},
                // For `ping`; CRI-O does not give it by default.
                "securityContext": {"capabilities": {"add": ["NET_RAW"]}},
            }],
            "resourceClaims": [],
        });
        Self {
            name: name.to_owned(),
            labels: json!({"app": name}),
            spec,
        }
    }

    /// The container uses a claim made from a template.
    pub(crate) fn template(self, template: &str) -> Self {
        self.with(json!({"name": template, "resourceClaimTemplateName": template}))
    }

    /// The container uses a claim that exists.
    pub(crate) fn claim(self, claim: &str) -> Self {
        self.with(json!({"name": claim, "resourceClaimName": claim}))
    }

    fn with(mut self, claim: Value) -> Self {
        let used = json!({"name": claim["name"]});
        push(&mut self.spec, "/resourceClaims", claim);
        push(&mut self.spec, "/containers/0/resources/claims", used);
        self
    }

    /// Its container ends at once with an error if it starts without this interface, and is never started twice: it
    /// runs only if it never ran without.
    pub(crate) fn runs_only_with(self, interface: &str) -> Self {
        let command = format!("test -e /sys/class/net/{interface} || exit 1; {SLEEP}");
        let mut pod = self.restart_never();
        pod.spec["containers"][0]["command"] = json!(["sh", "-c", command]);
        pod
    }

    /// It stays on a node that is away, and may come to one.
    pub(crate) fn tolerates_all(mut self) -> Self {
        self.spec["tolerations"] = json!([{"operator": "Exists"}]);
        self
    }

    /// It uses the node's network.
    pub(crate) fn host_network(mut self) -> Self {
        self.spec["hostNetwork"] = true.into();
        self
    }

    /// Its containers are never started twice.
    pub(crate) fn restart_never(mut self) -> Self {
        self.spec["restartPolicy"] = "Never".into();
        self
    }

    /// The pod.
    ///
    /// # Errors
    /// It is no pod.
    pub(crate) fn pod(&self) -> serde_json::Result<Pod> {
        let metadata = json!({"name": self.name, "labels": self.labels});
        serde_json::from_value(json!({"metadata": metadata, "spec": self.spec}))
    }

    /// The template of a Deployment's pods.
    pub(crate) fn pod_template(&self) -> Value {
        json!({"metadata": {"labels": self.labels}, "spec": self.spec})
    }
}

fn push(spec: &mut Value, list: &str, item: Value) {
    if let Some(list) = spec.pointer_mut(list).and_then(Value::as_array_mut) {
        list.push(item);
    }
}
