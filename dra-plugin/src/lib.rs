//! dra-plugin: the kubelet's DRA plugin. It decides what a claim is to have, keeps that for good before the kubelet is
//! answered, and tells nri-hook, which alone touches links. It has no netlink.
//!
//! ```text
//!  kubelet ──► kubelet ──► claim ──► hook ◄── server ◄── nri-hook (Claims session)
//!                            │         ▲        │
//!              API server ◄──┤       store      └► report ──► status, events ──► API server
//!                            └► inventory ──► discovery (Inventory session)
//! ```
#![deny(missing_docs)]

mod args;
mod claim;
mod command;
mod driver;
mod events;
#[cfg(test)]
mod fixture;
mod health;
mod hook;
mod inventory;
mod kubelet;
mod metrics;
mod quarantine;
mod queue;
mod reason;
mod report;
mod run;
#[cfg(test)]
mod scenarios;
mod server;
mod status;
mod store;
#[cfg(test)]
mod testing;

pub use args::{Args, Command, DaemonArgs, QuarantineCommand};
pub use run::run;
