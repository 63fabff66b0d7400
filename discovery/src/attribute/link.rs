//! What rtnetlink says of the link itself. Counters and times are left out: they would make each slice a new one.

use network_driver_common::model::AttributeValue::{self, Bool, Int};

use super::{AttributeProvider, Draft, Subject};

/// `ifName`, `kind`, `mac`, `mtu`, `up`, `running`, `carrier`, `broadcast`, `multicast`, `state`, `virtual`, `parent`,
/// `altNames`.
#[derive(Debug)]
pub(super) struct LinkAttributes;

impl AttributeProvider for LinkAttributes {
    fn sample(&self, draft: &mut Draft) {
        for (name, text) in [
            ("ifName", "eth0"),
            ("kind", "physical"),
            ("mac", "02:00:00:00:00:01"),
            ("state", "up"),
            ("parent", "eth1"),
            ("altNames", "enp65s0"),
        ] {
            draft.set_text(name, text);
        }
        for name in [
            "up",
            "running",
            "carrier",
            "broadcast",
            "multicast",
            "virtual",
        ] {
            draft.set(name, Bool(true));
        }
        draft.set("mtu", Int(1500));
    }

    fn of_link(&self, subject: &Subject<'_>, draft: &mut Draft) {
        let link = subject.link;
        draft.set_text("ifName", &link.name.to_string());
        draft.set_text("kind", link.kind.as_deref().unwrap_or("physical"));
        draft.set_text("mac", &link.hardware_address.to_string());
        draft.set("mtu", Int(link.mtu.into()));
        draft.set("up", Bool(link.flags.up()));
        draft.set("running", Bool(link.flags.running()));
        draft.set("carrier", Bool(link.carrier));
        draft.set("broadcast", Bool(link.flags.broadcast()));
        draft.set("multicast", Bool(link.flags.multicast()));
        draft.set_text("state", link.operstate.as_str());
        draft.set("virtual", Bool(subject.is_virtual));
        if let Some(parent) = subject.parent {
            draft.set_text("parent", &parent.name.to_string());
        }
        let mut names: Vec<_> = link.altnames.iter().collect();
        names.sort_unstable();
        if !names.is_empty() {
            let names = names.iter().map(|name| String::from_utf8_lossy(name));
            draft.set("altNames", AttributeValue::list(names));
        }
    }
}
