//! What is offered and what is not, each with a reason that a person understands.
//!
//! Filters are asked in order; the first that hides decides. They cannot fail: what could be wrong with a rule is found
//! when it is made, at start. A new filter is one file with a [`DeviceFilter`] and one line in [`filters`]:
//!
//! ```
//! use network_driver_discovery::filter::{Candidate, DeviceFilter, Verdict};
//!
//! /// Hides links with small packets.
//! #[derive(Debug)]
//! struct SmallMtu;
//!
//! impl DeviceFilter for SmallMtu {
//!     fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
//!         match candidate.link.mtu {
//!             0..1280 => Verdict::Hide("has an MTU below 1280".into()),
//!             _ => Verdict::Advertise,
//!         }
//!     }
//! }
//! ```

pub mod cel;
mod kind;
mod mark;
mod name;
mod quarantine;
mod state;
mod uplink;

use std::borrow::Cow;
use std::cell::LazyCell;
use std::fmt::Debug;

use network_driver_common::model::{Device, DriverName, IfName, Quarantine};
use network_driver_netlink::Link;
use network_driver_netlink::uplink::UplinkReason;

pub use cel::CelFilter;
pub use name::NamePattern;

/// Decides whether a device is offered.
pub trait DeviceFilter: Debug + Send + Sync {
    /// The decision on one candidate.
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict;
}

/// Decision of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As far as this filter is concerned, offer it.
    Advertise,
    /// Do not offer it; the reason is a phrase that follows the link's name.
    Hide(Cow<'static, str>),
}

impl Verdict {
    fn hide(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Hide(reason.into())
    }

    fn hide_if(hidden: bool, reason: &'static str) -> Self {
        if hidden {
            Self::hide(reason)
        } else {
            Self::Advertise
        }
    }
}

/// A link that might be offered.
pub struct Candidate<'a> {
    /// The link.
    pub link: &'a Link,
    /// Its master, if it is in this namespace.
    pub master: Option<&'a Link>,
    /// Whether no device stands behind it.
    pub is_virtual: bool,
    /// Why it is protected, if it is.
    pub uplink: Option<&'a UplinkReason>,
    /// Why it is in quarantine, if it is.
    pub quarantine: Option<&'a Quarantine>,
    /// The link that is offered under the PCI function that this one belongs to as well.
    pub twin: Option<&'a IfName>,
    /// What it would be offered as; made when it is first asked for.
    pub device: LazyCell<Device, Box<dyn FnOnce() -> Device + 'a>>,
}

impl Debug for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Candidate");
        out.field("link", &self.link.name).finish_non_exhaustive()
    }
}

/// What an operator says about what is offered.
#[derive(Debug, Default)]
pub struct Offer {
    /// Offer links that are down or have no carrier.
    pub down: bool,
    /// Kernel kinds of virtual links to offer.
    pub kinds: Vec<String>,
    /// Patterns of names not to offer.
    pub hidden_names: Vec<NamePattern>,
    /// Condition that a device must meet.
    pub condition: Option<CelFilter>,
}

/// All filters, in the order in which they are asked: what must never be offered first, what is costly to ask last.
pub fn filters(driver: &DriverName, offer: Offer) -> Vec<Box<dyn DeviceFilter>> {
    let mut filters: Vec<Box<dyn DeviceFilter>> = vec![
        Box::new(kind::Loopback),
        Box::new(uplink::Uplink),
        Box::new(quarantine::Quarantined),
        Box::new(mark::Marked(driver.clone())),
        Box::new(kind::Immovable),
        Box::new(kind::Port),
        Box::new(kind::Representor),
        Box::new(kind::Virtual {
            offered: offer.kinds,
        }),
        Box::new(name::HiddenNames(offer.hidden_names)),
    ];
    if !offer.down {
        filters.push(Box::new(state::Down));
    }
    if let Some(condition) = offer.condition {
        filters.push(Box::new(condition));
    }
    filters
}

/// The decision of all filters.
pub fn verdict(filters: &[Box<dyn DeviceFilter>], candidate: &Candidate<'_>) -> Verdict {
    let verdicts = filters.iter().map(|filter| filter.verdict(candidate));
    let mut hidden = verdicts.filter(|verdict| *verdict != Verdict::Advertise);
    hidden.next().unwrap_or(Verdict::Advertise)
}

#[cfg(test)]
mod tests;
