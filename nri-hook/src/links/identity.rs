//! Finding a device's link: at home by its identity, away by our mark first, for a mark tells two links of one card
//! apart where sysfs cannot be asked.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use network_driver_common::model::{
    ClaimUid, Device, DriverName, HardwareAddress, IfName, LinkIdentity, PciAddress,
};
use network_driver_netlink::Link;

use super::mark::Mark;

/// The link at home that is the device and has never left.
pub(crate) fn at_home<'a>(links: &'a [Link], identity: &LinkIdentity) -> Option<&'a Link> {
    links.iter().find(|link| is(link, identity))
}

/// The device's link in a pod's network namespace, lent to the claim.
pub(crate) fn in_pod<'a>(
    links: &'a [Link],
    driver: &DriverName,
    claim: &ClaimUid,
    device: &Device,
) -> Option<&'a Link> {
    marked(links, driver, claim, device)
        .or_else(|| only(links, |link| resembles(link, &device.identity)))
}

/// The device's link at home again, perhaps under another name: a physical link comes home by itself, under the name
/// it had in the pod, when the pod's network namespace ends.
pub(crate) fn back_home<'a>(
    links: &'a [Link],
    driver: &DriverName,
    claim: &ClaimUid,
    device: &Device,
) -> Option<&'a Link> {
    marked(links, driver, claim, device)
        .or_else(|| at_home(links, &device.identity))
        .or_else(|| match device.identity {
            LinkIdentity::Pci { .. } => None,
            LinkIdentity::Other { .. } => only(links, |link| resembles(link, &device.identity)),
        })
}

/// The link that carries our mark for this device and claim.
fn marked<'a>(
    links: &'a [Link],
    driver: &DriverName,
    claim: &ClaimUid,
    device: &Device,
) -> Option<&'a Link> {
    links.iter().find(|link| {
        Mark::from_alias(driver, &link.alias)
            .is_some_and(|mark| mark.claim == *claim && mark.device == device.name)
    })
}

/// The link that passes, if exactly one does.
fn only(links: &[Link], passes: impl Fn(&Link) -> bool) -> Option<&Link> {
    let mut passing = links.iter().filter(|link| passes(link));
    let first = passing.next();
    first.filter(|_| passing.next().is_none())
}

fn is(link: &Link, identity: &LinkIdentity) -> bool {
    match identity {
        LinkIdentity::Pci { dev_port, .. } => {
            resembles(link, identity) && dev_port_of(&link.name) == *dev_port
        }
        LinkIdentity::Other {
            kind,
            hardware_address,
            home_name,
        } => {
            link.name == *home_name
                && has_kind(link, kind)
                && link.hardware_address == *hardware_address
        }
    }
}

/// Whether the link may be the one, as far as can be seen from any network namespace.
fn resembles(link: &Link, identity: &LinkIdentity) -> bool {
    match identity {
        LinkIdentity::Pci { address, .. } => {
            !is_representor(link) && pci_address(link) == Some(*address)
        }
        LinkIdentity::Other {
            kind,
            hardware_address,
            ..
        } => {
            let same = |address: &HardwareAddress| address == hardware_address;
            has_kind(link, kind)
                && !hardware_address.is_unset()
                && (same(&link.hardware_address) || link.permanent_address.iter().any(same))
        }
    }
}

fn has_kind(link: &Link, kind: &str) -> bool {
    link.kind.as_deref().unwrap_or_default() == kind
}

/// A port of a card's switch that stands for a function (`pf0vf1`, `c1pf0sf88`): it shares the card's address.
fn is_representor(link: &Link) -> bool {
    link.phys_port_name.as_deref().is_some_and(|name| {
        name.contains("pf") && (name.contains("vf") || name.contains("sf"))
    })
}

/// Where the link's PCI function sits; a virtio device is a child of it.
fn pci_address(link: &Link) -> Option<PciAddress> {
    let parent = link.bus.as_ref()?;
    match parent.bus.as_str() {
        "pci" => parent.name.parse().ok(),
        "virtio" => {
            let device = fs::canonicalize(Path::new("/sys/bus/virtio/devices").join(&parent.name));
            device.ok()?.parent()?.file_name()?.to_str()?.parse().ok()
        }
        _ => None,
    }
}

/// Which port of its function a link at home is; 0 when sysfs does not say.
fn dev_port_of(name: &IfName) -> u32 {
    let link = Path::new("/sys/class/net").join(OsStr::from_bytes(name.as_bytes()));
    let text = fs::read_to_string(link.join("dev_port")).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}
