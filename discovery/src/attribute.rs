//! What is said of a device: the list of those who say it, and how their words are gathered within the API's limits.
//!
//! A new attribute is one file with an [`AttributeProvider`] and one line in [`providers`]:
//!
//! ```
//! use network_driver_common::model::AttributeValue;
//! use network_driver_discovery::attribute::{AttributeProvider, Draft, Subject};
//!
//! /// Publishes `mtuBits`, the MTU in bits.
//! #[derive(Debug)]
//! struct MtuBits;
//!
//! impl AttributeProvider for MtuBits {
//!     fn sample(&self, draft: &mut Draft) {
//!         draft.set("mtuBits", AttributeValue::Int(12_000));
//!     }
//!
//!     fn of_link(&self, subject: &Subject<'_>, draft: &mut Draft) {
//!         let bits = i64::from(subject.link.mtu).saturating_mul(8);
//!         draft.set("mtuBits", AttributeValue::Int(bits));
//!     }
//! }
//! ```

mod address;
mod link;
mod pci;
mod speed;
mod sriov;

use std::fmt::Debug;

use ipnet::IpNet;
use network_driver_common::model::{
    AttributeName, AttributeValue, Attributes, MAX_ATTRIBUTES, PciAddress,
};
use network_driver_netlink::Link;
use network_driver_netlink::sysfs::{LinkFiles, Sysfs};

/// Says something about devices. Total: a fact that cannot be had is an attribute that is absent, never a failure.
pub trait AttributeProvider: Debug + Send + Sync {
    /// One of every attribute that it can give: what conditions are tried on when they are made.
    fn sample(&self, draft: &mut Draft);

    /// What follows from the kernel's messages. Called at each change of the link: must not touch files.
    fn of_link(&self, _subject: &Subject<'_>, _draft: &mut Draft) {}

    /// What stands in files. Called once for each link, on a blocking thread.
    fn of_files(&self, _files: &LinkFiles, _draft: &mut Draft) {}

    /// As [`of_files`](Self::of_files), called again whenever the link's carrier comes or goes.
    fn of_files_with_carrier(&self, _files: &LinkFiles, _draft: &mut Draft) {}
}

/// All providers. The order decides who is dropped when a device would have more than 32 attributes: the last.
pub fn providers() -> Vec<Box<dyn AttributeProvider>> {
    vec![
        Box::new(link::LinkAttributes),
        Box::new(address::AddressAttributes),
        Box::new(pci::PciAttributes),
        Box::new(speed::SpeedAttributes),
        Box::new(sriov::SriovAttributes),
    ]
}

/// A link as netlink shows it, and what is around it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The link.
    pub link: &'a Link,
    /// Its addresses, in a stable order.
    pub addresses: &'a [IpNet],
    /// The link it is made on, if that is in this namespace.
    pub parent: Option<&'a Link>,
    /// Whether no device stands behind it.
    pub is_virtual: bool,
}

/// What files say of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The PCI function behind it and which of its ports the link is.
    pub pci: Option<(PciAddress, u32)>,
    /// Whether a device stands behind it.
    pub has_device: bool,
    /// Attributes that stay.
    lasting: Draft,
    /// Attributes that may change with the carrier.
    with_carrier: Draft,
}

impl Facts {
    /// Reads the files of a link. Blocks.
    pub fn read(sysfs: &Sysfs, providers: &[Box<dyn AttributeProvider>], link: &Link) -> Self {
        let files = sysfs.files(link);
        let mut facts = Self {
            pci: files.pci().map(|pci| (pci.address, files.dev_port())),
            has_device: files.has_device(),
            ..Self::default()
        };
        for provider in providers {
            provider.of_files(&files, &mut facts.lasting);
            provider.of_files_with_carrier(&files, &mut facts.with_carrier);
        }
        facts
    }

    /// The same facts with those read again that may change with the carrier. Blocks.
    #[must_use]
    pub fn refreshed(
        &self,
        sysfs: &Sysfs,
        providers: &[Box<dyn AttributeProvider>],
        link: &Link,
    ) -> Self {
        let files = sysfs.files(link);
        let mut facts = self.clone();
        facts.with_carrier = Draft::default();
        for provider in providers {
            provider.of_files_with_carrier(&files, &mut facts.with_carrier);
        }
        facts
    }
}

/// All attributes of a device, at most 32.
pub fn attributes(
    providers: &[Box<dyn AttributeProvider>],
    subject: &Subject<'_>,
    facts: &Facts,
) -> Attributes {
    let mut draft = Draft::default();
    for provider in providers {
        provider.of_link(subject, &mut draft);
    }
    draft.0.extend(facts.lasting.0.iter().cloned());
    draft.0.extend(facts.with_carrier.0.iter().cloned());
    draft.finish()
}

/// Every attribute that there is, each with a value it could have.
pub fn sample(providers: &[Box<dyn AttributeProvider>]) -> Attributes {
    let mut draft = Draft::default();
    for provider in providers {
        provider.sample(&mut draft);
    }
    draft.finish()
}

/// Attributes in the order in which they were said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft(Vec<(AttributeName, AttributeValue)>);

impl Draft {
    /// Says something. A name that the API would refuse is left out, with a warning: it would refuse the whole slice.
    pub fn set(&mut self, name: &str, value: AttributeValue) {
        match name.parse() {
            Ok(name) => self.0.push((name, value)),
            Err(error) => tracing::warn!(err = %error, "attribute left out"),
        }
    }

    /// Says a text, unless it is empty.
    pub fn set_text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, AttributeValue::text(value));
        }
    }

    fn finish(self) -> Attributes {
        let mut attributes = Attributes::new();
        for (name, value) in self.0 {
            if attributes.len() < MAX_ATTRIBUTES || attributes.contains_key(&name) {
                attributes.insert(name, value);
            } else {
                tracing::warn!(attribute = %name, "attribute left out: a device may have 32");
            }
        }
        attributes
    }
}

#[cfg(test)]
pub(crate) mod tests;
