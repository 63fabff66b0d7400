//! The interface's MTU.

use network_driver_common::model::Mtu;
use network_driver_netlink::{LinkChange, Socket};

use super::{Configurator, ConfigureError, Interface, Seen};

/// Sets the wanted MTU.
pub(super) struct SetMtu;

impl Configurator for SetMtu {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let Some(mtu) = wanted(interface).filter(|mtu| *mtu != interface.link.mtu) else {
            return Ok(());
        };
        let change = LinkChange {
            mtu: Some(mtu),
            ..LinkChange::default()
        };
        socket
            .change_link(interface.link.index, &change)
            .map_err(ConfigureError::new(format!("set MTU {mtu}")))
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        let mtu = wanted(interface)?;
        (seen.link.mtu != mtu).then(|| format!("has MTU {} instead of {mtu}", seen.link.mtu))
    }
}

fn wanted(interface: &Interface<'_>) -> Option<u32> {
    interface.attachment.config.mtu.map(Mtu::get)
}
