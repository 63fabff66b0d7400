//! What can go wrong with rtnetlink. The caller adds which link, address or namespace it was about.

use std::io;

use nix::errno::Errno;

use crate::netns::EnterNetnsError;

/// A request to the kernel that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The kernel refused.
    #[error("{request}{}", explained(text.as_deref()))]
    Kernel {
        /// What was asked.
        request: &'static str,
        /// Why not.
        #[source]
        errno: Errno,
        /// The kernel's own words (`NLMSGERR_ATTR_MSG`), where it has some.
        text: Option<String>,
    },
    /// The deadline passed before the request was sent or before it was answered. Whether the kernel did it is unknown.
    #[error("{request}: no time left")]
    TimedOut {
        /// What was asked.
        request: &'static str,
    },
    /// The socket failed.
    #[error("{request}: use the netlink socket")]
    Io {
        /// What was asked.
        request: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer cannot be read.
    #[error("{request}: read the kernel's answer")]
    Malformed {
        /// What was asked.
        request: &'static str,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// The table changed during every reading of it, so that no reading was whole. Ask again later.
    #[error("{request}: the table changed during every one of {attempts} readings")]
    Unsteady {
        /// What was asked.
        request: &'static str,
        /// How often it was read.
        attempts: u32,
    },
    /// The request does not fit into a netlink message.
    #[error("write a netlink request")]
    Build(#[from] BuildError),
}

impl RequestError {
    /// The kernel's reason, if it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

fn explained(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

/// No netlink socket could be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenSocketError {
    /// The kernel gave none, or refused one of its options.
    #[error("open a netlink socket")]
    Open(#[source] io::Error),
    /// It could not be opened in the wanted namespace.
    #[error("open a netlink socket in another network namespace")]
    Enter(#[source] EnterNetnsError),
}

/// The event socket failed; it cannot be used any more.
#[derive(Debug, thiserror::Error)]
#[error("receive netlink events")]
pub struct MonitorError(#[source] pub(crate) io::Error);

/// Bytes from the kernel that are no netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

/// A value that has no place in a netlink message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(String);

impl BuildError {
    pub(crate) fn of(neli: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self(neli.into().to_string())
    }
}
