//! Speed and duplex. Without carrier most drivers refuse the read (EINVAL) or say -1: then there is no attribute.

use network_driver_common::model::AttributeValue;

use super::{AttributeProvider, Draft};
use network_driver_netlink::sysfs::LinkFiles;

/// `speed` in Mbit/s and `duplex`.
#[derive(Debug)]
pub(super) struct SpeedAttributes;

impl AttributeProvider for SpeedAttributes {
    fn sample(&self, draft: &mut Draft) {
        draft.set("speed", AttributeValue::Int(25_000));
        draft.set_text("duplex", "full");
    }

    fn of_files_with_carrier(&self, files: &LinkFiles, draft: &mut Draft) {
        if let Some(speed) = files.link_number("speed").filter(|speed| *speed > 0) {
            draft.set("speed", AttributeValue::Int(speed));
        }
        if let Some(duplex) = files.link_text("duplex").filter(|text| text != "unknown") {
            draft.set_text("duplex", &duplex);
        }
    }
}
