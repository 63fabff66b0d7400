//! One pod, its NICs, from start to end.

use anyhow::{Result, ensure};

use crate::case::{Case, contains};
use crate::node::ping_from_outside;
use crate::pod::NewPod;

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

    let claim = case.claim_of("web").await?;
    let claim = claim.metadata.name.unwrap_or_default();
    let status = case.status_shows(&claim, "net1").await?;
    contains(&status["networkData"]["ips"].to_string(), &nic.address)?;
    case.event("web", "InterfaceAttached", "net1").await?;
    ensure!(case.records().await?.len() == 1, "one claim, one record");

    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}
