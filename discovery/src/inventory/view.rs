//! What the inventory shows to the outside: an immutable picture, cheap to take since unchanged parts are shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use network_driver_common::model::{Device, DeviceFault, DeviceName, IfName, Protected};
use network_driver_common::telemetry::Stretch;
use network_driver_netlink::Link;

use super::{InUse, Inventory};

/// A device, and why it does not work.
type Published<'a> = (&'a Arc<Device>, Option<&'a DeviceFault>);

/// The inventory at one time.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// All links at home, by ifindex.
    pub links: Vec<Arc<LinkView>>,
    /// Devices in use, also those whose link is away.
    pub in_use: Arc<BTreeMap<DeviceName, InUse>>,
    /// Whether a list of devices in use has been received since start.
    pub in_use_known: bool,
    /// What the node's own traffic depends on.
    pub protected: Protected,
    /// How many times since start a device ceased to be there or to work: a rise is urgent news for a scheduler.
    pub losses: u64,
    /// The reading of the node that it came of.
    pub reading: Reading,
}

/// How the node was read, for the trace of what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// What led to it: a trigger of a whole reading, or `event` or `in_use` of a change; empty before the first.
    pub trigger: &'static str,
    /// Kernel events since start.
    pub events: u64,
    /// When links were last read or events taken in.
    pub scan: Option<Stretch>,
    /// When it was last found out which links carry the node's own traffic.
    pub protect: Option<Stretch>,
}

/// A link as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkView {
    /// Its name.
    pub name: IfName,
    /// Its number.
    pub index: u32,
    /// Its kernel kind; empty for hardware.
    pub kind: String,
    /// Whether it is offered.
    pub offered: Offered,
}

/// Whether a link is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// It is, as this device.
    As(Arc<Device>),
    /// It is not.
    No {
        /// Why: a phrase that follows its name.
        reason: String,
        /// Whether it is the node's own traffic that forbids it.
        protected: bool,
    },
}

/// How many links there are of each sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Offered and free.
    pub offered: usize,
    /// Protected: the uplink and all joined to it.
    pub protected: usize,
    /// Not offered for another reason.
    pub filtered: usize,
    /// Held by a claim.
    pub in_use: usize,
}

impl LinkView {
    /// A link that has not been judged.
    pub(super) fn unjudged(link: &Link) -> Self {
        Self {
            name: link.name.clone(),
            index: link.index,
            kind: link.kind.clone().unwrap_or_default(),
            offered: Offered::No {
                reason: "has not been looked at yet".to_owned(),
                protected: false,
            },
        }
    }

    /// The device it is offered as.
    pub fn device(&self) -> Option<&Arc<Device>> {
        match &self.offered {
            Offered::As(device) => Some(device),
            Offered::No { .. } => None,
        }
    }
}

impl View {
    /// The devices to publish, each once: those offered, and those in use as they were when their claim was prepared.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<Device>> {
        let offered = self.links.iter().filter_map(|link| link.device());
        let free = offered.filter(|device| !self.in_use.contains_key(&device.name));
        free.chain(self.in_use.values().map(|used| &used.device))
    }

    /// Whether the same is published of both.
    pub fn publishes_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.published(), other.published());
        let alike = |((one, fault), (other, other_fault)): (Published<'_>, Published<'_>)| {
            (Arc::ptr_eq(one, other) || one == other) && fault == other_fault
        };
        self.in_use_known == other.in_use_known
            && ours.len() == theirs.len()
            && ours.into_values().zip(theirs.into_values()).all(alike)
    }

    /// What is published of each device, in the order of names.
    fn published(&self) -> BTreeMap<&DeviceName, Published<'_>> {
        let published = self.devices().map(|device| {
            let used = self.in_use.get(&device.name);
            let fault = used.and_then(|used| used.fault.as_ref());
            (&device.name, (device, fault))
        });
        published.collect()
    }

    /// How many links there are of each sort.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            in_use: self.in_use.len(),
            ..Counts::default()
        };
        for link in &self.links {
            let count = match &link.offered {
                Offered::As(device) if self.in_use.contains_key(&device.name) => continue,
                Offered::As(_) => &mut counts.offered,
                Offered::No {
                    protected: true, ..
                } => &mut counts.protected,
                Offered::No { .. } => &mut counts.filtered,
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}

impl Inventory {
    /// The inventory as it was last settled.
    pub fn view(&self) -> View {
        View {
            links: self.links.values().map(|e| Arc::clone(&e.shown)).collect(),
            in_use: Arc::clone(&self.in_use),
            in_use_known: self.in_use_known,
            protected: self.protected.clone(),
            losses: self.losses,
            reading: Reading::default(),
        }
    }
}
