//! Stories of real cards: what only hardware does, with the three real binaries on the emulated machine (`make vm`).
//!
//! Everywhere else each of them says that it is skipped.
#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests, parts that several share included"
)]

mod attributes;
mod functions;
mod lives;
mod losses;

use std::net::Ipv4Addr;

use network_driver_tests::cluster::{Claim, Cluster, PATIENCE, Setup};
use network_driver_tests::hardware::{Card, Cards};
use network_driver_tests::wait::until_true;

/// The address of the card at the other end of the wire.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// A pod's address on the wire.
const NEAR: &str = "10.77.0.2/24";

/// A cluster on the machine itself, with these cards published and one at the other end of the wire.
async fn cluster(cards: &[&Card], far: &Card) -> Cluster {
    far.add_address(&format!("{FAR}/24")).unwrap();
    let cluster = Cluster::start(Setup::default().on_this_machine())
        .await
        .unwrap();
    for card in cards {
        is_published(&cluster, card).await;
    }
    cluster
}

async fn is_published(cluster: &Cluster, card: &Card) {
    let device = card.device();
    let published = || cluster.api.devices().contains_key(&device);
    until_true(&format!("{device} published"), PATIENCE, published)
        .await
        .unwrap();
}

/// A claim for a card, as `net1` with an address on the wire.
fn claim(cluster: &Cluster, name: &str, card: &Card) -> Claim {
    let builder = cluster.claim(name).device(&card.device());
    builder.interface("net1", NEAR).create()
}

/// The machine's cards, or the end of a test that needs them.
fn cards() -> Option<Cards> {
    Cards::take().unwrap()
}
