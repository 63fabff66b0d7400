//! One trace per pod start, across all three daemons, in a real Jaeger.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::case::{Case, SOON, uid};
use crate::cri;
use crate::jaeger::{Span, Trace};
use crate::node::runtime;
use crate::pod::NewPod;
use crate::wait::{Seen, until};

const DISCOVERY: &str = "network-driver-discovery";
const PLUGIN: &str = "network-driver-dra-plugin";
const HOOK: &str = "network-driver-nri-hook";

/// What a pod's start looks like: service, end of the span's name, end of its parent's name.
const START: [(&str, &str, Option<&str>); 26] = [
    (PLUGIN, "DRAPlugin/NodePrepareResources", None),
    (PLUGIN, "claim.prepare", Some("/NodePrepareResources")),
    (PLUGIN, "/resourceclaims/{name}", Some("claim.prepare")),
    (PLUGIN, "claim.validate", Some("claim.prepare")),
    (PLUGIN, "claim.inspect_link", Some("claim.prepare")),
    (PLUGIN, "Claims/Session check", Some("claim.inspect_link")),
    (HOOK, "Claims/Session check", Some("Claims/Session check")),
    (PLUGIN, "claim.store", Some("claim.prepare")),
    (PLUGIN, "Claims/Session commit", Some("claim.prepare")),
    (HOOK, "Claims/Session commit", Some("Claims/Session commit")),
    (PLUGIN, "Session devices_in_use", Some("claim.prepare")),
    (
        DISCOVERY,
        "Session devices_in_use",
        Some("Session devices_in_use"),
    ),
    (HOOK, "Plugin/RunPodSandbox", Some("claim.prepare")),
    (HOOK, "sandbox.attach", Some("/RunPodSandbox")),
    (HOOK, "interface.move", Some("sandbox.attach")),
    (HOOK, "interface.configure", Some("sandbox.attach")),
    (HOOK, "interface.routes", Some("sandbox.attach")),
    (HOOK, "interface.verify", Some("sandbox.attach")),
    (HOOK, "cdi.write", Some("sandbox.attach")),
    (HOOK, "Claims/Session report", Some("/RunPodSandbox")),
    (
        PLUGIN,
        "Claims/Session report",
        Some("Claims/Session report"),
    ),
    (PLUGIN, "claim.store", Some("Claims/Session report")),
    (PLUGIN, "claim.status", Some("Claims/Session report")),
    (
        PLUGIN,
        "/resourceclaims/{name}/status",
        Some("claim.status"),
    ),
    (HOOK, "Plugin/CreateContainer", Some("claim.prepare")),
    (HOOK, "container.gate", Some("/CreateContainer")),
];

/// The names that a pod's start has, each on at least one of these spans.
const ATTRIBUTES: [(&str, &[&str]); 12] = [
    (
        "/NodePrepareResources",
        &[
            "rpc.system.name",
            "rpc.method",
            "rpc.status_code",
            "server.address",
        ],
    ),
    (
        "claim.prepare",
        &[
            "dra.driver.name",
            "dra.claim.name",
            "dra.claim.uid",
            "dra.claim.namespace",
            "dra.request.name",
            "dra.device.name",
            "dra.pool.name",
            "dra.devices.count",
            "k8s.pod.uid",
        ],
    ),
    (
        "/resourceclaims/{name}",
        &[
            "http.request.method",
            "http.response.status_code",
            "url.template",
            "server.address",
        ],
    ),
    ("claim.store", &["db.flush_ms"]),
    (
        "Claims/Session check",
        &["rpc.system.name", "rpc.method", "rpc.status_code"],
    ),
    ("Session devices_in_use", &["rpc.method", "dra.claim.uid"]),
    (
        "Plugin/RunPodSandbox",
        &[
            "rpc.system.name",
            "rpc.method",
            "rpc.status_code",
            "server.address",
            "nri.sandbox.id",
            "nri.runtime.name",
            "nri.budget_ms",
            "k8s.pod.name",
            "k8s.pod.uid",
            "k8s.namespace.name",
            "dra.claims.count",
        ],
    ),
    (
        "sandbox.attach",
        &[
            "nri.sandbox.id",
            "netns.inode",
            "nri.budget_ms",
            "dra.devices.count",
        ],
    ),
    (
        "interface.move",
        &[
            "network.interface.name",
            "link.ifindex",
            "link.kind",
            "link.mtu",
            "dra.device.name",
            "dra.request.name",
            "dra.pool.name",
        ],
    ),
    ("interface.verify", &["network.interface.name"]),
    (
        "Plugin/CreateContainer",
        &[
            "rpc.status_code",
            "container.id",
            "nri.sandbox.id",
            "k8s.pod.uid",
        ],
    ),
    ("container.gate", &["allowed", "dra.claims.count"]),
];

