//! What at least two of the three daemons share, and nothing else: the vocabulary ([`model`]), its form on the wire
//! ([`wire`]), the sockets of the bus ([`bus`]), telemetry, health and the life of a process ([`runtime`]).
//!
//! The model knows no Kubernetes, netlink, gRPC or database type.
#![deny(missing_docs)]

pub mod admin;
pub mod bus;
pub mod cli;
pub mod error;
pub mod fail;
#[cfg(test)]
mod fuzzing;
pub mod health;
pub mod metrics;
pub mod model;
pub mod runtime;
pub mod telemetry;
pub mod wire;
