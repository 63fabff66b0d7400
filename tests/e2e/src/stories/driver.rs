//! The driver's own pod: installed, replaced, away, upgraded, uninstalled.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceSlice};
use kube::api::DeleteParams;

use crate::case::{Case, SOON, contains};
use crate::claim::DRIVER;
use crate::cluster::{NODE, text};
use crate::driver::Driver;
use crate::node::{ping_from_outside, run};
use crate::numbers;
use crate::pod::NewPod;
use crate::resource::Resources;
use crate::rounds::rounds;
use crate::wait::{Seen, throughout, until};

/// After `helm install` the driver is ready, its class is there, and a NIC stands in a slice of this node with its facts.
pub(super) async fn the_chart_installs_a_working_driver(case: &Case) -> Result<()> {
    Driver::helm_test()?;
    let (client, version) = (case.cluster.client.clone(), &case.cluster.version);
    let classes: Resources<DeviceClass> = Resources::new(client, version, None);
    let class = classes.get(DRIVER).await;
    class.context("the chart's DeviceClass")?;

    let nic = case.nic().await?;
    for slice in case.cluster.slices().await? {
        ensure!(
            slice.spec.node_name.as_deref() == Some(NODE),
            "{:?}",
            slice.spec.node_name
        );
        ensure!(slice.spec.pool.name == NODE, "{:?}", slice.spec.pool);
    }
    let devices = case.cluster.devices().await?;
    let device = devices
        .iter()
        .find(|device| text(device, "ifName") == Some(&nic.name));
    let device = device.context("the NIC's device")?;
    let attributes = serde_json::to_value(&device.attributes)?;
    ensure!(attributes["kind"]["string"] == "veth", "{attributes}");
    ensure!(attributes["mtu"]["int"] == 1500, "{attributes}");
    contains(&case.driver.ask("discovery", &["links"]).await?, &nic.name)
}

