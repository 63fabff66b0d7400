//! The interface's name. The move gives it already; this is for an interface that an earlier attach left behind.

use network_driver_netlink::{LinkChange, Socket};

use super::{ConfigureError, Configurator, Interface, Seen};

/// Gives the wanted name.
pub(super) struct Rename;

impl Configurator for Rename {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        if interface.link.name == *interface.name {
            return Ok(());
        }
        // Kernels up to 6.1 refuse to rename a link that is up.
        let change = LinkChange {
            up: Some(false),
            name: Some(interface.name.clone()),
            ..LinkChange::default()
        };
        let step = format!("rename {} to {}", interface.link.name, interface.name);
        socket
            .change_link(interface.link.index, &change)
            .map_err(ConfigureError::new(step))
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        (seen.link.name != *interface.name).then(|| format!("is called {}", seen.link.name))
    }
}
