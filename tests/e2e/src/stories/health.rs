//! NICs that are not well.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::case::{Case, SOON, contains};
use crate::claim::DRIVER;
use crate::cluster::{NODE, text};
use crate::nic::{Nic, links};
use crate::node::{ip, run};
use crate::pod::NewPod;
use crate::wait::{Seen, until};

/// The wire of a NIC in a pod goes dark and comes back. The claim's status and the slice say so within five seconds, and
/// take it back as fast; the pod is left alone and keeps the NIC.
pub(super) async fn a_nic_without_carrier_is_told_until_it_is_well_again(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    is_told(case, &nic, &claim, "True").await?;
    for (wire, well) in [("down", "False"), ("up", "True")] {
        ip(&format!("-n ext link set {}x {wire}", nic.name))?;
        is_told(case, &nic, &claim, well).await?;
    }
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// Waits until the claim's status says of the NIC whether it is well, and its entry in the slice has a taint if not. Servers
/// before 1.36 keep no taints unless they are told to.
async fn is_told(case: &Case, nic: &Nic, claim: &str, well: &str) -> Result<()> {
    let what = format!("{}: conditions LinkUp and Healthy are {well}", nic.name);
    until(&what, Duration::from_secs(5), async || {
        let claim = case.claims().get(claim).await?;
        let status = serde_json::to_value(claim.status)?;
        let conditions = &status["devices"][0]["conditions"];
        let says = |kind: &str| {
            let mut those = conditions.as_array().into_iter().flatten();
            those.any(|it| it["type"] == kind && it["status"] == well)
        };
        let seen = says("LinkUp") && says("Healthy");
        Ok(Seen::when(seen, conditions.to_string()))
    })
    .await?;
    if case.cluster.minor().await? < 36 {
        return Ok(());
    }
    until(
        "the taint in the slice",
        Duration::from_secs(5),
        async || {
            let devices = case.cluster.devices().await?;
            let mut devices = devices.iter();
            let device = devices.find(|device| text(device, "ifName") == Some(&nic.name));
            let device = device.context("its entry in the slice")?;
            let key = format!("{DRIVER}/unhealthy");
            let taints = device.taints.iter().flatten();
            let tainted = taints.filter(|taint| taint.key == key).count() > 0;
            Ok(Seen::when(
                tainted == (well == "False"),
                format!("{device:?}"),
            ))
        },
    )
    .await
}

/// While a NIC is in a pod somebody makes another link of its name. It comes home under a name of its own, which is not
/// as it was: nobody gets it until an operator has put it right and says so.
pub(super) async fn a_nic_in_quarantine_is_offered_to_nobody_until_it_is_released(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    ip(&format!("link add {} type bridge", nic.name))?;
    case.delete("web").await?;
    let stranger = in_quarantine(case, &nic).await?;
    let listed = case.driver.ask("discovery", &["links"]).await?;
    contains(&listed, "is in quarantine")?;

    // A restart of the driver does not lift it.
    case.driver.delete_pod().await?;
    case.driver.ready().await?;
    case.create(&NewPod::named("next").template("nic")).await?;
    case.stays_waiting("next", Duration::from_secs(5)).await?;
    for link in [&nic.name, &stranger] {
        case.is_offered(link, false, SOON).await?;
    }

    ip(&format!("link del {}", nic.name))?;
    ip(&format!("link set {stranger} down"))?;
    ip(&format!("link set {stranger} name {}", nic.name))?;
    ip(&format!("link set {} up", nic.name))?;
    let listed = case
        .driver
        .ask("dra-plugin", &["quarantine", "list"])
        .await?;
    contains(&listed, &format!("(ip link set {} alias \"\")", nic.name))?;
    run("ip", &["link", "set", &nic.name, "alias", ""])?;
    let release = ["quarantine", "release", &nic.name];
    let said = case.driver.ask("dra-plugin", &release).await?;
    contains(&said, "is released from quarantine")?;
    case.runs("next").await?;
    case.pings("next", &nic).await?;
    case.delete("next").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// Waits until the driver lists the NIC as in quarantine and tells so on the node; returns the name it came home under.
async fn in_quarantine(case: &Case, nic: &Nic) -> Result<String> {
    until(&format!("{} in quarantine", nic.name), SOON, async || {
        let listed = case
            .driver
            .ask("dra-plugin", &["quarantine", "list"])
            .await?;
        Ok(Seen::when(listed.contains(&nic.name), listed))
    })
    .await?;
    until("an event on the node", SOON, async || {
        let said = case.cluster.events("default", NODE).await?;
        let found = said
            .iter()
            .any(|event| event.starts_with("DeviceQuarantined") && event.contains(&nic.name));
        Ok(Seen::when(found, format!("{said:#?}")))
    })
    .await?;
    let strangers: Vec<_> = links()?
        .into_iter()
        .filter(|link| link.starts_with("nd-"))
        .collect();
    ensure!(strangers.len() == 1, "links called nd-…: {strangers:?}");
    strangers.into_iter().next().context("one link")
}
