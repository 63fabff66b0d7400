//! What the chart brings beside the driver: a look at the node before it starts, and rules for what people write.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::case::{Case, contains};
use crate::claim::DRIVER;
use crate::driver::RELEASE;
use crate::node::{log_of_runtime, runtime};
use crate::pod::NewPod;
use crate::wait::{Seen, until};

/// A policy takes effect, and a pod's container is started again, within this.
const PROMPTLY: Duration = Duration::from_mins(1);

/// Preflight names the runtime; on a node that lacks something the driver does not start, its pod says what to change,
/// and once that is done it works.
pub(super) async fn preflight_says_what_the_node_lacks(case: &Case) -> Result<()> {
    let lines = case.driver.log("preflight").await?;
    for line in [
        "ok    kernel    Linux",
        "ok    kubelet   /var/lib/kubelet is its root directory",
        "ok    cdi ",
        "ok    records ",
        "ok    state ",
        "ok    settings",
        "needed by the node (uplink0 carries the default route)",
    ] {
        contains(&lines, line)?;
    }
    let name = runtime().replace("crio", "cri-o"); // as it calls itself
    contains(&lines, &format!("ok    runtime   {name} "))?;
    contains(&lines, "speaks NRI at /var/run/nri/nri.sock and waits 2s")?;
    // The runtime has given the plugin up by itself, and knows why.
    contains(&log_of_runtime()?, "it only asked which runtime this is")?;

    let values = [
        "kubelet.rootDir=/run/elsewhere",
        "nri.socketPath=/run/nowhere/nri.sock",
    ];
    let told = wrongly_installed(case, &values).await;
    case.driver.install(&[]).await?;
    told?;
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

async fn wrongly_installed(case: &Case, values: &[&str]) -> Result<()> {
    case.driver.upgrade(values)?;
    let message = until("preflight's message", PROMPTLY, async || {
        let (code, message) = case.driver.ended("preflight").await?;
        Ok(if code == 7 {
            Seen::Yes(message)
        } else {
            Seen::Not(format!("code {code}: {message}"))
        })
    })
    .await?;
    contains(
        &message,
        "FAIL  kubelet   /run/elsewhere is not its root directory",
    )?;
    contains(&message, "set kubelet.rootDir to the kubelet's --root-dir")?;
    contains(
        &message,
        "FAIL  runtime   no NRI socket at /run/nowhere/nri.sock",
    )?;
    contains(&message, "enable_nri = true")
}

/// Wrong parameters are refused when a claim, a template or a class is made, each with its sentence; right ones and those
/// of other drivers are not.
pub(super) async fn wrong_parameters_are_refused_where_they_are_written(case: &Case) -> Result<()> {
    for place in PLACES {
        for (parameters, sentence) in wrong() {
            let what = format!("{place:?} {parameters}");
            let answer = make(case, place, DRIVER, &parameters).await;
            let Err(refusal) = answer else {
                anyhow::bail!("{what}: accepted; expected: {sentence}");
            };
            contains(&refusal.to_string(), sentence).context(what)?;
            let answer = make(case, place, "gpu.example.com", &parameters).await;
            answer.with_context(|| format!("another driver's {place:?} {parameters}"))?;
        }
        for parameters in right() {
            let answer = make(case, place, DRIVER, &parameters).await;
            answer.with_context(|| format!("{place:?} {parameters}"))?;
        }
    }
    a_class_of_before_can_be_labelled(case).await
}

/// A class that is older than the policy can be labelled, not changed for the worse.
async fn a_class_of_before_can_be_labelled(case: &Case) -> Result<()> {
    let name = format!("{}-old", case.namespace);
    let bindings = cluster_wide(case, BINDING);
    let policy = format!("{RELEASE}-claims");
    let mut binding = bindings.get(&policy).await?;
    bindings
        .delete(&policy, &kube::api::DeleteParams::default())
        .await?;
    let (bad, worse) = (
        json!({"interface": {"mtu": 1}}),
        json!({"interface": {"mtu": 2}}),
    );
    let classes = cluster_wide(case, Place::Class.kind());
    let old = until(
        "a class that the policy would refuse",
        PROMPTLY,
        async || {
            let class = object(Place::Class, &name, DRIVER, &bad)?;
            Ok(Seen::Yes(
                classes.create(&PostParams::default(), &class).await?,
            ))
        },
    )
    .await;
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await?;
    old?;
    until("the policy in force again", PROMPTLY, async || {
        let accepted = make(case, Place::Class, DRIVER, &bad).await.is_ok();
        Ok(Seen::when(!accepted, "not yet"))
    })
    .await?;
    let patch = async |change: Value| {
        let merge = Patch::Merge(change);
        classes.patch(&name, &PatchParams::default(), &merge).await
    };
    let labelled = patch(json!({"metadata": {"labels": {"seen": "yes"}}})).await;
    let spec = object(Place::Class, &name, DRIVER, &worse)?.data;
    let changed = patch(spec).await;
    classes
        .delete(&name, &kube::api::DeleteParams::default())
        .await?;
    labelled.context("a label on a class of before")?;
    ensure!(changed.is_err(), "a class was changed to wrong parameters");
    Ok(())
}

/// Where parameters are written.
#[derive(Debug, Clone, Copy)]
enum Place {
    Claim,
    Template,
    Class,
}

const PLACES: [Place; 3] = [Place::Claim, Place::Template, Place::Class];

const BINDING: (&str, &str, &str) = (
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicyBinding",
);

impl Place {
    fn kind(self) -> (&'static str, &'static str, &'static str) {
        let kind = match self {
            Self::Claim => "ResourceClaim",
            Self::Template => "ResourceClaimTemplate",
            Self::Class => "DeviceClass",
        };
        ("resource.k8s.io", "v1", kind)
    }
}

/// Asks the API server to take it, without keeping it.
async fn make(case: &Case, place: Place, driver: &str, parameters: &Value) -> Result<()> {
    let object = object(place, "tried", driver, parameters)?;
    let api = if let Place::Class = place {
        cluster_wide(case, place.kind())
    } else {
        let client = case.cluster.client.clone();
        Api::namespaced_with(client, &case.namespace, &resource(place.kind()))
    };
    let tried = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&tried, &object).await?;
    Ok(())
}

