//! The last gate: a program on the node that the OCI runtime runs before each start of a container that names a claim
//! (`createRuntime`). It looks into the container's network namespace for the claim's devices, and without all of them
//! the start fails.
//!
//! It needs none of the driver's daemons, so it holds where nothing else does: in a sandbox that was made again while
//! all of them were dead, with the CDI id still defined for the one before.

#[cfg(test)]
mod fuzzing;
mod install;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use network_driver_common::model::{
    ClaimRef, ClaimUid, DeviceName, DriverName, LinkIdentity, Mark, PciAddress, Record,
};
use network_driver_netlink::{Link, Netns, OpenNetnsError, OpenSocketError, RequestError, Socket};
use serde::{Deserialize, Serialize};

use crate::links::pci_address;

pub use install::{InstallError, install};

/// Name of the program's file on the node. The number is that of the form of [`Wanted`]: a file defined by an older
/// driver goes on naming the program that reads it.
pub const FILE_NAME: &str = "network-driver-start-hook-1";

/// After this long the OCI runtime kills the program and fails the start, seconds.
pub const TIMEOUT_SECONDS: u32 = 10;

/// Time for the kernel to list the links of a pod. Whoever moves links holds the lock that a list waits for.
const LIST_TIME: Duration = Duration::from_secs(8);

/// The state that the OCI runtime writes to a hook's standard input is a few hundred bytes.
const MAX_STATE_BYTES: u64 = 1024 * 1024;

/// What a container must find in its network namespace: the program's one argument, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    driver: String,
    claim_namespace: String,
    claim_name: String,
    claim_uid: String,
    devices: Vec<WantedDevice>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WantedDevice {
    name: String,
    /// By which hardware is known even where someone took our mark away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pci: Option<String>,
}

/// Why a container must not start.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not called as the CDI file says.
    #[error("the start hook's argument cannot be read")]
    Argument(#[source] serde_json::Error),
    /// A part of the argument is none of its kind.
    #[error("the start hook's argument cannot be read: {field} {text:?}")]
    Field {
        /// Which part.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// The OCI runtime's state did not come.
    #[error("read the container's state from standard input")]
    Read(#[source] io::Error),
    /// The OCI runtime's state has no process id.
    #[error("the container's state on standard input cannot be read")]
    State(#[source] serde_json::Error),
    /// The container's namespace cannot be opened.
    #[error("open the container's network namespace")]
    Netns(#[source] OpenNetnsError),
    /// No socket in the container's namespace.
    #[error("look for the claim's devices in the pod")]
    Open(#[source] OpenSocketError),
    /// The links of the pod cannot be read.
    #[error("look for the claim's devices in the pod")]
    List(#[source] RequestError),
    /// The devices are not there.
    #[error(
        "claim {claim}: device {device} is not in the pod's network namespace, so no container that names the claim may start; the network driver attaches it when it is back"
    )]
    Missing {
        /// Whose device.
        claim: String,
        /// Which one, the first of them.
        device: DeviceName,
    },
}

impl Wanted {
    /// What the containers of this claim must find.
    pub(crate) fn of(driver: &DriverName, record: &Record) -> Self {
        let ClaimRef {
            namespace,
            name,
            uid,
        } = &record.claim;
        let device = |device: &network_driver_common::model::Device| WantedDevice {
            name: device.name.to_string(),
            pci: match &device.identity {
                LinkIdentity::Pci { address, .. } => Some(address.to_string()),
                LinkIdentity::Other { .. } => None,
            },
        };
        Self {
            driver: driver.to_string(),
            claim_namespace: namespace.clone(),
            claim_name: name.clone(),
            claim_uid: uid.to_string(),
            devices: record
                .attachments
                .iter()
                .map(|a| device(&a.device))
                .collect(),
        }
    }

    /// The argument of the program.
    pub(crate) fn to_argument(&self) -> String {
        // Strings and lists only: nothing of it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Checks that a container has its devices: `argument` as the CDI file gives it, `state` as the OCI runtime does
/// (runtime-spec, "State").
///
/// # Errors
/// Whatever keeps it from being sure that all are there.
pub fn check(argument: &str, state: impl Read) -> Result<(), Refusal> {
    let wanted: Wanted = serde_json::from_str(argument).map_err(Refusal::Argument)?;
    let netns = Netns::open(&netns_of(state)?).map_err(Refusal::Netns)?;
    let mut socket = Socket::open_in(&netns).map_err(Refusal::Open)?;
    socket.set_deadline(Instant::now().checked_add(LIST_TIME));
    let links = socket.links().map_err(Refusal::List)?;
    wanted.all_among(&links)
}

impl Wanted {
    fn all_among(&self, links: &[Link]) -> Result<(), Refusal> {
        let driver: DriverName = parse("driver", &self.driver)?;
        let claim: ClaimUid = parse("claim_uid", &self.claim_uid)?;
        for device in &self.devices {
            let name: DeviceName = parse("devices.name", &device.name)?;
            let pci = device.pci.as_deref();
            let pci: Option<PciAddress> = pci.map(|text| parse("devices.pci", text)).transpose()?;
            let marked = |link: &Link| {
                Mark::from_alias(&driver, &link.alias)
                    .is_some_and(|mark| mark.claim == claim && mark.device == name)
            };
            let there = |link: &Link| marked(link) || (pci.is_some() && pci_address(link) == pci);
            if !links.iter().any(there) {
                return Err(Refusal::Missing {
                    claim: format!("{}/{}", self.claim_namespace, self.claim_name),
                    device: name,
                });
            }
        }
        Ok(())
    }
}

fn parse<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|_| Refusal::Field {
        field,
        text: text.chars().take(80).collect(),
    })
}

/// Where the network namespace of the container is.
fn netns_of(state: impl Read) -> Result<PathBuf, Refusal> {
    #[derive(Deserialize)]
    struct State {
        pid: u32,
    }
    let mut text = String::new();
    let mut state = state.take(MAX_STATE_BYTES);
    state.read_to_string(&mut text).map_err(Refusal::Read)?;
    let State { pid } = serde_json::from_str(&text).map_err(Refusal::State)?;
    Ok(Path::new("/proc").join(pid.to_string()).join("ns/net"))
}

#[cfg(test)]
mod tests;
