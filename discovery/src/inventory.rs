//! All links of the node and, for each, its device or the reason why it is not offered. Pure: facts go in, a view comes
//! out, and only what a fact touches is judged again, so that an event costs the same at ten links and at a thousand.
//!
//! ```text
//! netlink dump, events ─┐
//! files of a link ──────┤→ apply → settle → View → ResourceSlices, sessions of dra-plugin, people
//! protected addresses ──┤
//! in use, in quarantine ┘
//! ```

mod judge;
mod quarantine;
mod uplink;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use network_driver_common::model::{
    ClaimUid, Device, DeviceFault, DeviceName, IfName, LinkIdentity, PciAddress, Protected,
    Quarantine,
};
use network_driver_netlink::uplink::UplinkReason;
use network_driver_netlink::{Address, Event, Link, RouteEntry};

use crate::attribute::{AttributeProvider, Facts};
use crate::filter::DeviceFilter;
pub use view::{Counts, LinkView, Offered, Reading, View};

/// What decides which links are offered and what is said of them.
#[derive(Debug)]
pub struct Rules {
    /// What is offered.
    pub filters: Vec<Box<dyn DeviceFilter>>,
    /// What is said.
    pub providers: Arc<Vec<Box<dyn AttributeProvider>>>,
    /// Kernel kinds of virtual links that are offered, whose files are worth a look.
    pub kinds: Vec<String>,
}

/// A device that a claim holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// The entry as it was published when the claim was prepared.
    pub device: Arc<Device>,
    /// Who holds it.
    pub claim: ClaimUid,
    /// Why it does not work, if that is known.
    pub fault: Option<DeviceFault>,
}

/// Devices that claims hold, by name. Shared: a node may have many.
pub type InUseByDevice = Arc<BTreeMap<DeviceName, InUse>>;

/// What dra-plugin says of devices: two complete lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holdings {
    /// Those that claims hold.
    pub in_use: InUseByDevice,
    /// Those that did not come home as they were.
    pub quarantined: Vec<Quarantine>,
}

/// Which files of a link are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// All of them.
    All,
    /// Those that may change with the carrier.
    WithCarrier,
}

/// The inventory.
#[derive(Debug)]
pub struct Inventory {
    rules: Rules,
    links: BTreeMap<u32, Entry>,
    /// By ifindex; also of links that are not known yet.
    addresses: BTreeMap<u32, Vec<Address>>,
    /// Default routes of all tables; `None` when they could not be had: then everything is protected.
    routes: Option<Vec<RouteEntry>>,
    /// The links that the kernel would use to reach the protected destinations.
    routed: Vec<(IpAddr, u32)>,
    protected: Protected,
    uplinks: BTreeMap<u32, UplinkReason>,
    /// Links by the PCI function and port they are on.
    ports: BTreeMap<(PciAddress, u32), BTreeSet<u32>>,
    in_use: InUseByDevice,
    /// Whether a list of devices in use has been received since start.
    in_use_known: bool,
    quarantined: BTreeMap<DeviceName, Quarantine>,
    /// Devices that ceased to be there or to work, since start.
    losses: u64,
    dirty: Dirty,
}

/// What has to be looked at again.
#[derive(Debug, Default)]
struct Dirty {
    links: BTreeSet<u32>,
    unread: BTreeMap<u32, Unread>,
    /// Which links carry the node's traffic.
    uplinks: bool,
    /// The routes as we know them may be old: the kernel does not report every route that goes.
    routes: bool,
    /// Something that a view shows has changed.
    view: bool,
}

#[derive(Debug)]
struct Entry {
    link: Link,
    facts: Facts,
    shown: Arc<LinkView>,
}

impl Inventory {
    /// An empty inventory.
    pub fn new(rules: Rules, protected: Protected) -> Self {
        Self {
            rules,
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            routes: None,
            routed: Vec::new(),
            protected,
            uplinks: BTreeMap::new(),
            ports: BTreeMap::new(),
            in_use: Arc::default(),
            in_use_known: false,
            quarantined: BTreeMap::new(),
            losses: 0,
            dirty: Dirty::default(),
        }
    }

    /// Who says what of devices.
    pub fn providers(&self) -> Arc<Vec<Box<dyn AttributeProvider>>> {
        Arc::clone(&self.rules.providers)
    }

