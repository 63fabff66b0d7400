//! How long things take, for the README: ten pods each, one after the other.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions::is_pod_running};

use crate::case::Case;
use crate::nic::Nic;
use crate::numbers;
use crate::pod::NewPod;

const PODS: usize = 10;

/// Pod created → running, with a claim and without; pod deleted → NIC at home.
pub(super) async fn times_are_measured(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    let (mut without, mut with, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PODS {
        without.push(running(case, &NewPod::named("plain")).await?);
        case.delete("plain").await?;
        with.push(running(case, &NewPod::named("claimed").template("nic")).await?);
        back.push(returned(case, &nic).await?);
        case.all_is_as_before(&[(&nic, home.clone())]).await?;
        case.is_offered(&nic.name, true, Duration::from_secs(10))
            .await?;
    }
    numbers::note("pod created -> running, no claim", without);
    numbers::note("pod created -> running, with a claim", with);
    numbers::note("pod deleted -> NIC at home", back);
    Ok(())
}

async fn running(case: &Case, pod: &NewPod) -> Result<Duration> {
    let since = Instant::now();
    let pod = case.create(pod).await?;
    await_condition(case.api::<Pod>(), crate::case::name(&pod), is_pod_running()).await?;
    Ok(since.elapsed())
}

async fn returned(case: &Case, nic: &Nic) -> Result<Duration> {
    let link = Path::new("/sys/class/net").join(&nic.name);
    let since = Instant::now();
    case.api::<Pod>()
        .delete("claimed", &DeleteParams::default())
        .await?;
    while !link.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = since.elapsed();
    crate::wait::until("claimed gone", Duration::from_secs(30), async || {
        let pod = case.api::<Pod>().get_opt("claimed").await?;
        Ok(crate::wait::Seen::when(pod.is_none(), "it is there"))
    })
    .await?;
    Ok(took)
}
