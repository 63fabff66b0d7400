//! One link: what it would be offered as, and whether it is.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use super::{Arc, Offered};
use super::{Device, DeviceName, Entry, IfName, Inventory, IpNet, Link, LinkIdentity, LinkView};
use crate::attribute::{Subject, attributes};
use crate::filter::{Candidate, Verdict, verdict};

impl Inventory {
    /// How a link is to be shown, if that is not how it is shown already.
    pub(super) fn judge(&self, index: u32) -> Option<LinkView> {
        let entry = self.links.get(&index)?;
        let uplink = self.uplinks.get(&index);
        let is_virtual = entry.link.bus.is_none() && !entry.facts.has_device;
        let candidate = Candidate {
            link: &entry.link,
            master: entry.link.master.and_then(|master| self.link(master)),
            is_virtual,
            uplink,
            quarantine: self.quarantine(entry),
            twin: self.twin(entry),
            device: LazyCell::new(Box::new(|| self.device(entry, is_virtual))),
        };
        let offered = match verdict(&self.rules.filters, &candidate) {
            Verdict::Hide(reason) => Offered::No {
                reason: reason.into_owned(),
                protected: uplink.is_some(),
            },
            Verdict::Advertise => {
                let device = LazyCell::force(&candidate.device);
                Offered::As(Arc::new(device.clone()))
            }
        };
        let shown = LinkView {
            name: entry.link.name.clone(),
            index,
            kind: entry.link.kind.clone().unwrap_or_default(),
            offered,
        };
        (shown != *entry.shown).then_some(shown)
    }

    fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index).map(|entry| &entry.link)
    }

    /// Of several links on one port of a card, one is offered: no representor, then by name. The others' twin is it.
    fn twin(&self, entry: &Entry) -> Option<&IfName> {
        let on_port = self.ports.get(&entry.facts.pci?)?;
        let rank = |link: &&Link| (link.is_representor(), link.name.clone());
        let first = on_port
            .iter()
            .filter_map(|index| self.link(*index))
            .min_by_key(rank)?;
        (first.index != entry.link.index).then_some(&first.name)
    }

    fn device(&self, entry: &Entry, is_virtual: bool) -> Device {
        let (link, identity) = (&entry.link, entry.identity());
        let of_link = self.addresses.get(&link.index).into_iter().flatten();
        let mut addresses: Vec<IpNet> = of_link.map(|a| a.address.address).collect();
        addresses.sort_unstable();
        let parent = link.parent.filter(|_| link.parent_netnsid.is_none());
        let subject = Subject {
            link,
            addresses: &addresses,
            parent: parent.and_then(|parent| self.link(parent)),
            is_virtual,
        };
        Device {
            name: DeviceName::of(&identity),
            identity,
            interface: link.name.clone(),
            attributes: attributes(&self.rules.providers, &subject, &entry.facts),
            capacity: BTreeMap::new(),
        }
    }
}

impl Entry {
    /// What names the link for good.
    pub(super) fn identity(&self) -> LinkIdentity {
        let link = &self.link;
        match self.facts.pci {
            Some((address, dev_port)) => LinkIdentity::Pci { address, dev_port },
            None => LinkIdentity::Other {
                kind: link.kind.clone().unwrap_or_default(),
                hardware_address: link.hardware_address.clone(),
                home_name: link.name.clone(),
            },
        }
    }
}