    /// Takes a whole dump: links that it lacks are gone, links that it shows unchanged cost nothing.
    pub fn replace(&mut self, links: Vec<Link>, all_addresses: Vec<Address>) {
        let present: BTreeSet<u32> = links.iter().map(|link| link.index).collect();
        let known: Vec<u32> = self.links.keys().copied().collect();
        for index in known.into_iter().filter(|index| !present.contains(index)) {
            self.remove(index);
        }
        for link in links {
            self.insert(link);
        }
        let mut addresses: BTreeMap<u32, Vec<Address>> = BTreeMap::new();
        for address in all_addresses {
            addresses.entry(address.index).or_default().push(address);
        }
        if addresses != self.addresses {
            let touched = self.addresses.keys().chain(addresses.keys()).copied();
            self.dirty.links.extend(touched);
            self.dirty.uplinks = true;
            self.addresses = addresses;
        }
    }

    /// Takes a change. What no event tells ([`Event::Overrun`]) is the caller's to dump.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Link(link) => self.insert(link),
            Event::LinkGone { index, .. } => self.remove(index),
            Event::Address(address) => self.add_address(address),
            Event::AddressGone(address) => self.remove_address(&address),
            Event::Route(route) => self.add_route(route),
            Event::RouteGone(_) | Event::RulesChanged => self.dirty.routes = true,
            Event::Overrun => {}
        }
    }

    fn insert(&mut self, link: Link) {
        let index = link.index;
        let Some(entry) = self.links.get_mut(&index) else {
            let entry = Entry {
                shown: Arc::new(LinkView::unjudged(&link)),
                facts: Facts::default(),
                link,
            };
            self.links.insert(index, entry);
            self.touch_joined(index);
            self.dirty.unread.insert(index, Unread::All);
            self.dirty.links.insert(index);
            self.dirty.uplinks = true;
            return;
        };
        if entry.link == link {
            return;
        }
        let old = std::mem::replace(&mut entry.link, link);
        let new = &entry.link;
        let joins = |link: &Link| {
            let Link {
                master,
                parent,
                parent_netnsid,
                vxlan_lower,
                ..
            } = link;
            (*master, *parent, *parent_netnsid, *vxlan_lower)
        };
        if old.name != new.name {
            // Others name it in their reasons and attributes.
            self.dirty.links.extend(self.links.keys());
            self.dirty.uplinks = true;
        } else if joins(&old) != joins(new) || old.altnames != new.altnames {
            self.dirty.uplinks = true;
        }
        let Some(Entry { link: new, .. }) = self.links.get(&index) else {
            return;
        };
        if (&old.bus, &old.kind) != (&new.bus, &new.kind) {
            self.dirty.unread.insert(index, Unread::All);
        } else if old.carrier != new.carrier {
            let unread = self.dirty.unread.entry(index);
            unread.or_insert(Unread::WithCarrier);
        }
        if old.flags.up() != new.flags.up() {
            // The kernel drops routes of a link that goes down without a word.
            self.dirty.routes = true;
        }
        self.dirty.links.insert(index);
    }

    fn remove(&mut self, index: u32) {
        let Some(entry) = self.links.remove(&index) else {
            return;
        };
        self.no_longer_offered(&entry.shown, None);
        if let Some(port) = entry.facts.pci {
            self.leave_port(port, index);
        }
        self.addresses.remove(&index);
        self.touch_joined(index);
        self.dirty.unread.remove(&index);
        self.dirty.routes |= self.uplinks.contains_key(&index);
        self.dirty.uplinks = true;
        self.dirty.view = true;
    }

    /// Those joined to a link name it in their reasons and attributes.
    fn touch_joined(&mut self, index: u32) {
        let is_joined = |link: &Link| link.master == Some(index) || link.parent == Some(index);
        let joined = self.links.values().filter(|entry| is_joined(&entry.link));
        let joined = joined.map(|entry| entry.link.index);
        self.dirty.links.extend(joined);
    }

    fn add_address(&mut self, address: Address) {
        let index = address.index;
        let of_link = self.addresses.entry(index).or_default();
        let same = |known: &Address| known.address.address == address.address.address;
        if let Some(known) = of_link.iter_mut().find(|known| same(known)) {
            *known = address;
        } else {
            of_link.push(address);
            self.address_changed(index);
        }
    }

    fn remove_address(&mut self, address: &Address) {
        let Some(of_link) = self.addresses.get_mut(&address.index) else {
            return;
        };
        let before = of_link.len();
        of_link.retain(|known| known.address.address != address.address.address);
        if of_link.len() != before {
            self.address_changed(address.index);
        }
    }

    fn address_changed(&mut self, index: u32) {
        self.dirty.links.insert(index);
        self.dirty.uplinks |= !self.protected.destinations.is_empty();
        self.dirty.routes |= self.uplinks.contains_key(&index);
    }

    /// The links whose files are to be read now, each once.
    pub fn take_unread(&mut self) -> Vec<(Link, Facts, Unread)> {
        let unread = std::mem::take(&mut self.dirty.unread);
        let wanted = unread.into_iter().filter_map(|(index, unread)| {
            let entry = self.links.get(&index)?;
            let virtual_kind = entry
                .link
                .kind
                .as_ref()
                .filter(|_| entry.link.bus.is_none());
            let wanted = virtual_kind.is_none_or(|kind| self.rules.kinds.contains(kind));
            let wanted = wanted && !entry.link.flags.loopback();
            wanted.then(|| (entry.link.clone(), entry.facts.clone(), unread))
        });
        wanted.collect()
    }

    /// Has the files of all links read again that may have changed without an event.
    pub fn audit_files(&mut self) {
        for index in self.links.keys() {
            let unread = self.dirty.unread.entry(*index);
            unread.or_insert(Unread::WithCarrier);
        }
    }

    /// Takes what the files of a link say.
    pub fn set_facts(&mut self, index: u32, facts: Facts) {
        let Some(entry) = self.links.get_mut(&index) else {
            return;
        };
        if entry.facts == facts {
            return;
        }
        let old = std::mem::replace(&mut entry.facts, facts);
        let new = entry.facts.pci;
        if old.pci != new {
            if let Some(port) = old.pci {
                self.leave_port(port, index);
            }
            if let Some(port) = new {
                let on_port = self.ports.entry(port).or_default();
                on_port.insert(index);
                self.dirty.links.extend(on_port.iter());
            }
        }
        self.dirty.links.insert(index);
    }

    fn leave_port(&mut self, port: (PciAddress, u32), index: u32) {
        if let Some(on_port) = self.ports.get_mut(&port) {
            on_port.remove(&index);
            self.dirty.links.extend(on_port.iter());
            if on_port.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    /// Takes the complete list of devices in use.
    pub fn set_in_use(&mut self, in_use: InUseByDevice) {
        if in_use != self.in_use || !self.in_use_known {
            let before = std::mem::replace(&mut self.in_use, in_use);
            let offered: BTreeSet<&DeviceName> = self.offered().collect();
            let is_there = |name| offered.contains(name) || self.in_use.contains_key(name);
            let gone = before.keys().filter(|name| !is_there(name)).count();
            let failed = |used: &&InUse| {
                let before = before.get(&used.device.name);
                used.fault.is_some() && before.is_none_or(|before| before.fault.is_none())
            };
            let failed = self.in_use.values().filter(failed).count();
            self.lose(gone.saturating_add(failed));
            self.in_use_known = true;
            self.dirty.view = true;
        }
    }

    fn offered(&self) -> impl Iterator<Item = &DeviceName> {
        let devices = self.links.values().filter_map(|entry| entry.shown.device());
        devices.map(|device| &device.name)
    }

    fn lose(&mut self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.losses = self.losses.saturating_add(count);
    }

    /// Counts a device that a link was offered as and is no more.
    fn no_longer_offered(&mut self, before: &LinkView, now: Option<&DeviceName>) {
        if let Some(device) = before.device() {
            let is_there = now == Some(&device.name) || self.in_use.contains_key(&device.name);
            self.lose(usize::from(!is_there));
        }
    }

    /// Judges again what has changed. Whether a new view is worth showing.
    pub fn settle(&mut self) -> bool {
        if std::mem::take(&mut self.dirty.uplinks) {
            self.settle_uplinks();
        }
        for index in std::mem::take(&mut self.dirty.links) {
            let Some(shown) = self.judge(index).map(Arc::new) else {
                continue;
            };
            self.dirty.view = true;
            if let Some(entry) = self.links.get_mut(&index) {
                let before = std::mem::replace(&mut entry.shown, Arc::clone(&shown));
                self.no_longer_offered(&before, shown.device().map(|device| &device.name));
            }
        }
        std::mem::take(&mut self.dirty.view)
    }
}

#[cfg(test)]
mod tests;
