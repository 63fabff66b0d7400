//! The state of a link: down is not offered, for a pod would get an interface that leads nowhere.

use super::{Candidate, DeviceFilter, Verdict};

/// Hides links that are down or have no carrier.
#[derive(Debug)]
pub(super) struct Down;

impl DeviceFilter for Down {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        let link = candidate.link;
        if link.flags.up() {
            Verdict::hide_if(!link.carrier, "has no carrier (see --offer-down)")
        } else {
            Verdict::hide("is down (see --offer-down)")
        }
    }
}
