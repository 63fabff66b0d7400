//! The interface's name. The move gives it; a kernel that gave another one is corrected.

use network_driver_netlink::Socket;

use super::{Configurator, ConfigureError, Interface, Seen};
use crate::links::rename::rename;

/// Gives the wanted name.
pub(super) struct Rename;

impl Configurator for Rename {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        let Interface { link, name, .. } = interface;
        if link.name == **name {
            return Ok(());
        }
        let step = format!("rename {} to {name}", link.name);
        rename(socket, link, name).map_err(ConfigureError::new(step))
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        (seen.link.name != *interface.name).then(|| format!("is called {}", seen.link.name))
    }
}
