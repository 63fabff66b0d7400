//! Scenarios: the three real binaries on a node made of network namespaces, with everything around them simulated.
//!
//! Each test is a story; what is common to all is in the harness. They need root or a user namespace, and
//! `cargo build --bins` before them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of it is tests, parts that several share included"
)]

mod api;
mod kubelet;
mod many;
mod pods;
mod quarantine;
mod refusals;
mod restart;
mod runtimes;
mod sharing;
mod traces;
mod watching;

use std::net::Ipv4Addr;

use network_driver_tests::cluster::{Cluster, Setup};

/// The far end of the first card.
const FAR_1: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
/// The far end of the second card.
const FAR_2: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 1);

/// A cluster with these cards and the newest of everything.
async fn cluster(nics: &[&str]) -> Cluster {
    Cluster::start(Setup::default().nics(nics)).await.unwrap()
}
