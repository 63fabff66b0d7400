//! The runtime's NRI plugin: the only daemon that touches links.
//!
//! ```text
//! container runtime ──► nri (session) ──► hook (PodEvents) ──► links (kernel)
//! dra-plugin ◄──► records (session, table, reports) ──┘  └──► cdi (files), gate
//! ```
#![deny(missing_docs)]

mod links;
pub mod nri;
