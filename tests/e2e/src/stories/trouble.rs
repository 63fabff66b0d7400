//! What goes wrong on nodes: things that die, restart or vanish, one at a time.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::case::{Case, SOON, restarts, state, uid};
use crate::cri;
use crate::nic::{Home, Nic};
use crate::node::{Daemon, ping_from_outside};
use crate::numbers;
use crate::pod::NewPod;
use crate::rounds::rounds;
use crate::traffic::Traffic;
use crate::wait::{Seen, until};

/// The container ends and is started again in the same sandbox: it still has its NIC.
pub(super) async fn a_restarted_container_keeps_its_nic(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    // The answer may be lost: the shell that gives it dies with the container.
    drop(case.exec("web", "kill 1").await);
    has_restarted(case, "web", 1).await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// The sandbox ends under the pod: the kubelet makes another one, and the NIC is in it. A pod of its own each time, as
/// the kubelet waits longer and longer before it starts a container again.
pub(super) async fn a_sandbox_made_again_has_the_nic_each_time(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let rounds = rounds(3);
    for round in 1..=rounds {
        let web = format!("web-{round}");
        let pod = case.start(&NewPod::named(&web).template("nic")).await?;
        cri::end_sandbox(uid(&pod)?).await?;
        has_restarted(case, &web, 1).await?;
        case.pings(&web, &nic).await?;
        case.delete(&web).await?;
        case.all_is_as_before(&[(&nic, home.clone())]).await?;
    }
    numbers::line(format!(
        "sandbox made again: the NIC is in it {rounds} of {rounds} times"
    ));
    Ok(())
}

/// A pod deleted by force is gone from the API at once; its NIC comes home all the same.
pub(super) async fn a_force_deleted_pod_gives_its_nic_back(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    case.force_delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// The kubelet restarts under a running pod, again and again: traffic goes on, the next pod starts, all NICs come home.
pub(super) async fn a_kubelet_restart_disturbs_nobody(case: &Case) -> Result<()> {
    let (before, after) = (eight(case).await?, case.nic().await?);
    let homes = looks(before.iter().chain([&after]))?;
    start_with_all(case, "before", &before).await?;
    case.template_for("after", &after).await?;
    let sent = disturbed(case, &before, Daemon::Kubelet).await?;
    // The kubelet deletes all slices of its node when it starts.
    case.is_offered(&after.name, true, SOON).await?;
    case.start(&NewPod::named("after").template("after"))
        .await?;
    case.pings("after", &after).await?;
    for pod in ["before", "after"] {
        case.delete(pod).await?;
    }
    numbers::line(format!("kubelet restarts: {sent}"));
    case.all_is_as_before(&homes).await
}

/// The runtime restarts under a running pod, again and again: traffic goes on; the pod's end is noticed all the same.
pub(super) async fn a_runtime_restart_disturbs_nobody(case: &Case) -> Result<()> {
    let (before, after) = (eight(case).await?, case.nic().await?);
    let homes = looks(before.iter().chain([&after]))?;
    start_with_all(case, "before", &before).await?;
    case.template_for("after", &after).await?;
    let sent = disturbed(case, &before, Daemon::Runtime).await?;
    case.delete("before").await?;
    case.start(&NewPod::named("after").template("after"))
        .await?;
    case.pings("after", &after).await?;
    case.delete("after").await?;
    numbers::line(format!("runtime restarts: {sent}"));
    case.all_is_as_before(&homes).await
}

/// A pod is deleted while the runtime is away.
pub(super) async fn a_pod_deleted_while_the_runtime_is_away_gives_its_nic_back(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    Daemon::Runtime.stop().await?;
    case.api::<Pod>()
        .delete("web", &kube::api::DeleteParams::default())
        .await?;
    ping_from_outside(nic.ip())?;
    Daemon::Runtime.start()?;
    is_gone(case, "web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// The API server goes away right after a pod's start: traffic works; the claim's status arrives later.
pub(super) async fn the_claims_status_arrives_after_the_api_server_was_away(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    let parameters = json!({"interface": {"name": "net1", "addresses": [nic.address]}});
    case.claim(
        "mine",
        &case.wants().request("nic").configured("nic", parameters),
    )
    .await?;
    case.create(&NewPod::named("web").claim("mine")).await?;
    attached(&nic).await?;
    Daemon::ApiServer.kill().await?;
    let away = std::time::Instant::now();
    until("the pod answers without an API server", SOON, async || {
        ping_from_outside(nic.ip())?;
        Ok(Seen::when(
            away.elapsed() > Duration::from_secs(20),
            "too early to tell",
        ))
    })
    .await?;
    Daemon::ApiServer.start()?;
    until("the API server is back", SOON, async || {
        case.cluster.client.apiserver_version().await?;
        Ok(Seen::Yes(()))
    })
    .await?;
    case.status_shows("mine", "net1").await?;
    case.runs("web").await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

async fn eight(case: &Case) -> Result<Vec<Nic>> {
    let nics: Vec<_> = (0..8).map(|_| case.cable()).collect::<Result<_>>()?;
    for nic in &nics {
        case.is_offered(&nic.name, true, SOON).await?;
        nic.settled().await?;
    }
    Ok(nics)
}

fn looks<'a>(nics: impl Iterator<Item = &'a Nic>) -> Result<Vec<(&'a Nic, Home)>> {
    nics.map(|nic| Ok((nic, nic.look()?))).collect()
}

/// Starts a pod that has all these NICs, by one claim.
async fn start_with_all(case: &Case, pod: &str, nics: &[Nic]) -> Result<()> {
    let mut wants = case.wants();
    for (number, nic) in nics.iter().enumerate() {
        let request = format!("nic{number}");
        let interface = json!({"name": format!("net{number}"), "addresses": [nic.address]});
        wants = wants
            .request_link(&request, &nic.name)
            .configured(&request, json!({"interface": interface}));
    }
    case.template(pod, &wants).await?;
    case.start(&NewPod::named(pod).template(pod)).await?;
    Ok(())
}

/// Restarts a daemon again and again under traffic to all NICs of the pod `before`; returns how often, and the packets.
async fn disturbed(case: &Case, nics: &[Nic], daemon: Daemon) -> Result<String> {
    let traffic = nics.iter().map(|nic| Traffic::begin(nic.ip()));
    let traffic = traffic.collect::<Result<Vec<_>>>()?;
    let rounds = rounds(2);
    for _ in 0..rounds {
        daemon.restart().await?;
        // It takes both, kubelet and runtime, to ask the hook, and the hook is ready once the runtime knows it again.
        until("the hook ready again", SOON * 2, async || {
            case.driver.ask("nri-hook", &["ready"]).await?;
            Ok(Seen::Yes(()))
        })
        .await?;
    }
    let mut sent = 0;
    for traffic in traffic {
        sent += traffic.end()?;
    }
    let nics = nics.len();
    Ok(format!(
        "{rounds} of {rounds}, 0 of {sent} packets lost on {nics} NICs"
    ))
}

async fn attached(nic: &Nic) -> Result<()> {
    until(&format!("{} in its pod", nic.name), SOON, async || {
        Ok(Seen::when(!nic.at_home()?, "it is at home"))
    })
    .await
}

async fn has_restarted(case: &Case, name: &str, times: i32) -> Result<()> {
    until(&format!("{name} restarted and running"), SOON, async || {
        let pod = case.api::<Pod>().get(name).await?;
        let runs = restarts(&pod) >= times && state(&pod) == "Running";
        Ok(Seen::when(
            runs,
            format!("{} restarts, {}", restarts(&pod), state(&pod)),
        ))
    })
    .await?;
    let pod = case.api::<Pod>().get(name).await?;
    ensure!(
        restarts(&pod) == times,
        "{} restarts instead of {times}",
        restarts(&pod)
    );
    Ok(())
}

async fn is_gone(case: &Case, name: &str) -> Result<()> {
    until(&format!("{name} gone"), SOON * 2, async || {
        let pod = case.api::<Pod>().get_opt(name).await?;
        Ok(Seen::when(
            pod.is_none(),
            pod.map_or(String::new(), |pod| state(&pod)),
        ))
    })
    .await
}
