//! Links that did not come home as they were: nobody may get one until an operator has put it right.

use super::{Candidate, DeviceFilter, Verdict};

/// Hides links in quarantine.
#[derive(Debug)]
pub(super) struct Quarantined;

impl DeviceFilter for Quarantined {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        match candidate.quarantine {
            None => Verdict::Advertise,
            Some(quarantine) => Verdict::hide(format!(
                "is in quarantine: {} (see `dra-plugin quarantine release {}`)",
                quarantine.reason, quarantine.device
            )),
        }
    }
}
