//! Finding a device's link: by our mark anywhere, by its identity at home, and elsewhere by what of its identity can be
//! seen there (sysfs shows the links of home only, so it cannot tell the ports of one card apart in a pod).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use network_driver_common::model::{
    ClaimUid, Device, DriverName, HardwareAddress, LinkIdentity, PciAddress,
};
use network_driver_netlink::Link;

use super::mark::Mark;

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
            let files = files_of(link);
            let address_of =
                || pci_address(link).or_else(|| pci_function(&files.as_ref()?.join("device")));
            !is_representor(link)
                && address_of() == Some(*address)
                && dev_port_of(files.as_deref()) == *dev_port
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

/// A port of a card's switch that stands for a function behind it (`pf0vf3`, `c1pf0sf88`, `pf0`, but not `p0`): it
/// shares the card's address.
fn is_representor(link: &Link) -> bool {
    let name = link.phys_port_name.as_deref().unwrap_or_default();
    let behind_controller = name
        .strip_prefix('c')
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    behind_controller.unwrap_or(name).starts_with("pf")
}

/// Where the link's PCI function sits, as netlink tells in any namespace.
fn pci_address(link: &Link) -> Option<PciAddress> {
    let parent = link.bus.as_ref()?;
    match parent.bus.as_str() {
        "pci" => parent.name.parse().ok(),
        "virtio" => pci_function(&Path::new("/sys/bus/virtio/devices").join(&parent.name)),
        _ => None,
    }
}

/// The PCI function that a device's folder is, or is right below: a virtio device is a child of its function.
fn pci_function(device: &Path) -> Option<PciAddress> {
    let device = fs::canonicalize(device).ok()?;
    let named = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    let is_virtio = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("virtio"))
    };
    let above = device.parent().filter(|_| is_virtio(&device));
    named(&device).or_else(|| named(above?))
}

/// The folder of a link at home; `None` when sysfs shows another namespace's link of that name.
fn files_of(link: &Link) -> Option<PathBuf> {
    let files = Path::new("/sys/class/net").join(OsStr::from_bytes(link.name.as_bytes()));
    (number(&files, "ifindex") == Some(link.index)).then_some(files)
}

/// Which port of its function a link at home is; 0 when sysfs does not say.
fn dev_port_of(files: Option<&Path>) -> u32 {
    files
        .and_then(|files| number(files, "dev_port"))
        .unwrap_or_default()
}

fn number(files: &Path, name: &str) -> Option<u32> {
    let text = fs::read_to_string(files.join(name)).ok()?;
    text.trim().parse().ok()
}
