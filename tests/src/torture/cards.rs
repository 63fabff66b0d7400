//! The network cards of a bed: ends of cables, or those of the emulated machine, which real drivers run.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context as _;
use network_driver_netlink::testing::Namespace;
use serde_json::{Value, json};

use crate::hardware::{self, E1000E, IGB_0, IGB_1, Taken, take_name};
use crate::wait::until_true;

/// A network card of the bed, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Card(pub(super) u8);

impl Card {
    /// Its name in a pod.
    fn interface(self) -> String {
        format!("net{}", self.0)
    }

    /// The far end of its cable.
    pub(super) fn far(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 1, self.0, 1)
    }

    /// What a claim says of it.
    pub(super) fn config(self) -> Value {
        let number = self.0;
        json!({
            "interface": {
                "name": self.interface(),
                "addresses": [format!("10.1.{number}.2/24")],
                "mtu": 1400,
            },
            "routes": [{
                "destination": format!("10.20{number}.0.0/16"),
                "gateway": self.far(),
            }],
        })
    }
}

/// All cards of a bed.
#[derive(Debug)]
pub(super) enum Cards {
    /// Ends of so many cables, veth pairs: `eth1` … They would die with a namespace, so the test lets them fall home.
    Cables(u8),
    /// Real ones, which fall home by themselves.
    Real(Box<Real>),
}

/// Cards of the emulated machine.
#[derive(Debug)]
pub(super) struct Real {
    /// A whole card and two functions of another.
    cards: Vec<hardware::Card>,
    _turn: hardware::Cards,
    _taken: Taken,
}

impl Cards {
    /// A whole card, and two functions of another, all on one wire with a third that has the far ends' addresses. A
    /// function that falls home finds its name taken.
    ///
    /// # Errors
    /// This machine has no such cards.
    pub(super) async fn real() -> anyhow::Result<Self> {
        // Those of the bed before may still be falling.
        let home = || hardware::Cards::are_home().unwrap_or(false);
        until_true("real cards", Duration::from_secs(2), home)
            .await
            .context("they are in the emulated machine alone: make vm TESTS=torture")?;
        let machine = hardware::Cards::take()?.context("no real cards")?;
        // Each address answers on its own card only: they share the wire and home.
        let file = "/proc/sys/net/ipv4/conf/all/arp_ignore";
        std::fs::write(file, "1").with_context(|| format!("write {file}"))?;
        let [whole, parent, far] = [IGB_0, IGB_1, E1000E].map(|model| machine.card(model));
        let (parent, far) = (parent?, far?);
        let mut cards = vec![whole?];
        cards.extend(parent.set_functions(2)?);
        for (number, card) in (1..).zip(&cards) {
            card.dress(&format!("172.20.{number}.1/24"))?;
            far.add_address(&format!("{}/24", Card(number).far()))?;
        }
        let taken = take_name(&Namespace::current()?, &Card(2).interface())?;
        Ok(Self::Real(Box::new(Real {
            cards,
            _turn: machine,
            _taken: taken,
        })))
    }

    /// The names of their devices.
    pub(super) fn devices(&self) -> Vec<String> {
        match self {
            Self::Cables(count) => (1..=*count).map(|number| format!("eth{number}")).collect(),
            Self::Real(real) => real.cards.iter().map(hardware::Card::device).collect(),
        }
    }

    /// The name of a card's device.
    pub(super) fn device(&self, card: Card) -> String {
        let index = usize::from(card.0).checked_sub(1);
        let device = index.and_then(|index| self.devices().into_iter().nth(index));
        device.unwrap_or_else(|| format!("no card {}", card.0))
    }

    /// What a pod's state must say of a card.
    pub(super) fn traces(&self, card: Card) -> [String; 3] {
        let kind = match self {
            Self::Cables(_) => "veth",
            Self::Real(_) => "-",
        };
        let (name, number, far) = (card.interface(), card.0, card.far());
        [
            format!("link {name} {kind} up "),
            format!("address {name} 10.1.{number}.2/24 "),
            format!("route 10.20{number}.0.0/16 table 254 over {name} via {far} "),
        ]
    }
}
