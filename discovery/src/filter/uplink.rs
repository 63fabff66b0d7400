//! Never the uplink: the decision is `network_driver_netlink::uplink`'s, made for all links at once.

use super::{Candidate, DeviceFilter, Verdict};

/// Hides what the node's own traffic depends on.
#[derive(Debug)]
pub(super) struct Uplink;

impl DeviceFilter for Uplink {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        match candidate.uplink {
            Some(reason) => Verdict::hide(reason.to_string()),
            None => Verdict::Advertise,
        }
    }
}