/// What the processes say of themselves.
const RESOURCE: [&str; 8] = [
    "service.namespace",
    "service.version",
    "service.instance.id",
    "host.name",
    "k8s.node.name",
    "k8s.pod.uid",
    "k8s.daemonset.name",
    "k8s.container.name",
];

/// A pod's start is one tree over all daemons; its id stands in the claim's status, in an event and in the log; the ends of
/// sandbox and claim are traces of their own, linked to it. A pod without a claim leaves no trace.
pub(super) async fn a_pods_start_is_one_trace(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    let way = format!("198.51.100.{}/32", case.number());
    let routed = json!({
        "interface": {"name": "net1", "addresses": [nic.address]},
        "routes": [{"destination": way}],
    });
    let wants = case.wants().request_link("nic", &nic.name);
    case.template("nic", &wants.configured("nic", routed))
        .await?;
    let pod = case.start(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    let status = case.status_shows(&claim, "net1").await?;
    let id = status["data"]["traceId"]
        .as_str()
        .context("no trace id in the status")?;

    let trace = whole(id).await?;
    ensure!(
        !trace.spans().any(Span::failed),
        "a span failed:\n{}",
        trace.listed()
    );
    has_attributes(&trace)?;
    let sandbox = trace.span("/RunPodSandbox").context("RunPodSandbox")?;
    for (key, want) in [
        ("k8s.pod.uid", uid(&pod)?),
        ("k8s.pod.name", "web"),
        ("k8s.namespace.name", &case.namespace),
        ("rpc.system.name", "ttrpc"),
        ("rpc.status_code", "OK"),
    ] {
        let got = sandbox.tag(key);
        ensure!(got.as_deref() == Some(want), "{key}: {got:?}");
    }
    let gate = trace
        .span("container.gate")
        .and_then(|gate| gate.tag("allowed"));
    ensure!(gate.as_deref() == Some("true"), "allowed: {gate:?}");
    case.event("web", "InterfaceAttached", &format!("trace {id}"))
        .await?;
    let logged = case.driver.log("nri-hook").await?;
    let marked = |line: &str| line.contains(id) && line.contains("claim attached");
    ensure!(
        logged.lines().any(marked),
        "trace {id} is not in the hook's log"
    );

    case.start(&NewPod::named("plain")).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await?;
    follows(&claim, "claim.unprepare", PLUGIN, "dra.claim.name", id).await?;
    follows(uid(&pod)?, "Plugin/StopPodSandbox", HOOK, "k8s.pod.uid", id).await?;
    let plain = Trace::tagged(HOOK, "k8s.pod.name", "plain")?;
    let shown: String = plain.iter().map(Trace::listed).collect();
    ensure!(
        plain.is_empty(),
        "a pod without a claim is traced:\n{shown}"
    );
    case.delete("plain").await
}

/// A sandbox that is made anew is a trace of its own, linked to the start of its pod.
pub(super) async fn a_new_sandbox_is_a_linked_trace(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    case.template_for("nic", &nic).await?;
    let pod = case.start(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    let status = case.status_shows(&claim, "net1").await?;
    let id = status["data"]["traceId"].as_str().context("no trace id")?;
    cri::end_sandbox(uid(&pod)?).await?;
    follows(uid(&pod)?, "Plugin/RunPodSandbox", HOOK, "k8s.pod.uid", id).await?;
    case.delete("web").await
}

/// A start that fails is marked as failed where it failed, and only there; a retry is linked to it.
pub(super) async fn a_failed_start_is_a_failed_trace(case: &Case) -> Result<()> {
    case.nic().await?;
    let wrong = json!({"interface": {"addresses": ["10.7.0.0/24"]}});
    case.template("nic", &case.wants().request("nic").configured("nic", wrong))
        .await?;
    case.create(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    until("a failed claim.prepare in Jaeger", SOON, async || {
        let traces = Trace::tagged(PLUGIN, "dra.claim.name", &claim)?;
        let failed = |span: Span<'_>| {
            let kind = span.tag("error.type");
            span.name() == "claim.prepare"
                && span.failed()
                && kind.as_deref() == Some("InvalidConfiguration")
        };
        let failed = traces.iter().flat_map(Trace::spans).any(failed);
        let listed: String = traces.iter().map(Trace::listed).collect();
        Ok(Seen::when(failed, listed))
    })
    .await?;
    case.delete("web").await?;

    // The name is taken in every pod: found out only when the sandbox is there.
    let taken = json!({"interface": {"name": "eth0"}});
    case.template(
        "taken",
        &case.wants().request("nic").configured("nic", taken),
    )
    .await?;
    let pod = case
        .create(&NewPod::named("late").template("taken"))
        .await?;
    let uid = uid(&pod)?;
    until(
        "a failed sandbox in Jaeger and its linked retry",
        SOON * 2, // the kubelet waits before it tries again
        async || {
            let traces = Trace::tagged(HOOK, "k8s.pod.uid", uid)?;
            let failed = |span: &Span<'_>| {
                let kind = span.tag("error.type");
                span.name().ends_with("/RunPodSandbox")
                    && span.failed()
                    && kind.as_deref() == Some("InterfaceNameConflict")
            };
            let is_failed = |trace: &&Trace| trace.spans().any(|span| failed(&span));
            let ids: Vec<_> = traces.iter().filter(is_failed).map(Trace::id).collect();
            let mut spans = traces.iter().flat_map(Trace::spans).filter(failed);
            let linked = spans.any(|span| ids.iter().any(|id| span.is_linked_to(id)));
            let listed: String = traces.iter().map(Trace::listed).collect();
            Ok(Seen::when(linked, listed))
        },
    )
    .await?;
    case.delete("late").await
}

/// A new NIC makes a trace from the kernel's event to the slice; audits and other cycles that change nothing make none.
pub(super) async fn a_published_change_is_one_trace(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let tree = [
        ("links.scan", "slices.publish-cycle"),
        ("slices.build", "slices.publish-cycle"),
        ("slices.publish", "slices.publish-cycle"),
        ("/resourceslices/{name}", "slices.publish"),
    ];
    until("the publishing cycle in Jaeger", SOON, async || {
        let traces = Trace::named(DISCOVERY, "slices.publish-cycle")?;
        let listed: String = traces.iter().take(3).map(Trace::listed).collect();
        let whole = |trace: &&Trace| {
            let mut below = tree.iter();
            below.all(|(name, parent)| trace.has(DISCOVERY, name, Some(parent)))
        };
        let Some(trace) = traces.iter().find(whole) else {
            return Ok(Seen::Not(listed));
        };
        for (name, key) in [
            ("slices.publish-cycle", "trigger"),
            ("slices.publish-cycle", "link.events"),
            ("links.scan", "links.total"),
            ("links.scan", "links.offered"),
            ("slices.build", "devices"),
            ("slices.publish", "changed"),
            ("slices.publish", "generation"),
        ] {
            let tag = trace.span(name).and_then(|span| span.tag(key));
            ensure!(tag.is_some(), "no {key} on {name}");
        }
        ensure!(!trace.spans().any(Span::failed), "{}", trace.listed());
        Ok(Seen::Yes(()))
    })
    .await?;
    let empty = |trace: &&Trace| trace.span("slices.publish").is_none();
    let cycles = Trace::named(DISCOVERY, "slices.publish-cycle")?;
    let idle: String = cycles.iter().filter(empty).map(Trace::listed).collect();
    ensure!(idle.is_empty(), "a cycle that published nothing:\n{idle}");
    drop(nic);
    Ok(())
}

/// The trace with all that a pod's start has.
async fn whole(id: &str) -> Result<Trace> {
    until("the whole trace in Jaeger", SOON, async || {
        let trace = Trace::find(id)?;
        let missing: Vec<_> = START
            .iter()
            .filter(|(service, name, parent)| !trace.has(service, name, *parent))
            .collect();
        Ok(if missing.is_empty() {
            Seen::Yes(trace)
        } else {
            Seen::Not(format!("missing {missing:#?} in\n{}", trace.listed()))
        })
    })
    .await
}

fn has_attributes(trace: &Trace) -> Result<()> {
    for (name, keys) in ATTRIBUTES {
        for key in keys {
            // CRI-O shows NRI neither names nor versions everywhere: what it leaves out is not ours to add.
            let mut spans = trace.spans().filter(|span| span.name().ends_with(name));
            ensure!(
                spans.any(|span| span.tags().any(|tag| tag == *key)),
                "no {key} on {name} ({})",
                runtime()
            );
        }
    }
    let failures = trace
        .spans()
        .filter(|span| span.tags().any(|tag| tag == "error.type"));
    let failures: Vec<_> = failures.map(Span::name).collect();
    ensure!(
        failures.is_empty(),
        "error.type without a failure: {failures:?}"
    );
    for span in trace.spans() {
        for key in RESOURCE {
            let value = span.process_tag(key);
            ensure!(
                value.is_some_and(|v| !v.is_empty()),
                "no {key} of {}",
                span.service()
            );
        }
    }
    Ok(())
}

/// Waits for a span of this name, found by a tag, in another trace than `id` and linked to it.
async fn follows(value: &str, name: &str, service: &str, key: &str, id: &str) -> Result<()> {
    until(&format!("{name}, linked to the start"), SOON, async || {
        let traces = Trace::tagged(service, key, value)?;
        let others = traces.iter().filter(|trace| trace.id() != id);
        let mut spans = others.flat_map(Trace::spans);
        let linked = spans.any(|span| span.name().ends_with(name) && span.is_linked_to(id));
        let listed: String = traces.iter().map(Trace::listed).collect();
        Ok(Seen::when(linked, listed))
    })
    .await
}