/// The driver's pod is deleted while a pod holds a NIC: traffic goes on, and the new driver brings the NIC home.
pub(super) async fn a_replaced_driver_takes_over(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    let before = case.records().await?;
    case.driver.delete_pod().await?;
    ping_from_outside(nic.ip())?;
    case.driver.ready().await?;
    ensure!(case.records().await? == before, "records are as before");
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// A pod is deleted while the driver is away: once it is back, the NIC comes home, if it still exists.
///
/// A veth dies with the network namespace that it is in; the kernel brings only hardware home. So what is seen here is
/// that the driver lets go: the record is given up, and the pod goes.
pub(super) async fn a_pod_deleted_while_the_driver_is_away_is_cleaned_up(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    case.driver.leave().await?;
    case.api::<Pod>()
        .delete("web", &DeleteParams::default())
        .await?;
    case.driver.come_back().await?;
    until("the pod and its record gone", SOON * 2, async || {
        let pod = case.api::<Pod>().get_opt("web").await?;
        let records = case.records().await?;
        Ok(Seen::when(
            pod.is_none() && records.is_empty(),
            format!("pod {:?}, {records:?}", pod.is_some()),
        ))
    })
    .await
}

/// While the hook is away no container that names a claim starts; when it is back, the pod starts by itself.
pub(super) async fn without_the_hook_no_claimed_container_starts(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let image = case.driver.installed_hook().await?;
    case.driver.lose_hook().await?;
    case.create(&NewPod::named("web").template("nic").restart_never())
        .await?;
    case.event("web", "FailedPrepareDynamicResources", "hook")
        .await?;
    case.stays_waiting("web", Duration::from_secs(15)).await?;
    case.start(&NewPod::named("plain"))
        .await
        .context("a pod without a claim")?;
    case.driver.hook_image(&image).await?;
    case.driver.ready().await?;
    case.runs("web").await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// With the whole driver away a pod waits; it starts once the driver is back.
pub(super) async fn without_the_driver_no_claimed_container_starts(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.driver.leave().await?;
    case.create(&NewPod::named("web").template("nic").restart_never())
        .await?;
    case.stays_waiting("web", Duration::from_secs(10)).await?;
    case.driver.come_back().await?;
    case.runs("web").await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// Upgrades with another value replace the driver's pod under a running pod: traffic goes on all the while, the kubelet is
/// without the driver for a few seconds at most, and the slices are those that were there before.
pub(super) async fn an_upgrade_disturbs_nobody(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    let slices = slices(case).await?;
    let mut gaps = Vec::new();
    for round in 0..rounds(1) {
        let before = case.driver.pod().await?;
        let value = format!("podAnnotations.upgraded=round-{round}");
        let gap = longest_gap(case.driver.install(&[&value])).await?;
        ensure!(
            gap <= MOST_GAP,
            "round {round}: no driver for the kubelet for {gap:?}"
        );
        gaps.push(gap);
        ensure!(
            case.driver.pod().await? != before,
            "round {round}: the driver's pod was not replaced"
        );
        let now = self::slices(case).await?;
        // Older kubelets delete them at once, as docs/versions.md says.
        ensure!(
            now == slices || case.cluster.minor().await? < 33,
            "round {round}: other slices: {now:?} instead of {slices:?}"
        );
    }
    numbers::note("helm upgrade, without registration", gaps);
    throughout(
        "traffic after the upgrade",
        Duration::from_secs(2),
        async || {
            ping_from_outside(nic.ip())?;
            Ok(Seen::Yes(()))
        },
    )
    .await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// Longest time without a driver during an upgrade: twice the goal, for machines that are slow. After 30 s the kubelet
/// deletes its slices.
const MOST_GAP: Duration = Duration::from_secs(20);
/// Where drivers meet the kubelet.
const REGISTRY: &str = "/var/lib/kubelet/plugins_registry";

/// Names and UIDs of the driver's slices: a slice that was made anew has another.
async fn slices(case: &Case) -> Result<BTreeSet<String>> {
    let slices = case.cluster.slices().await?.into_iter();
    let of = |slice: ResourceSlice| format!("{:?} {:?}", slice.metadata.name, slice.metadata.uid);
    Ok(slices.map(of).collect())
}

/// The longest time that nobody answered at the driver's registration socket while the work was done.
async fn longest_gap(work: impl Future<Output = Result<String>>) -> Result<Duration> {
    let mut work = std::pin::pin!(work);
    let (mut longest, mut answered) = (Duration::ZERO, Instant::now());
    loop {
        let done = tokio::select! {
            done = &mut work => Some(done),
            () = tokio::time::sleep(Duration::from_millis(20)) => None,
        };
        if is_registrable()? {
            longest = longest.max(answered.elapsed());
            answered = Instant::now();
        }
        if let Some(done) = done {
            return done.map(|_| longest.max(answered.elapsed()));
        }
    }
}

fn is_registrable() -> Result<bool> {
    let mut sockets = fs::read_dir(REGISTRY)?.flatten();
    Ok(sockets.any(|socket| {
        let name = socket.file_name();
        name.to_string_lossy().starts_with(DRIVER) && UnixStream::connect(socket.path()).is_ok()
    }))
}

/// While a pod holds a NIC an uninstall is refused, with the claim's name; the driver goes on.
pub(super) async fn an_uninstall_is_refused_while_a_pod_has_a_nic(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    let Err(refusal) = case.driver.uninstall().await else {
        bail!("uninstalled, though {claim} holds {}", nic.name);
    };
    contains(&format!("{refusal:#}"), &claim)?;
    case.driver.ready().await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// After an uninstall nothing of the driver is left in the cluster or on the node, its state directory aside.
pub(super) async fn an_uninstall_leaves_nothing(case: &Case) -> Result<()> {
    case.nic().await?;
    case.driver.uninstall().await?;
    // The kubelet deletes a plugin's slices half a minute after its socket has gone.
    until("no slice left", Duration::from_mins(1), async || {
        let slices = case.cluster.slices().await?;
        Ok(Seen::when(
            slices.is_empty(),
            format!("{} slices", slices.len()),
        ))
    })
    .await?;
    let left = case.driver.objects().await?;
    ensure!(left.is_empty(), "left in the cluster: {left:?}");
    for directory in ["/var/run/cdi", "/var/lib/kubelet/plugins_registry"] {
        let files = run("ls", &["-A", directory])?;
        ensure!(!files.contains(DRIVER), "left in {directory}: {files}");
    }
    Ok(())
}