fn object(place: Place, name: &str, driver: &str, parameters: &Value) -> Result<DynamicObject> {
    let config = json!([{"opaque": {"driver": driver, "parameters": parameters}}]);
    let request = json!([{"name": "nic", "exactly": {"deviceClassName": DRIVER}}]);
    let claim = json!({"devices": {"requests": request, "config": config}});
    let spec = match place {
        Place::Claim => claim,
        Place::Template => json!({"spec": claim}),
        Place::Class => json!({"config": config}),
    };
    let (group, version, kind) = place.kind();
    Ok(serde_json::from_value(json!({
        "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec,
    }))?)
}

fn cluster_wide(case: &Case, kind: (&str, &str, &str)) -> Api<DynamicObject> {
    Api::all_with(case.cluster.client.clone(), &resource(kind))
}

fn resource((group, version, kind): (&str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Parameters with what they should have, and these fields.
fn with(mut fields: Value) -> Value {
    fields["apiVersion"] = format!("{DRIVER}/v1alpha1").into();
    fields["kind"] = "NetworkConfig".into();
    fields
}

/// Every field with a value at the edge of what it may have.
fn right() -> [Value; 4] {
    let addresses: Vec<_> = (0..16).map(|n| format!("10.7.{n}.2/24")).collect();
    let routes: Vec<_> = (0..32)
        .map(|n| json!({"destination": format!("10.{n}.0.0/16"), "gateway": "10.7.0.1"}))
        .collect();
    [
        with(json!({})),
        with(json!({"interface": null, "routes": null})),
        with(
            json!({"interface": {"name": "a-name-15-bytes", "mtu": 68, "addresses": addresses}, "routes": routes}),
        ),
        with(json!({
            "interface": {"mtu": 65535, "addresses": ["fd00::2/64"]},
            "routes": [{"destination": "::/0", "gateway": "fd00::1"}, {"destination": "fd01::/64"}],
        })),
    ]
}

/// Every way to be wrong, and a part of the sentence that says so.
fn wrong() -> Vec<(Value, &'static str)> {
    let kind = "must say `apiVersion: network.example.com/v1alpha1` and `kind: NetworkConfig`";
    let name = "must be 1 to 15 bytes without '/', ':', '%' or white space";
    let mtu = "interface.mtu must be a number from 68 to 65535";
    let addresses = "interface.addresses must be at most 16 addresses with prefix";
    let routes = "routes must be at most 32 objects";
    let destination = "each of routes needs a destination";
    let gateway = "the gateway of a route must be an address of the same family";
    let interface = |fields: Value| with(json!({"interface": fields}));
    let route = |fields: Value| with(json!({"routes": [fields]}));
    vec![
        (json!({}), kind),
        (
            json!({"apiVersion": "network.example.com/v9", "kind": "NetworkConfig"}),
            kind,
        ),
        (
            json!({"apiVersion": "network.example.com/v1alpha1", "kind": 7}),
            kind,
        ),
        (with(json!({"iface": {}})), "have no field iface"),
        (
            interface(json!({"ip": "10.0.0.1"})),
            "have no field interface.ip",
        ),
        (
            route(json!({"destination": "10.0.0.0/8", "via": "10.0.0.1"})),
            "have no field routes[].via",
        ),
        (
            with(json!({"interface": "eth0"})),
            "interface must be an object",
        ),
        (interface(json!({"name": "much-too-long-for-linux"})), name),
        (interface(json!({"name": ""})), name),
        (interface(json!({"name": "net%d"})), name),
        (interface(json!({"name": "all"})), name),
        (
            interface(json!({"name": {}})),
            "interface.name must be a text",
        ),
        (interface(json!({"mtu": 67})), mtu),
        (interface(json!({"mtu": "1500"})), mtu),
        (interface(json!({"addresses": "10.0.0.5/24"})), addresses),
        (interface(json!({"addresses": ["10.0.0.5"]})), addresses),
        (
            interface(json!({"addresses": vec!["10.0.0.5/24"; 17]})),
            addresses,
        ),
        (with(json!({"routes": {}})), routes),
        (
            with(json!({"routes": vec![json!({"destination": "10.0.0.0/8"}); 33]})),
            routes,
        ),
        (route(json!({"gateway": "10.0.0.1"})), destination),
        (route(json!({"destination": "10.0.0.1/8"})), destination),
        (
            route(json!({"destination": "10.0.0.0/8", "gateway": "nonsense"})),
            gateway,
        ),
        (
            route(json!({"destination": "10.0.0.0/8", "gateway": "fd00::1"})),
            gateway,
        ),
    ]
}
