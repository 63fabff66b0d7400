//! Real cards, where the node has any: those of the emulated machine (`make vm`), all on one wire.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::case::{Case, SOON};
use crate::nic::Nic;
use crate::node::ip;
use crate::suite::say;
use crate::wait::{Seen, until};

/// MAC addresses that `tests/vm/boot` gives its cards: two igb with virtual functions, and an e1000e.
const CARDS: [&str; 3] = [
    "52:54:00:00:01:01",
    "52:54:00:00:02:01",
    "52:54:00:00:03:01",
];

/// The node's cards.
#[derive(Debug)]
pub(crate) struct Cards {
    /// The igb on the PCIe root of NUMA node 0.
    pub(crate) first: Nic,
    /// The igb on the PCIe root of NUMA node 1.
    pub(crate) second: Nic,
}

impl Cards {
    /// Sets the cards up, the third as the other end of the wire; waits until the two are offered. `None` where they are
    /// not, which is said.
    ///
    /// # Errors
    /// They are not offered.
    pub(crate) async fn of_the_node(case: &Case) -> Result<Option<Self>> {
        let [Some(first), Some(second), Some(far)] = CARDS.map(name_of) else {
            say("SKIPPED: this node has no real cards (make vm)");
            return Ok(None);
        };
        ip(&format!("link set {far} up"))?;
        ip(&format!("addr replace {FAR}/24 dev {far}"))?;
        let cards = Self {
            first: on_the_wire(first),
            second: on_the_wire(second),
        };
        for card in [&cards.first, &cards.second] {
            card.comes_up(case).await?;
        }
        Ok(Some(cards))
    }
}

/// The address at the other end of the wire.
const FAR: &str = "10.77.0.1";

fn on_the_wire(name: String) -> Nic {
    Nic {
        name,
        address: "10.77.0.2/24".to_owned(),
        peer: FAR.to_owned(),
    }
}

/// Name of the link with this MAC address that has a device.
fn name_of(mac: &str) -> Option<String> {
    let links = fs::read_dir("/sys/class/net").ok()?;
    let mut links = links.flatten().map(|entry| entry.path());
    let link = links.find(|link| {
        let address = fs::read_to_string(link.join("address")).unwrap_or_default();
        address.trim() == mac && link.join("device").exists()
    })?;
    Some(link.file_name()?.to_string_lossy().into_owned())
}

impl Nic {
    /// Sets a card up and waits until it is offered and at rest.
    ///
    /// # Errors
    /// It is not.
    pub(crate) async fn comes_up(&self, case: &Case) -> Result<()> {
        ip(&format!("link set {} up", self.name))?;
        case.is_offered(&self.name, true, SOON).await?;
        self.settled().await
    }

    /// Makes virtual functions of a card, or takes them away; the first one's link.
    ///
    /// # Errors
    /// The card has none, or its link does not come.
    pub(crate) async fn functions(&self, count: u8) -> Result<Option<Self>> {
        let device = PathBuf::from("/sys/class/net")
            .join(&self.name)
            .join("device");
        let number = device.join("sriov_numvfs");
        fs::write(&number, count.to_string())
            .with_context(|| format!("write {count} to {}", number.display()))?;
        if count == 0 {
            return Ok(None);
        }
        let links = device.join("virtfn0/net");
        let name = until("the link of a virtual function", SOON, async || {
            let link = fs::read_dir(&links)?.next().transpose()?;
            let name = link.map(|link| link.file_name().to_string_lossy().into_owned());
            Ok(name.map_or_else(|| Seen::Not("no link".to_owned()), Seen::Yes))
        })
        .await?;
        Ok(Some(on_the_wire(name)))
    }
}
