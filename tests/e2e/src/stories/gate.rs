//! No container that names a claim runs without its interface, whatever dies in between.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::case::{Case, SOON, uid};
use crate::cri;
use crate::node::{kill, pids};
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
    let before = namespaces()?;
    let killed = tokio::task::spawn_blocking(move || kill_daemons_at_new_sandbox(&before));
    case.create(&NewPod::named("web").template("nic").runs_only_with("net1"))
        .await?;
    killed.await??;
    case.runs("web").await?;
    case.pings("web", &nic).await?;
    case.driver.ready().await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// With the whole driver away a running pod's sandbox is made again. The claim's CDI id is still defined, but the
/// start hook finds the interface missing: no container starts.
pub(super) async fn a_sandbox_made_again_without_the_driver_starts_nothing(
    case: &Case,
) -> Result<()> {
    let nic = case.nic().await?;
    case.template_for("nic", &nic).await?;
    let pod = case.start(&NewPod::named("web").template("nic")).await?;
    case.driver.leave().await?;
    cri::end_sandbox(uid(&pod)?).await?;
    let refusal = "is not in the pod's network namespace";
    until("the start is refused", SOON, async || {
        let said = case.cluster.events(&case.namespace, "web").await?;
        let refused = said.iter().any(|event| event.contains(refusal));
        Ok(Seen::when(refused, format!("{said:#?}")))
    })
    .await?;
    throughout("no container runs", Duration::from_secs(5), async || {
        let running = cri::running_containers(uid(&pod)?).await?;
        Ok(Seen::when(running == 0, format!("{running} run")))
    })
    .await?;
    // The veth has died with the first sandbox, so there is nothing to wait for but the end.
    case.driver.come_back().await?;
    case.delete("web").await?;
    case.all_is_as_before(&[]).await
}

/// Names of the network namespaces that the runtime has made.
fn namespaces() -> Result<BTreeSet<String>> {
    let entries = fs::read_dir("/run/netns")?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// A sandbox gets its namespace after Prepare and a tenth of a second before the runtime tells of it.
fn kill_daemons_at_new_sandbox(before: &BTreeSet<String>) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON;
    while namespaces()?.is_subset(before) {
        ensure!(std::time::Instant::now() < deadline, "no new sandbox");
        std::thread::sleep(Duration::from_millis(1));
    }
    let daemons = ["/nri-hook", "/dra-plugin", "/discovery"];
    let found = pids(|command| {
        let program = command.split(|byte| *byte == 0).next();
        daemons
            .iter()
            .any(|daemon| program == Some(daemon.as_bytes()))
    })?;
    ensure!(found.len() == daemons.len(), "daemons: {found:?}");
    for pid in found {
        kill(&pid).context("kill a daemon")?;
    }
    Ok(())
}
