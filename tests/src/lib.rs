//! Test harness: what surrounds the driver's three daemons, so that the real binaries can be driven over real sockets.
//!
//! | real | simulated |
//! | --- | --- |
//! | the three daemons, their bus, their database, the kernel | kubelet, API server, container runtime, trace collector |
//!
//! The stand-ins are written from the protocols, independently of the daemons' code.

pub mod api_server;
pub mod bench;
pub mod cluster;
pub mod collector;
pub mod daemon;
pub mod demo;
pub mod hardware;
pub mod invariants;
mod json;
pub mod kubelet;
pub mod node;
pub mod ping;
mod privilege;
pub mod program;
pub mod runtime;
pub mod torture;
pub mod wait;
