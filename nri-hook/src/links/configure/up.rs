//! The interface's state.

use network_driver_common::fail::{self, Point};
use network_driver_netlink::{LinkChange, Socket};

use super::{Configurator, ConfigureError, Interface, Seen};

/// Sets the interface up. Whether there is a carrier is not ours to say.
pub(super) struct SetUp;

impl Configurator for SetUp {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let change = LinkChange {
            up: Some(true),
            ..LinkChange::default()
        };
        socket
            .change_link(interface.link.index, &change)
            .map_err(ConfigureError::new("set it up"))?;
        fail::pass(Point::AttachUp);
        Ok(())
    }

    fn verify(&self, _: &Interface<'_>, seen: &Seen) -> Option<String> {
        (!seen.link.flags.up()).then(|| "is down".to_owned())
    }
}
