//! Which daemon.

use std::fmt;

/// One of the driver's daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Component {
    /// Finds links and publishes them.
    Discovery,
    /// Answers the kubelet and keeps the records.
    DraPlugin,
    /// Answers the container runtime and touches links.
    NriHook,
}

impl Component {
    /// Name of its container, binary, socket directory and log field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::DraPlugin => "dra-plugin",
            Self::NriHook => "nri-hook",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
