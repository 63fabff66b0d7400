//! What goes wrong on nodes: things that die, restart or vanish, one at a time.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::case::{Case, SOON, restarts, state, uid};
use crate::cri;
use crate::nic::Nic;
use crate::node::{Daemon, ping_from_outside};
use crate::pod::NewPod;
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

/// The sandbox ends under the pod: the kubelet makes another one, and the NIC is in it.
pub(super) async fn a_new_sandbox_has_the_nic_again(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let pod = case.start(&NewPod::named("web").template("nic")).await?;
    cri::end_sandbox(uid(&pod)?).await?;
    has_restarted(case, "web", 1).await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
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

/// The kubelet restarts under a running pod: traffic goes on, the next pod starts, both NICs come home.
pub(super) async fn a_kubelet_restart_disturbs_nobody(case: &Case) -> Result<()> {
    let (a, b) = (case.nic().await?, case.nic().await?);
    let homes = [(&a, a.look()?), (&b, b.look()?)];
    case.template_for("a", &a).await?;
    case.template_for("b", &b).await?;
    case.start(&NewPod::named("before").template("a")).await?;
    Daemon::Kubelet.restart().await?;
    ping_from_outside(a.ip())?;
    // The kubelet deletes all slices of its node when it starts.
    case.is_offered(&b.name, true, SOON).await?;
    case.start(&NewPod::named("after").template("b")).await?;
    case.pings("after", &b).await?;
    for pod in ["before", "after"] {
        case.delete(pod).await?;
    }
    case.all_is_as_before(&homes).await
}

/// The runtime restarts under a running pod: traffic goes on; the pod's end is noticed all the same.
pub(super) async fn a_runtime_restart_disturbs_nobody(case: &Case) -> Result<()> {
    let (a, b) = (case.nic().await?, case.nic().await?);
    let homes = [(&a, a.look()?), (&b, b.look()?)];
    case.template_for("a", &a).await?;
    case.template_for("b", &b).await?;
    case.start(&NewPod::named("before").template("a")).await?;
    Daemon::Runtime.restart().await?;
    ping_from_outside(a.ip())?;
    case.delete("before").await?;
    case.start(&NewPod::named("after").template("b")).await?;
    case.pings("after", &b).await?;
    case.delete("after").await?;
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
