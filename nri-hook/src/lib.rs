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
mod devices;
mod gate;
mod hook;
mod links;
mod metrics;
mod nri;
mod records;
mod run;
mod sandbox;
#[cfg(test)]
mod testing;
mod turns;

pub use args::{Args, Command, DaemonArgs, Output};
pub use run::run;

/// An error and its causes as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
