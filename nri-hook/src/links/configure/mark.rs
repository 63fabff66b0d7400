//! The alias that says whose the link is, and its name.
//!
//! Both in one request: the kernel takes the name first, and refuses it for any other link than the one that has it. So
//! the request is also the proof that the index, which a move may change, is that of our link.

use network_driver_common::model::Mark;
use network_driver_netlink::{LinkChange, Socket};

use super::{Configurator, ConfigureError, Interface, Seen};

/// Writes our mark.
pub(super) struct SetMark;

impl Configurator for SetMark {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let change = LinkChange {
            name: Some(interface.name.clone()),
            alias: Some(alias(interface)),
            ..LinkChange::default()
        };
        socket
            .change_link(interface.link.index, &change)
            .map_err(ConfigureError::new("write the driver's mark"))
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        if seen.link.name != *interface.name {
            Some(format!("is called {}", seen.link.name))
        } else if seen.link.alias != alias(interface) {
            Some("does not carry the driver's mark".to_owned())
        } else {
            None
        }
    }
}

fn alias(interface: &Interface<'_>) -> Vec<u8> {
    let mark = Mark {
        claim: interface.claim.clone(),
        device: interface.attachment.device.name.clone(),
        home_name: interface.home_name.clone(),
    };
    mark.to_alias(interface.driver)
}
