//! What the driver refuses or lets wait, and what people are told.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::case::{Case, SOON};
use crate::pod::NewPod;
use crate::wait::{Seen, until};

/// A pod on the node's network cannot have a NIC of its own: it never starts, and its events say why.
pub(super) async fn a_host_network_pod_is_refused(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.create(&NewPod::named("web").template("nic").host_network())
        .await?;
    let sentence =
        "the pod uses the node's network (hostNetwork), where no device can be given to it";
    case.event("web", "FailedCreatePodSandBox", sentence)
        .await?;
    case.event("web", "HostNetworkNotSupported", sentence)
        .await?;
    case.stays_waiting("web", Duration::from_secs(3)).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// Wrong parameters that the API server takes: the event names every faulty field; the pod of a corrected claim runs.
pub(super) async fn wrong_parameters_are_named_and_can_be_corrected(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    let wrong = json!({
        "interface": {"mtu": 1300, "addresses": ["10.7.0.0/24"]}, // the network itself
        "routes": [{"destination": "172.30.0.0/16"}, {"destination": "172.30.0.0/16"}],
    });
    case.template("nic", &case.wants().request("nic").configured("nic", wrong))
        .await?;
    case.create(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    for field in ["interface.addresses[0]", "routes[1].destination"] {
        case.event("web", "FailedPrepareDynamicResources", field)
            .await?;
        case.event(&claim, "InvalidConfiguration", field).await?;
    }
    case.stays_waiting("web", Duration::from_secs(3)).await?;
    case.delete("web").await?;

    case.delete_template("nic").await?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    case.pings("web", &nic).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// One pod more than there are NICs stays pending; the scheduler places it when a NIC is free.
pub(super) async fn a_pod_too_many_waits_for_a_free_nic(case: &Case) -> Result<()> {
    let (a, b) = (case.nic().await?, case.nic().await?);
    let homes = [(&a, a.look()?), (&b, b.look()?)];
    let wants = case
        .wants()
        .request("nic")
        .configured("nic", json!({"interface": {"name": "net1"}}));
    case.template("nic", &wants).await?;
    for pod in ["one", "two"] {
        case.start(&NewPod::named(pod).template("nic")).await?;
    }
    case.create(&NewPod::named("three").template("nic")).await?;
    case.event("three", "FailedScheduling", "cannot allocate all claims")
        .await?;
    case.stays_waiting("three", Duration::from_secs(2)).await?;

    case.delete("one").await?;
    case.runs("three").await?;
    case.exec("three", "ip link show dev net1").await?;
    for pod in ["two", "three"] {
        case.delete(pod).await?;
    }
    case.all_is_as_before(&homes).await
}

/// Two claims of a pod want the same name: the sandbox is refused with that name, nothing stays half done.
pub(super) async fn two_nics_of_one_name_are_refused(case: &Case) -> Result<()> {
    let (a, b) = (case.nic().await?, case.nic().await?);
    let homes = [(&a, a.look()?), (&b, b.look()?)];
    let same = case
        .wants()
        .request("nic")
        .configured("nic", json!({"interface": {"name": "net1"}}));
    case.template("one", &same).await?;
    case.template("two", &same).await?;
    case.create(&NewPod::named("web").template("one").template("two"))
        .await?;
    until("an event that names net1", SOON, async || {
        let said = case.cluster.events(&case.namespace, "web").await?;
        let conflict = said
            .iter()
            .any(|event| event.contains("InterfaceNameConflict") && event.contains("net1"));
        Ok(Seen::when(conflict, format!("{said:#?}")))
    })
    .await?;
    case.stays_waiting("web", Duration::from_secs(3)).await?;
    case.delete("web").await?;
    case.all_is_as_before(&homes).await
}
