//! nri-hook: the container runtime's NRI plugin, and the only daemon that touches links. It has no API token.
//!
//! ```text
//!  container runtime ──► nri ──► hook ──► links (kernel)
//!                                 │ └───► cdi (ids), gate
//!  dra-plugin ◄──────── records ◄─┘
//! ```
#![deny(missing_docs)]

mod args;
mod cdi;
mod command;
mod confirmation;
mod devices;
mod gate;
mod hook;
mod links;
mod metrics;
mod nri;
mod preflight;
mod records;
mod run;
mod sandbox;
pub mod start_hook;
#[cfg(test)]
mod testing;
mod turns;

use network_driver_common::error::sentence as chain;

pub use args::{Args, Command, DaemonArgs, PreflightArgs};
pub use run::run;
