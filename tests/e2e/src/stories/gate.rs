//! No container that names a claim runs without its interface, whatever dies in between.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::case::{Case, SOON, uid};
use crate::cri;
use crate::node::{process, signal};
use crate::pod::NewPod;
use crate::wait::{Seen, throughout, until};

/// All three daemons are killed after Prepare has been answered and before the runtime tells of the sandbox: the
/// container waits, and runs with its interface once they are back.
pub(super) async fn a_driver_killed_before_the_sandbox_leaves_nothing_bare(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let (before, daemons) = (namespaces()?, daemons()?);
    let killed = tokio::task::spawn_blocking(move || {
        wait_for_new_sandbox(&before)?;
        daemons.iter().try_for_each(|pid| signal("KILL", pid))
    });
    let pod = NewPod::named("web").template("nic").runs_only_with("net1");
    case.create(&pod).await?;
    killed.await??;
    case.runs("web").await?;
    case.pings("web", &nic).await?;
    case.driver.ready().await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// All three daemons hang while a running pod's sandbox is made again. The claim's CDI id is still defined, but the
/// start hook finds the interface missing: no container starts until the daemons go on, and then with its interface.
pub(super) async fn a_sandbox_made_again_while_the_driver_hangs_starts_nothing(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let pod = case.start(&NewPod::named("web").template("nic")).await?;
    let daemons = daemons()?;
    daemons.iter().try_for_each(|pid| signal("STOP", pid))?;
    let held_back = nothing_starts(case, uid(&pod)?).await;
    daemons.iter().try_for_each(|pid| signal("CONT", pid))?;
    held_back?;
    // The kubelet waits longer and longer between its tries.
    until("web running again", SOON * 4, async || {
        let running = cri::running_containers(uid(&pod)?).await?;
        Ok(Seen::when(running == 1, format!("{running} run")))
    })
    .await?;
    case.pings("web", &nic).await?;
    case.driver.ready().await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

async fn nothing_starts(case: &Case, uid: &str) -> Result<()> {
    cri::end_sandbox(uid).await?;
    let refusal = "is not in the pod's network namespace";
    until("the start is refused", SOON, async || {
        let said = case.cluster.events(&case.namespace, "web").await?;
        let refused = said.iter().any(|event| event.contains(refusal));
        Ok(Seen::when(refused, format!("{said:#?}")))
    })
    .await?;
    throughout("no container runs", Duration::from_secs(5), async || {
        let running = cri::running_containers(uid).await?;
        Ok(Seen::when(running == 0, format!("{running} run")))
    })
    .await
}

/// Names of the network namespaces that the runtime has made.
fn namespaces() -> Result<BTreeSet<String>> {
    let entries = fs::read_dir("/run/netns")?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// A sandbox gets its namespace after Prepare and before the runtime tells of it.
fn wait_for_new_sandbox(before: &BTreeSet<String>) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    while namespaces()?.is_subset(before) {
        ensure!(std::time::Instant::now() < deadline, "no new sandbox");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The processes of the driver, the hook first.
fn daemons() -> Result<Vec<String>> {
    let daemons = ["/nri-hook", "/dra-plugin", "/discovery"];
    daemons.into_iter().map(process).collect()
}
