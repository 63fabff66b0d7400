//! The rule of the uplink against the real kernel: many shapes of a node's network, and of each link whether it is
//! protected, why, and what is left to be offered.
//!
//! One test per feature that a kernel may lack, so that one left out hides no other.
#![cfg(test)]

mod addresses;
mod bonds;
mod bridges;
mod changes;
mod dummies;
mod ipvlans;
mod macvlans;
mod nexthops;
mod node;
mod policies;
mod route;
mod routes;
mod tunnels;
mod vlans;
mod vrfs;
