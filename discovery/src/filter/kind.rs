//! What a link is: kinds and memberships that are not offered.

use super::{Candidate, DeviceFilter, Verdict};

/// Kinds that the kernel never moves to another namespace (`NETIF_F_NETNS_LOCAL`), for kernels before 6.14, which do
/// not say so in their messages.
const IMMOVABLE: [&str; 6] = ["bridge", "bond", "team", "vrf", "hsr", "batadv"];

/// Hides loopback.
#[derive(Debug)]
pub(super) struct Loopback;

impl DeviceFilter for Loopback {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        Verdict::hide_if(candidate.link.flags.loopback(), "is the loopback link")
    }
}

/// Hides what cannot leave its namespace.
#[derive(Debug)]
pub(super) struct Immovable;

impl DeviceFilter for Immovable {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        let kind = candidate.link.kind.as_deref();
        match kind.filter(|kind| IMMOVABLE.contains(kind)) {
            Some(kind) => Verdict::hide(format!(
                "is {}, which cannot be moved to another network namespace",
                with_article(kind)
            )),
            None => Verdict::hide_if(
                candidate.link.netns_immutable,
                "cannot be moved to another network namespace",
            ),
        }
    }
}

/// Hides what works for another link.
#[derive(Debug)]
pub(super) struct Port;

impl DeviceFilter for Port {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        let Some(index) = candidate.link.master else {
            return Verdict::Advertise;
        };
        let relation = match candidate.link.slave_kind.as_deref() {
            Some(kind @ ("bridge" | "bond" | "team")) => format!("is a port of {kind}"),
            Some("vrf") => "is in VRF".to_owned(),
            _ => "belongs to".to_owned(),
        };
        Verdict::hide(match candidate.master {
            Some(master) => format!("{relation} {}", master.name),
            None => format!("{relation} link {index}"),
        })
    }
}

/// Hides what stands for something else: a representor of a card in switchdev mode, or a second link of one port.
#[derive(Debug)]
pub(super) struct Representor;

impl DeviceFilter for Representor {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        let port = candidate.link.phys_port_name.as_deref();
        match (
            port.filter(|_| candidate.link.is_representor()),
            candidate.twin,
        ) {
            (Some(port), _) => Verdict::hide(format!(
                "is the representor of {port} and works for it from here"
            )),
            (None, Some(twin)) => Verdict::hide(format!("is on the same port of a card as {twin}")),
            (None, None) => Verdict::Advertise,
        }
    }
}

/// Hides virtual links but for those kinds that the operator offers.
#[derive(Debug)]
pub(super) struct Virtual {
    pub(super) offered: Vec<String>,
}

impl DeviceFilter for Virtual {
    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        if !candidate.is_virtual {
            return Verdict::Advertise;
        }
        match &candidate.link.kind {
            Some(kind) if self.offered.contains(kind) => Verdict::Advertise,
            Some(kind) => Verdict::hide(format!(
                "is {} (virtual kinds are not offered; see --offer-kinds)",
                with_article(kind)
            )),
            None => Verdict::hide("is virtual: no device stands behind it"),
        }
    }
}

fn with_article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {kind}")
}
