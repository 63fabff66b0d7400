//! The inventory as ResourceSlices: one pool per node, named after it.
//!
//! [`convert`] knows the form of each API version, [`plan`] decides what must be written so that what stands becomes what
//! is wanted, [`mod@taint`] marks what does not work, [`damper`] decides when, [`publisher`] does it and watches that it stays so. A pool without devices is one
//! empty slice, which says that the driver is here; the slices outlive the daemon, since a restart must not take
//! allocated devices from the scheduler's sight (the kubelet removes them 30 s after the driver is gone for good).

pub mod convert;
pub mod damper;
pub mod entries;
pub mod plan;
pub mod publisher;
pub mod taint;

mod cache;
mod writer;
