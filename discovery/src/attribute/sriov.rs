//! What SR-IOV makes of a function: a physical one with its virtual ones, or a virtual one with its physical one.

use network_driver_common::model::AttributeValue;

use super::{AttributeProvider, Draft};
use network_driver_netlink::sysfs::LinkFiles;

/// On a physical function `sriovTotalVfs` (how many it can have) and `sriovVfs` (how many it has); on a virtual one
/// `sriovPfAddress` (PCI address of its physical function) and `sriovVf` (its number there, from 0).
#[derive(Debug)]
pub(super) struct SriovAttributes;

impl AttributeProvider for SriovAttributes {
    fn sample(&self, draft: &mut Draft) {
        draft.set("sriovTotalVfs", AttributeValue::Int(8));
        draft.set("sriovVfs", AttributeValue::Int(0));
        draft.set_text("sriovPfAddress", "0000:41:00.0");
        draft.set("sriovVf", AttributeValue::Int(0));
    }

    fn of_files(&self, files: &LinkFiles, draft: &mut Draft) {
        let Some(pci) = files.pci() else {
            return;
        };
        if let Some(total) = pci.number("sriov_totalvfs") {
            draft.set("sriovTotalVfs", AttributeValue::Int(total));
        }
        if let Some((address, number)) = pci.physical_function() {
            draft.set_text("sriovPfAddress", &address.to_string());
            if let Some(number) = number {
                draft.set("sriovVf", AttributeValue::Int(number));
            }
        }
    }

    /// Changes while the link stays; making or removing virtual functions is seen with the next event or audit.
    fn of_files_with_carrier(&self, files: &LinkFiles, draft: &mut Draft) {
        if let Some(number) = files.pci().and_then(|pci| pci.number("sriov_numvfs")) {
            draft.set("sriovVfs", AttributeValue::Int(number));
        }
    }
}
