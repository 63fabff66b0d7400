//! The demonstration: one pod's life as a page of text for people.
//!
//! It fails, with an exit code that is not zero, when anything does not work or home is not as it was.

mod page;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use network_driver_common::bus::Component;
use network_driver_netlink::testing::State;
use network_driver_netlink::{LinkKind, NewLink};

use crate::cluster::{Claim, Cluster, PATIENCE, PodHandle, Setup};
use crate::program;
use crate::wait::until_true;
use page::Page;

/// The card that the pod gets.
const CARD: &str = "eth1";
/// Its name in the pod.
const NAME: &str = "net1";

/// Runs the demonstration, in a user namespace when this is not root.
///
/// # Errors
/// Neither root nor user namespaces are there, or something did not work.
pub fn main(bin_dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    program::run(async {
        story(bin_dir).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn story(bin_dir: Option<PathBuf>) -> anyhow::Result<()> {
    let mut page = Page::new();
    introduce(&mut page)?;
    let setup = Setup::default().nics(&[CARD, "eth2"]).tracing();
    let cluster = Cluster::start(setup.bin_dir(bin_dir)).await?;
    inventory(&mut page, &cluster).await?;
    let before = cluster.home()?;

    let nic = cluster.node.nic(CARD).context("the card")?;
    let (far, near) = (nic.far_address, nic.near_address.to_string());
    let claim = cluster
        .claim("fast-nic")
        .device(CARD)
        .interface(NAME, &near);
    let claim = claim.create();
    let pod = cluster.pod("web", &[&claim]);
    prepare(&mut page, &pod, &claim).await?;
    attach(&mut page, &cluster, &pod, &before).await?;
    ping(&mut page, &pod, far).await?;
    trace(&mut page, &cluster).await?;
    end(&mut page, &cluster, &pod, &before).await
}

fn introduce(page: &mut Page) -> anyhow::Result<()> {
    page.title("network-driver: a pod gets a real network interface and gives it back")?;
    page.text(
        "real       the three daemons, their bus, their database, and the kernel's links and namespaces\n\
         simulated  the kubelet, the API server and the container runtime, by their real protocols\n\
         \x20          (cards are veth pairs: the far end of each cable is in a namespace of its own)",
    )
}

async fn inventory(page: &mut Page, cluster: &Cluster) -> anyhow::Result<()> {
    // Something that belongs to somebody else. Without bridges in the kernel there is less to see.
    let bridge = NewLink::new("docker0".parse()?, LinkKind::Bridge);
    let made = cluster.node.home().socket()?.create_link(&bridge).is_ok();
    let list = || cluster.ask(Component::Discovery, &["links"]);
    let shown = || !made || list().is_ok_and(|text| text.contains("docker0"));
    until_true("the bridge in the inventory", PATIENCE, shown).await?;
    page.step(
        "What the node has: each link with its device, or why it is not offered",
        None,
    )?;
    page.text(&list()?)?;
    let devices: Vec<String> = cluster.api.devices().into_keys().collect();
    page.text(&format!("in the ResourceSlice: {}", devices.join(", ")))
}

async fn prepare(page: &mut Page, pod: &PodHandle<'_>, claim: &Claim) -> anyhow::Result<()> {
    let started = Instant::now();
    pod.prepare().await?;
    page.step(
        "The kubelet has the claim default/fast-nic prepared",
        Some(started.elapsed()),
    )?;
    page.text(&format!(
        "CDI id {}\n(defined only once the interface is in the pod)",
        claim.cdi_id()
    ))
}

async fn attach(
    page: &mut Page,
    cluster: &Cluster,
    pod: &PodHandle<'_>,
    before: &State,
) -> anyhow::Result<()> {
    let started = Instant::now();
    pod.run().await?;
    let took = started.elapsed();
    pod.create_container().await?;
    page.step(
        "The runtime makes the sandbox of pod web, then its container",
        Some(took),
    )?;
    let state = pod.state()?.to_string();
    let of_interface = |line: &&str| line.contains(NAME) && !line.contains("table 255");
    let lines: Vec<&str> = state.lines().filter(of_interface).collect();
    ensure!(!lines.is_empty(), "there is no {NAME} in the pod");
    page.text(&format!("in the pod:\n{}", lines.join("\n")))?;
    let gone = before.difference(&cluster.home()?);
    let gone = gone.lines().filter(|line| !line.contains("table 255"));
    let gone: Vec<&str> = gone.collect();
    page.text(&format!("at home meanwhile:\n{}", gone.join("\n")))
}

async fn ping(page: &mut Page, pod: &PodHandle<'_>, to: std::net::Ipv4Addr) -> anyhow::Result<()> {
    page.step("The pod pings the other end of the cable", None)?;
    let mut replies = String::new();
    for _ in 0..3 {
        let micros = pod.ping(to).await?.as_micros();
        writeln!(replies, "reply from {to} after {micros} µs")?;
    }
    page.text(&replies)
}

async fn trace(page: &mut Page, cluster: &Cluster) -> anyhow::Result<()> {
    let whole = |trace: &crate::collector::Trace| {
        trace.span("container.gate").is_some()
            && trace.span("claim.status").is_some()
            && trace.span("NodePrepareResources").is_some()
    };
    let trace = cluster
        .collector
        .wait_for_trace("RunPodSandbox", whole)
        .await?;
    page.step("The pod's start as one trace over the daemons", None)?;
    page.wide(&trace.tree())
}

async fn end(
    page: &mut Page,
    cluster: &Cluster,
    pod: &PodHandle<'_>,
    before: &State,
) -> anyhow::Result<()> {
    let started = Instant::now();
    pod.end().await?;
    let took = started.elapsed();
    // The kernel gives a link that comes up its own addresses and routes in its own time.
    let settled = cluster.home_is(before).await;
    let difference = before.difference(&cluster.home()?);
    if !difference.is_empty() {
        page.text(&format!("home is NOT as it was:\n{difference}"))?;
    }
    settled?;
    let text = before.to_string();
    ensure!(text == cluster.home()?.to_string(), "home is not as it was");
    let files = cluster.cdi_files();
    ensure!(files.is_empty(), "CDI files were left: {files:?}");
    let (lines, bytes) = (text.lines().count(), text.len());
    page.step("The pod ends: stopped, unprepared, removed", Some(took))?;
    page.text(&format!(
        "home's links, addresses and routes before and after ({lines} lines, {bytes} bytes)\n\
         difference: none"
    ))?;
    page.title("done")
}

/// A duration in milliseconds for people.
fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
