//! The PCI function behind the link and its driver.

use network_driver_common::model::AttributeValue;

use super::{AttributeProvider, Draft};
use network_driver_netlink::sysfs::LinkFiles;

/// `driver`, `pciVendor` and `pciDevice` (four hexadecimal digits), the standard `pciBusID`, `pcieRoot` and `numaNode`
/// of `resource.kubernetes.io`, and `numaNode` also under the driver's own name, where selectors written for
/// Kubernetes before 1.37 look for it. A NUMA node that the kernel does not know (-1) is absent.
#[derive(Debug)]
pub(super) struct PciAttributes;

impl AttributeProvider for PciAttributes {
    fn sample(&self, draft: &mut Draft) {
        for (name, text) in [
            ("driver", "mlx5_core"),
            ("pciVendor", "15b3"),
            ("pciDevice", "101b"),
            ("resource.kubernetes.io/pciBusID", "0000:41:00.0"),
            ("resource.kubernetes.io/pcieRoot", "pci0000:40"),
        ] {
            draft.set_text(name, text);
        }
        draft.set("numaNode", AttributeValue::Int(0));
        draft.set("resource.kubernetes.io/numaNode", AttributeValue::Int(0));
    }

    fn of_files(&self, files: &LinkFiles, draft: &mut Draft) {
        if let Some(driver) = files.driver() {
            draft.set_text("driver", &driver);
        }
        let Some(pci) = files.pci() else {
            return;
        };
        for (name, file) in [("pciVendor", "vendor"), ("pciDevice", "device")] {
            if let Some(id) = pci.text(file) {
                draft.set_text(name, id.strip_prefix("0x").unwrap_or(&id));
            }
        }
        draft.set_text("resource.kubernetes.io/pciBusID", &pci.address.to_string());
        if let Some(root) = pci.root() {
            draft.set_text("resource.kubernetes.io/pcieRoot", root);
        }
        if let Some(node) = pci.number("numa_node").filter(|node| *node >= 0) {
            draft.set("numaNode", AttributeValue::Int(node));
            draft.set("resource.kubernetes.io/numaNode", AttributeValue::Int(node));
        }
    }
}
