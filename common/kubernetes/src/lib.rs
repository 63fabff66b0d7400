//! What discovery and dra-plugin both need of the cluster: a client ([`connect`]), which version of
//! `resource.k8s.io` the API server serves ([`ResourceApi`]), events ([`EventRecorder`]) and a rate limit
//! ([`TokenBucket`]). What is read and written with them is the daemons' business; nri-hook has no access at all.
#![deny(missing_docs)]

mod bucket;
mod client;
mod events;
mod retry;
mod trace;
mod version;

pub use bucket::TokenBucket;
pub use client::{Cluster, ConnectError, connect};
pub use events::{Event, EventKind, EventRecorder, MAX_NOTE_BYTES, Regarding};
pub use retry::retry_after;
pub use version::{ResourceApi, VersionError};
