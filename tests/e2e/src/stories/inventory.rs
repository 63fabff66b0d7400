//! What is offered, and how the slices follow the node.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::case::{Case, SOON};
use crate::cluster::text;
use crate::node::ip;
use crate::numbers;
use crate::pod::NewPod;
use crate::wait::{Seen, until};

/// A slice follows the node within this time.
const FOLLOWS: Duration = Duration::from_secs(3);

/// The node's own links are never offered: its uplink, the bridge of the pod network, the pods' own ends.
pub(super) async fn the_nodes_own_links_are_never_offered(case: &Case) -> Result<()> {
    case.nic().await?; // the driver offers something at all
    case.start(&NewPod::named("plain")).await?;
    let offered = case.cluster.offered().await?;
    for link in ["lo", "uplink0", "cni0"] {
        ensure!(
            !offered.contains(&link.to_owned()),
            "{link} is offered: {offered:?}"
        );
    }
    ensure!(
        !offered.iter().any(|link| link.starts_with("veth")),
        "a pod's link is offered: {offered:?}"
    );
    case.delete("plain").await
}

/// A NIC comes, is renamed, goes down, comes up, goes: the slice follows each time.
pub(super) async fn slices_follow_the_node(case: &Case) -> Result<()> {
    let mut times = Vec::new();
    let nic = case.cable()?;
    let renamed = format!("{}b", nic.name);
    let first = [
        (String::new(), nic.name.as_str(), true),
        (
            format!("link set {} down", nic.name),
            nic.name.as_str(),
            false,
        ),
        (format!("link set {} up", nic.name), nic.name.as_str(), true),
        (
            format!("link set {} name {renamed}", nic.name),
            renamed.as_str(),
            true,
        ),
        (format!("link del {renamed}"), renamed.as_str(), false),
    ];
    for (change, link, offered) in first {
        if !change.is_empty() {
            ip(&change)?;
        }
        let since = Instant::now();
        case.is_offered(link, offered, FOLLOWS)
            .await
            .context(change)?;
        times.push(since.elapsed());
    }
    case.is_offered(&nic.name, false, FOLLOWS).await?;
    numbers::note("link changed -> slice follows", times);
    Ok(())
}

/// A changed setting of a link changes its attribute.
pub(super) async fn attributes_follow_the_link(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    ip(&format!("link set {} mtu 1234", nic.name))?;
    until("the MTU in the slice", FOLLOWS, async || {
        let devices = case.cluster.devices().await?;
        let device = devices
            .iter()
            .find(|device| text(device, "ifName") == Some(&nic.name));
        let attributes = serde_json::to_value(device.and_then(|device| device.attributes.clone()))?;
        Ok(Seen::when(
            attributes["mtu"]["int"] == 1234,
            attributes.to_string(),
        ))
    })
    .await
}

/// More links than a slice holds: all are offered, in slices that the API server accepts, and one of the last works.
pub(super) async fn a_hundred_and_fifty_links_are_all_offered(case: &Case) -> Result<()> {
    let nics = (0..150).map(|_| case.cable()).collect::<Result<Vec<_>>>()?;
    until("150 links offered", SOON, async || {
        let offered = case.cluster.offered().await?;
        let missing: Vec<_> = nics
            .iter()
            .map(|nic| &nic.name)
            .filter(|name| !offered.contains(name))
            .collect();
        Ok(Seen::when(
            missing.is_empty(),
            format!("missing: {missing:?}"),
        ))
    })
    .await?;
    let slices = case.cluster.slices().await?;
    ensure!(slices.len() > 1, "one slice cannot hold them");
    for slice in &slices {
        let count = i64::try_from(slices.len())?;
        ensure!(
            slice.spec.pool.resource_slice_count == count,
            "{count} slices, but {:?}",
            slice.spec.pool
        );
    }
    let last = nics.last().context("150 NICs")?;
    last.settled().await?;
    let home = last.look()?;
    case.template_for("nic", last).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    case.pings("web", last).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(last, home)]).await
}
