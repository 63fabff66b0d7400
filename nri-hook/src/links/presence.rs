//! Whether the devices of an attached claim still are where they were attached.

use network_driver_common::model::{Attachment, FaultReason, Record};
use network_driver_netlink::{Link, Netns, Socket};

use super::{FindAttachedError, Links, identity};

/// How a device of a claim is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is there.
    Here {
        /// It can carry traffic, or was switched off in the pod and so cannot be told.
        carrier: bool,
    },
    /// It is not: unplugged, without a driver, taken away by hand.
    Gone,
}

impl Presence {
    /// What is wrong with it, if anything is.
    pub(crate) fn fault(self) -> Option<FaultReason> {
        match self {
            Self::Here { carrier: true } => None,
            Self::Here { carrier: false } => Some(FaultReason::CarrierDown),
            Self::Gone => Some(FaultReason::DeviceGone),
        }
    }
}

impl Links {
    /// Looks for the devices of a record in a pod: in the order of its attachments.
    ///
    /// # Errors
    /// When the namespace cannot be read.
    pub(crate) fn presence(
        &self,
        record: &Record,
        netns: &Netns,
    ) -> Result<Vec<Presence>, FindAttachedError> {
        let mut socket = Socket::open_in(netns).map_err(FindAttachedError::Open)?;
        let links = socket.links().map_err(FindAttachedError::Read)?;
        let attachments = record.attachments.iter();
        Ok(attachments
            .map(|attachment| self.presence_of(record, attachment, &links))
            .collect())
    }

    fn presence_of(&self, record: &Record, attachment: &Attachment, links: &[Link]) -> Presence {
        let (claim, device) = (&record.claim.uid, &attachment.device);
        // The pod may have taken our mark away, which does not make the device another one.
        let link = identity::marked(links, &self.driver, claim, device)
            .or_else(|| identity::resembling(links, &self.driver, &device.identity));
        link.map_or(Presence::Gone, |link| Presence::Here {
            carrier: link.carrier || !link.flags.up(),
        })
    }
}
