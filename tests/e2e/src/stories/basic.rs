//! One pod, its NICs, from start to end.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::case::{Case, SOON, contains, name};
use crate::nic::Nic;
use crate::node::{ip, ping_from_outside};
use crate::pod::NewPod;
use crate::wait::{Seen, until};

/// The main job: a NIC is in the pod, works, is told of, and comes home as it was.
pub(super) async fn a_pod_gets_a_nic_and_gives_it_back(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;

    case.start(&NewPod::named("web").template("nic")).await?;
    ensure!(!nic.at_home()?, "{} is still on the node", nic.name);
    let inside = case.exec("web", "ip addr show dev net1").await?;
    contains(&inside, &nic.address)?;
    contains(&inside, "UP")?;
    case.pings("web", &nic).await?;
    ping_from_outside(nic.ip())?;

    if case.cluster.version.has_device_status() {
        let claim = case.generated_claim("web").await?;
        let status = case.status_shows(&claim, "net1").await?;
        contains(&status["networkData"]["ips"].to_string(), &nic.address)?;
    }
    case.event("web", "InterfaceAttached", "net1").await?;
    ensure!(case.records().await?.len() == 1, "one claim, one record");

    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// Name, address, MTU and route as the claim says; the node's own settings are back afterwards.
pub(super) async fn a_nic_is_configured_as_the_claim_says(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    ip(&format!("link set {} mtu 1450 alias spare", nic.name))?;
    let home = nic.look()?;
    let parameters = json!({
        "interface": {"name": "fast0", "mtu": 1300, "addresses": [nic.address, "fd00:77::2/64"]},
        "routes": [
            {"destination": "172.30.0.0/16", "gateway": nic.peer},
            {"destination": "172.31.5.0/24"},
        ],
    });
    let wants = case.wants().request("nic").configured("nic", parameters);
    case.template("nic", &wants).await?;

    case.start(&NewPod::named("web").template("nic")).await?;
    let link = case.exec("web", "ip addr show dev fast0").await?;
    for part in ["mtu 1300", &nic.address, "fd00:77::2/64"] {
        contains(&link, part)?;
    }
    let routes = case.exec("web", "ip route").await?;
    contains(
        &routes,
        &format!("172.30.0.0/16 via {} dev fast0", nic.peer),
    )?;
    contains(&routes, "172.31.5.0/24 dev fast0")?;
    case.pings("web", &nic).await?;
    let claim = case.generated_claim("web").await?;
    let status = case.status_shows(&claim, "fast0").await?;
    contains(&status["networkData"]["ips"].to_string(), "fd00:77::2/64")?;

    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// One claim for two NICs, and a claim of its own for a third: all three are in the pod, each with its parameters.
pub(super) async fn a_pod_gets_several_nics(case: &Case) -> Result<()> {
    let (a, b, c) = (case.nic().await?, case.nic().await?, case.nic().await?);
    let homes = [(&a, a.look()?), (&b, b.look()?), (&c, c.look()?)];
    let interface =
        |name: &str, nic: &Nic| json!({"interface": {"name": name, "addresses": [nic.address]}});
    let pair = case
        .wants()
        .request_link("left", &a.name)
        .request_link("right", &b.name)
        .configured("left", interface("left0", &a))
        .configured("right", interface("right0", &b));
    case.template("pair", &pair).await?;
    let single = case
        .wants()
        .request_link("nic", &c.name)
        .configured("nic", interface("single0", &c));
    case.claim("single", &single).await?;

    case.start(&NewPod::named("web").template("pair").claim("single"))
        .await?;
    for (name, nic) in [("left0", &a), ("right0", &b), ("single0", &c)] {
        contains(
            &case
                .exec("web", &format!("ip addr show dev {name}"))
                .await?,
            &nic.address,
        )?;
        case.pings("web", nic).await?;
    }
    ensure!(case.records().await?.len() == 2, "two claims, two records");

    case.delete("web").await?;
    case.all_is_as_before(&homes).await
}

/// A claim serves one pod after another under one UID; then a claim of the same name under another.
pub(super) async fn a_claim_serves_pods_one_after_another(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    let parameters = json!({"interface": {"name": "net1", "addresses": [nic.address]}});
    let wants = case.wants().request("nic").configured("nic", parameters);
    let mut uids = Vec::new();
    for _life in 0..2 {
        let claim = case.claim("mine", &wants).await?;
        uids.push(claim.metadata.uid);
        for pod in ["first", "second"] {
            case.start(&NewPod::named(pod).claim("mine")).await?;
            case.pings(pod, &nic).await?;
            case.delete(pod).await?;
        }
        case.all_is_as_before(&[(&nic, home.clone())]).await?;
        case.delete_claim("mine").await?;
    }
    ensure!(uids.first() != uids.last(), "a new claim, a new UID");
    Ok(())
}

/// Two pods share a claim: the second waits until the first has given the NIC back.
pub(super) async fn a_second_pod_of_a_claim_waits_for_the_first(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    let parameters = json!({"interface": {"name": "net1", "addresses": [nic.address]}});
    case.claim(
        "shared",
        &case.wants().request("nic").configured("nic", parameters),
    )
    .await?;

    case.start(&NewPod::named("first").claim("shared")).await?;
    case.create(&NewPod::named("second").claim("shared"))
        .await?;
    case.stays_waiting("second", Duration::from_secs(5)).await?;
    case.pings("first", &nic).await?;

    case.delete("first").await?;
    case.runs("second").await?;
    case.pings("second", &nic).await?;
    case.delete("second").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// A Deployment of three over three NICs is rolled: each pod has one NIC, all the time none has two.
pub(super) async fn a_deployment_over_all_nics_is_rolled(case: &Case) -> Result<()> {
    let nics = [case.nic().await?, case.nic().await?, case.nic().await?];
    let homes = nics
        .iter()
        .map(|nic| Ok((nic, nic.look()?)))
        .collect::<Result<Vec<_>>>()?;
    let wants = case
        .wants()
        .request("nic")
        .configured("nic", json!({"interface": {"name": "net1"}}));
    case.template("nic", &wants).await?;
    let template = NewPod::named("web").template("nic").pod_template();
    let strategy =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3, "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}}, "template": template,
        },
    });
    let deployments: Api<Deployment> = case.api();
    let deployment = serde_json::from_value(deployment)?;
    deployments
        .create(&PostParams::default(), &deployment)
        .await?;
    rolled_out(case).await?;
    let before: Vec<_> = case
        .pods("web")
        .await?
        .iter()
        .map(|pod| name(pod).to_owned())
        .collect();

    let change = json!({"spec": {"template": {"metadata": {"annotations": {"roll": "1"}}}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(change))
        .await?;
    rolled_out(case).await?;
    for pod in case.pods("web").await? {
        ensure!(
            !before.contains(&name(&pod).to_owned()),
            "{} is of before the roll",
            name(&pod)
        );
        case.exec(name(&pod), "ip link show dev net1").await?;
    }
    ensure!(
        case.records().await?.len() == 3,
        "three claims, three records"
    );

    deployments.delete("web", &DeleteParams::default()).await?;
    case.all_is_as_before(&homes).await
}

async fn rolled_out(case: &Case) -> Result<()> {
    let deployments: Api<Deployment> = case.api();
    until("the Deployment rolled out", SOON * 3, async || {
        let deployment = deployments.get("web").await?;
        let status = deployment.status.unwrap_or_default();
        let current = status.observed_generation == deployment.metadata.generation;
        let all = |count: Option<i32>| count == Some(3);
        let done = current
            && all(status.updated_replicas)
            && all(status.ready_replicas)
            && all(status.replicas);
        Ok(Seen::when(done, format!("{status:?}")))
    })
    .await
}
