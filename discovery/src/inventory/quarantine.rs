//! Which links are in quarantine.

use std::collections::BTreeMap;

use network_driver_common::model::{DeviceName, LinkIdentity, Quarantine};
use network_driver_netlink::Link;

use super::{Entry, Inventory};

impl Inventory {
    /// Takes the complete list of devices in quarantine.
    pub fn set_quarantined(&mut self, list: Vec<Quarantine>) {
        let list = list.into_iter();
        let quarantined: BTreeMap<_, _> = list.map(|q| (q.device.clone(), q)).collect();
        if quarantined != self.quarantined {
            self.quarantined = quarantined;
            self.dirty.links.extend(self.links.keys());
        }
    }

    /// The quarantine that a link falls under: it would be offered under the name of such a device, or it is the
    /// device's link and came home under another name.
    pub(super) fn quarantine(&self, entry: &Entry) -> Option<&Quarantine> {
        if self.quarantined.is_empty() {
            return None;
        }
        let name = DeviceName::of(&entry.identity());
        self.quarantined.get(&name).or_else(|| {
            let mut others = self.quarantined.values();
            others.find(|other| resembles(&entry.link, other) && !self.is_back(other))
        })
    }

    /// Whether the device's link has its name again: then what else looks like it is another one, as two VLANs of one
    /// link look alike.
    fn is_back(&self, quarantine: &Quarantine) -> bool {
        self.links.values().any(|entry| {
            resembles(&entry.link, quarantine)
                && DeviceName::of(&entry.identity()) == quarantine.device
        })
    }
}

/// Whether a link looks like that of the device, whatever its name. Hardware keeps its device name, so there is no need.
fn resembles(link: &Link, quarantine: &Quarantine) -> bool {
    let Some(LinkIdentity::Other {
        kind,
        hardware_address,
        ..
    }) = &quarantine.identity
    else {
        return false;
    };
    let mut addresses = std::iter::once(&link.hardware_address).chain(&link.permanent_address);
    link.kind.as_deref().unwrap_or_default() == kind
        && !hardware_address.is_unset()
        && addresses.any(|address| address == hardware_address)
}
