//! Links, addresses, routes and neighbours of a network namespace, and the namespaces themselves.
//!
//! The only crate of the workspace that speaks rtnetlink (neli's messages over nix's sockets) and enters network
//! namespaces. [`Socket`] asks and changes, [`Dumper`] asks without blocking a runtime, [`Monitor`] listens, [`Netns`]
//! holds a namespace. What the answers mean for a pod or a claim is left to the daemons.
#![deny(missing_docs)]

mod address;
mod dump;
mod error;
mod ethtool;
mod exchange;
#[cfg(test)]
mod fuzzing;
mod link;
mod message;
mod monitor;
mod neighbor;
mod netns;
#[cfg(test)]
mod recorded;
mod request;
mod route;
mod socket;
pub mod sysfs;
pub mod testing;
mod transport;
pub mod uplink;

pub use address::{Address, protocol};
pub use dump::{Dump, Dumper};
pub use error::{BuildError, Malformed, MonitorError, OpenSocketError, RequestError};
pub use ethtool::{Ethtool, Features};
pub use link::{
    InvalidSysctl, Link, LinkChange, LinkFlags, LinkKind, LinkSettings, MacvlanMode, NewLink,
    OperState, ParentDevice, Sysctl, WriteSettingError, check_setting_files, settings_by_name,
};
pub use monitor::{Event, Group, Monitor};
pub use neighbor::Neighbor;
pub use netns::{EnterNetnsError, Netns, NetnsId, OpenNetnsError};
pub use nix::errno::Errno;
pub use route::RouteEntry;
pub use socket::Socket;
