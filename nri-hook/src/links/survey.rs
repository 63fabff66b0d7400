//! A count of the node's links, for people: what it needs itself, and what is left.

use network_driver_common::model::Protected;
use network_driver_netlink::{OpenSocketError, RequestError, Socket};

use super::home::Home;

/// The links of a namespace besides the loopback.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Survey {
    /// Those that carry the node's own traffic, each with its reason: `eth0 carries the default route`.
    pub(crate) protected: Vec<String>,
    /// How many others there are.
    pub(crate) free: usize,
    /// How many of those have a device behind them.
    pub(crate) free_hardware: usize,
}

/// The links cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    /// No socket.
    #[error("ask the kernel for links")]
    Open(#[source] OpenSocketError),
    /// A request failed.
    #[error("ask the kernel for links")]
    Read(#[source] RequestError),
}

/// Counts the links of the calling thread's namespace. Addresses that only the cluster knows are not considered.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn survey() -> Result<Survey, SurveyError> {
    let mut socket = Socket::open().map_err(SurveyError::Open)?;
    count(&mut socket)
}

pub(super) fn count(socket: &mut Socket) -> Result<Survey, SurveyError> {
    let home = Home::read(socket, &Protected::default()).map_err(SurveyError::Read)?;
    let mut survey = Survey::default();
    for link in home.links.iter().filter(|link| !link.flags.loopback()) {
        if let Some(reason) = home.uplink(link) {
            survey.protected.push(format!("{} {reason}", link.name));
        } else {
            survey.free = survey.free.saturating_add(1);
            let hardware = usize::from(link.bus.is_some());
            survey.free_hardware = survey.free_hardware.saturating_add(hardware);
        }
    }
    Ok(survey)
}
