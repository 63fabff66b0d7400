//! The files of a link under `/sys`: which device it belongs to and what that device says of itself.
//!
//! Read once for each link, on a blocking thread, since some files take the lock that every namespace move holds.
//! Whatever cannot be read is a fact that is absent.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use network_driver_common::model::PciAddress;

use crate::Link;

/// More than any file of sysfs that is read here holds.
const MAX_FILE_BYTES: u64 = 4096;

/// A mounted sysfs, or a folder that looks like one.
#[derive(Debug, Clone)]
pub struct Sysfs {
    root: PathBuf,
}

/// The files of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFiles {
    /// `/sys/class/net/<link>`; `None` when sysfs shows another namespace.
    net: Option<PathBuf>,
    /// Real path of the device behind the link.
    device: Option<PathBuf>,
    /// The PCI function behind the link.
    pci: Option<PciFunction>,
}

/// A PCI function that a link belongs to, directly or through a virtio device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciFunction {
    /// Where it sits.
    pub address: PciAddress,
    /// Its folder, as a real path.
    pub directory: PathBuf,
}

impl Sysfs {
    /// A sysfs mounted at `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Finds the files of a link. The device's folder is found by its bus address where netlink gives one (Linux
    /// 5.14), so that it does not matter whose namespace the mount shows.
    pub fn files(&self, link: &Link) -> LinkFiles {
        let class = self.root.join("class/net");
        let net = Some(class.join(OsStr::from_bytes(link.name.as_bytes())))
            .filter(|net| is_of_link(net, link));
        let by_bus = link.bus.as_ref().and_then(|parent| {
            let devices = self.root.join("bus").join(&parent.bus).join("devices");
            devices.join(&parent.name).canonicalize().ok()
        });
        let by_link = || net.as_ref()?.join("device").canonicalize().ok();
        let device = by_bus.or_else(by_link);
        let pci = device.as_deref().and_then(pci_function);
        LinkFiles { net, device, pci }
    }

    /// Where the link's PCI function sits: as netlink tells, else as the files do.
    pub fn pci_address(&self, link: &Link) -> Option<PciAddress> {
        let parent = link.bus.as_ref().filter(|parent| parent.bus == "pci");
        parent
            .and_then(|parent| parent.name.parse().ok())
            .or_else(|| self.files(link).pci().map(|pci| pci.address))
    }
}

/// Whether a folder of `class/net` is that of the link and not of another namespace's link of the same name.
fn is_of_link(net: &Path, link: &Link) -> bool {
    net.is_dir() && number(net, "ifindex").is_none_or(|index| index == i64::from(link.index))
}

/// The PCI function of a device's folder: the folder itself, or the one above a virtio device's. Nothing further up:
/// a USB adapter is not its controller.
fn pci_function(device: &Path) -> Option<PciFunction> {
    let named = |path: &Path| {
        let address = path.file_name()?.to_str()?.parse().ok()?;
        let directory = path.to_owned();
        Some(PciFunction { address, directory })
    };
    let is_virtio = || {
        let name = device.file_name()?.to_str()?;
        name.starts_with("virtio").then_some(())
    };
    named(device).or_else(|| is_virtio().and_then(|()| named(device.parent()?)))
}

impl LinkFiles {
    /// Whether a device stands behind the link.
    pub fn has_device(&self) -> bool {
        self.device.is_some()
    }

    /// The PCI function behind the link.
    pub fn pci(&self) -> Option<&PciFunction> {
        self.pci.as_ref()
    }

    /// A whole number from a file of the link, `/sys/class/net/<link>/<name>`.
    pub fn link_number(&self, name: &str) -> Option<i64> {
        number(self.net.as_deref()?, name)
    }

    /// Text from a file of the link.
    pub fn link_text(&self, name: &str) -> Option<String> {
        text(self.net.as_deref()?, name)
    }

    /// Which port of its function the link is (`dev_port`); 0 when sysfs does not say.
    pub fn dev_port(&self) -> u32 {
        let port = self.link_number("dev_port").unwrap_or_default();
        u32::try_from(port).unwrap_or_default()
    }

    /// Name of the kernel driver of the device behind the link.
    pub fn driver(&self) -> Option<String> {
        target_name(self.device.as_deref()?, "driver")
    }
}

impl PciFunction {
    /// A whole number from a file of the function.
    pub fn number(&self, name: &str) -> Option<i64> {
        number(&self.directory, name)
    }

    /// Text from a file of the function.
    pub fn text(&self, name: &str) -> Option<String> {
        text(&self.directory, name)
    }

    /// Name of what a symbolic link of the function points to.
    pub fn target(&self, name: &str) -> Option<String> {
        target_name(&self.directory, name)
    }

    /// The root complex above the function, such as `pci0000:40`.
    pub fn root(&self) -> Option<&str> {
        let mut parts = self.directory.iter().filter_map(OsStr::to_str);
        parts.find(|part| part.starts_with("pci") && part.contains(':'))
    }

    /// For a virtual function: the physical one it belongs to, and its number there.
    pub fn physical_function(&self) -> Option<(PciAddress, Option<i64>)> {
        let physical = self.directory.join("physfn").canonicalize().ok()?;
        let address = physical.file_name()?.to_str()?.parse().ok()?;
        let entries = std::fs::read_dir(&physical).ok();
        let number = entries.into_iter().flatten().flatten().find_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("virtfn")?.parse().ok()?;
            (entry.path().canonicalize().ok()? == self.directory).then_some(number)
        });
        Some((address, number))
    }
}

fn text(directory: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = File::open(directory.join(name)).ok()?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(directory: &Path, name: &str) -> Option<i64> {
    text(directory, name)?.parse().ok()
}

fn target_name(directory: &Path, name: &str) -> Option<String> {
    let target = std::fs::read_link(directory.join(name)).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}
