//! Finding a device's link: by our mark anywhere, by its identity at home, and elsewhere by what of its identity can be
//! seen there (sysfs shows the links of home only, so it cannot tell the ports of one card apart in a pod).

use std::path::Path;

use network_driver_common::model::{
    ClaimUid, Device, DriverName, HardwareAddress, LinkIdentity, Mark, PciAddress,
};
use network_driver_netlink::Link;
use network_driver_netlink::sysfs::Sysfs;

/// The link at home that is the device and has never left.
pub(crate) fn at_home<'a>(links: &'a [Link], identity: &LinkIdentity) -> Option<&'a Link> {
    let found = links.iter().filter(|link| is(link, identity));
    // A function may have several links on one port; the first by name is the one that is offered.
    found.min_by_key(|link| &link.name)
}

/// The link that carries our mark for this device and claim. A pod may write marks too, so a mark is believed only of a
/// link that can be the device, and of two such of the one that resembles it.
pub(crate) fn marked<'a>(
    links: &'a [Link],
    driver: &DriverName,
    claim: &ClaimUid,
    device: &Device,
) -> Option<&'a Link> {
    let is_ours = |link: &&Link| {
        Mark::from_alias(driver, &link.alias)
            .is_some_and(|mark| mark.claim == *claim && mark.device == device.name)
    };
    let identity = &device.identity;
    let mut marked = links.iter().filter(is_ours);
    let mut possible = marked.clone().filter(|link| can_be(link, identity));
    marked
        .find(|link| resembles(link, identity))
        .or_else(|| possible.next())
}

/// The one link that looks like the device, as far as can be seen from any network namespace and under any name: for a
/// link that left home and whose mark was not written yet, or was taken away in the pod.
pub(crate) fn resembling<'a>(
    links: &'a [Link],
    driver: &DriverName,
    identity: &LinkIdentity,
) -> Option<&'a Link> {
    only(links, |link| {
        resembles(link, identity) && Mark::from_alias(driver, &link.alias).is_none()
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
        LinkIdentity::Pci { address, dev_port } => {
            !link.is_representor()
                && sysfs().pci_address(link) == Some(*address)
                && sysfs().files(link).dev_port() == *dev_port
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
            !link.is_representor() && pci_address(link) == Some(*address)
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

/// What no pod can change about a link. Kernels before 5.14 do not say which device hardware belongs to.
fn can_be(link: &Link, identity: &LinkIdentity) -> bool {
    match identity {
        LinkIdentity::Pci { .. } if link.bus.is_none() => link.kind.is_none(),
        LinkIdentity::Pci { .. } => resembles(link, identity),
        LinkIdentity::Other { kind, .. } => has_kind(link, kind),
    }
}

fn has_kind(link: &Link, kind: &str) -> bool {
    link.kind.as_deref().unwrap_or_default() == kind
}

/// Where the link's PCI function sits, in whatever namespace the link is.
pub(crate) fn pci_address(link: &Link) -> Option<PciAddress> {
    link.bus.as_ref()?;
    sysfs().pci_address(link)
}

/// The mount that every process has. It shows the links of home and the devices of the machine.
fn sysfs() -> Sysfs {
    Sysfs::new(Path::new("/sys"))
}
