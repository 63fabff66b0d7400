//! Real cards: a whole one, a virtual function, and one beside another driver's device. Told where the node has such cards
//! (`make vm`); elsewhere each says that it is skipped.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::card::Cards;
use crate::case::{Case, SOON};
use crate::claim::{DRIVER, Wants};
use crate::nic::Nic;
use crate::pod::NewPod;
use crate::toy::{TOY, Toy};
use crate::wait::{Seen, until};

/// Parameters for a card on the wire.
fn on_the_wire(wants: Wants, request: &str, card: &Nic) -> Wants {
    let interface = json!({"name": "net1", "addresses": [card.address]});
    wants.configured(request, json!({"interface": interface}))
}

/// A pod gets a card, reaches the other end of its wire, and gives it back.
async fn serves_a_pod(case: &Case, card: &Nic, wants: Wants) -> Result<()> {
    let home = card.look()?;
    case.template("nic", &on_the_wire(wants, "nic", card))
        .await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    ensure!(!card.at_home()?, "{} is still on the node", card.name);
    reaches(case, "web", card).await?;
    case.delete("web").await?;
    case.all_is_as_before(&[(card, home)]).await
}

/// A card that was just moved has no carrier for a second or two.
async fn reaches(case: &Case, pod: &str, card: &Nic) -> Result<()> {
    until("an echo over the wire", SOON, async || {
        let echo = case.pings(pod, card).await;
        Ok(echo.map_or_else(|error| Seen::Not(format!("{error:#}")), Seen::Yes))
    })
    .await
}

/// The main job with hardware.
pub(super) async fn a_pod_gets_a_whole_card(case: &Case) -> Result<()> {
    let Some(cards) = Cards::of_the_node(case).await? else {
        return Ok(());
    };
    let wants = Wants::of(DRIVER).request_link("nic", &cards.first.name);
    serves_a_pod(case, &cards.first, wants).await
}

/// A virtual function, chosen by its card and its number there; the card itself stays.
pub(super) async fn a_pod_gets_a_function_of_a_card(case: &Case) -> Result<()> {
    let Some(cards) = Cards::of_the_node(case).await? else {
        return Ok(());
    };
    let card = cards.first;
    let function = card.functions(2).await?.context("a virtual function")?;
    function.comes_up(case).await?;
    let expression = format!(
        r#"device.attributes["{DRIVER}"].?sriovPfAddress.orValue("") == "0000:41:00.0" &&
           device.attributes["{DRIVER}"].?sriovVf.orValue(-1) == 0"#
    );
    let wants = Wants::of(DRIVER).request_such("nic", &expression);
    serves_a_pod(case, &function, wants).await?;
    card.functions(0).await?;
    case.is_offered(&function.name, false, SOON).await
}

/// A claim for any igb and a device of another driver, both on one PCIe root: the scheduler takes the igb that sits where
/// the other device does, whichever that is.
pub(super) async fn a_card_and_another_drivers_device_are_on_one_pcie_root(
    case: &Case,
) -> Result<()> {
    let Some(cards) = Cards::of_the_node(case).await? else {
        return Ok(());
    };
    for (card, root, device) in [
        (&cards.second, "pci0000:80", "pci-0000-81-00-0"),
        (&cards.first, "pci0000:40", "pci-0000-41-00-0"),
    ] {
        let toy = Toy::offer(&case.cluster, root).await?;
        let home = card.look()?;
        let igb = format!(r#"device.attributes["{DRIVER}"].?driver.orValue("") == "igb""#);
        let wants = Wants::of(DRIVER)
            .request_such("nic", &igb)
            .request_of("toy", TOY)
            .alike_in("resource.kubernetes.io/pcieRoot");
        case.claim("pair", &on_the_wire(wants, "nic", card)).await?;
        case.start(&NewPod::named("web").claim("pair")).await?;
        let status = case.status_shows("pair", "net1").await?;
        ensure!(status["device"] == device, "not {device}: {status}");
        reaches(case, "web", card).await?;
        case.delete("web").await?;
        case.all_is_as_before(&[(card, home)]).await?;
        case.delete_claim("pair").await?;
        toy.withdraw(&case.cluster).await?;
    }
    Ok(())
}
