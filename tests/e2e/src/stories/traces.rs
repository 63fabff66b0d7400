//! One trace per pod start, across all three daemons, in a real Jaeger.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::case::{Case, SOON, uid};
use crate::jaeger::Trace;
use crate::pod::NewPod;
use crate::wait::{Seen, until};

const PLUGIN: &str = "network-driver-dra-plugin";
const HOOK: &str = "network-driver-nri-hook";

/// What a pod's start looks like: service, end of the span's name, end of its parent's name.
const START: [(&str, &str, Option<&str>); 12] = [
    (PLUGIN, "/NodePrepareResources", None),
    (PLUGIN, "claim.prepare", Some("/NodePrepareResources")),
    (PLUGIN, "/resourceclaims/{name}", Some("claim.prepare")),
    (PLUGIN, "claim.validate", Some("claim.prepare")),
    (PLUGIN, "claim.inspect_link", Some("claim.prepare")),
    (HOOK, "claim.inspect_link", Some("claim.inspect_link")),
    (PLUGIN, "claim.store", Some("claim.prepare")),
    (HOOK, "/RunPodSandbox", Some("claim.prepare")),
    (HOOK, "sandbox.attach", Some("/RunPodSandbox")),
    (HOOK, "interface.move", Some("sandbox.attach")),
    (HOOK, "interface.configure", Some("sandbox.attach")),
    (PLUGIN, "claim.report", Some("/RunPodSandbox")),
];

/// A pod's start is one tree; its id stands in the claim's status; the claim's end is a trace of its own, linked to it.
pub(super) async fn a_pods_start_is_one_trace(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let pod = case.start(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    let status = case.status_shows(&claim, "net1").await?;
    let id = status["data"]["traceId"]
        .as_str()
        .context("no trace id in the status")?;

    let trace = until("the whole trace in Jaeger", SOON, async || {
        let trace = Trace::find(id)?;
        let missing: Vec<_> = START
            .iter()
            .filter(|(service, name, parent)| !trace.has(service, name, *parent))
            .collect();
        Ok(if missing.is_empty() {
            Seen::Yes(trace)
        } else {
            Seen::Not(format!("missing {missing:?} in\n{}", trace.listed()))
        })
    })
    .await?;
    ensure!(
        !trace.spans().any(crate::jaeger::Span::failed),
        "a span failed:\n{}",
        trace.listed()
    );
    let sandbox = trace
        .spans()
        .find(|span| span.name().ends_with("/RunPodSandbox"));
    let sandbox = sandbox.context("RunPodSandbox")?;
    ensure!(
        sandbox.tag("k8s.pod.uid") == Some(uid(&pod)?),
        "{:?}",
        sandbox.tag("k8s.pod.uid")
    );
    ensure!(
        sandbox.tag("k8s.pod.name") == Some("web"),
        "{:?}",
        sandbox.tag("k8s.pod.name")
    );

    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await?;
    until(
        "the end of the claim, linked to its start",
        SOON,
        async || {
            let traces = Trace::tagged(PLUGIN, "dra.claim.name", &claim)?;
            let mut spans = traces.iter().flat_map(Trace::spans);
            let linked = spans.any(|span| span.name() == "claim.unprepare" && span.is_linked());
            let listed: String = traces.iter().map(Trace::listed).collect();
            Ok(Seen::when(linked, listed))
        },
    )
    .await
}

/// A start that fails is marked as failed where it failed.
pub(super) async fn a_failed_start_is_a_failed_trace(case: &Case) -> Result<()> {
    case.nic().await?;
    let wrong = json!({"interface": {"mtu": 3}});
    case.template("nic", &case.wants().request("nic").configured("nic", wrong))
        .await?;
    case.create(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    until("a failed claim.prepare in Jaeger", SOON, async || {
        let traces = Trace::tagged(PLUGIN, "dra.claim.name", &claim)?;
        let mut spans = traces.iter().flat_map(Trace::spans);
        let failed = spans.any(|span| span.name() == "claim.prepare" && span.failed());
        Ok(Seen::when(failed, format!("{} traces", traces.len())))
    })
    .await?;
    case.delete("web").await
}
