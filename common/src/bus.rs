//! The Unix sockets that join the three daemons.
//!
//! ```text
//! <bus dir>/                      the pod's shared volume, its group = the pod's fsGroup
//!   discovery/bus.sock            0660, in a directory 2750 that discovery made
//!   dra-plugin/bus.sock
//!   nri-hook/bus.sock
//! ```
//! Calls go one way, nri-hook → dra-plugin → discovery; reconnecting is the caller's job. A connection whose peer
//! does not answer HTTP/2 pings for 15 s is closed, so that a lost session means that the peer is away.

mod backoff;
mod calls;
mod client;
mod component;
mod listener;
mod message;
mod server;

use std::path::{Path, PathBuf};

pub use backoff::Backoff;
pub use calls::{TraceCalls, Traced};
pub use client::{channel, with_trace};
pub use component::Component;
pub use listener::{ListenError, Listener, listen};
pub use message::{devices_in_use_span, order_span, report_span};
use network_driver_proto::bus as proto;
pub use server::{ServeError, serve};

/// Where the sockets of the bus are.
#[derive(Debug, Clone, clap::Args)]
pub struct BusArgs {
    /// Directory of the sockets that join the driver's daemons
    #[arg(
        long = "bus-dir",
        env = "NETWORK_DRIVER_BUS_DIR",
        value_name = "DIR",
        default_value = "/run/network-driver-bus",
        global = true
    )]
    dir: PathBuf,
}

impl BusArgs {
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Where a daemon's socket is.
pub fn socket_path(dir: &Path, component: Component) -> PathBuf {
    dir.join(component.as_str()).join("bus.sock")
}

/// The first message of each session.
pub fn hello(component: Component) -> proto::Hello {
    proto::Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: Vec::new(),
        component: component.as_str().to_owned(),
    }
}
