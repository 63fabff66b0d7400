//! Links that carry this driver's mark: on their way to a pod or back, or left at home by one that never came to an end.

use network_driver_common::model::{DriverName, Mark};

use super::{Candidate, DeviceFilter, Verdict};

/// Hides links that carry the mark of this driver.
#[derive(Debug)]
pub(super) struct Marked(pub(super) DriverName);

impl DeviceFilter for Marked {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        match Mark::from_alias(&self.0, &candidate.link.alias) {
            None => Verdict::Advertise,
            Some(mark) => Verdict::hide(format!(
                "is not put back: its alias says that claim {} has it as device {}, at home named {} (take the alias away \
                 when all is well)",
                mark.claim, mark.device, mark.home_name
            )),
        }
    }
}
