//! Giving a link another name.

use network_driver_common::model::IfName;
use network_driver_netlink::{Link, LinkChange, RequestError, Socket};

/// Renames the link. One that is up goes down for it, since kernels up to 6.1 refuse it otherwise.
pub(crate) fn rename(socket: &mut Socket, link: &Link, name: &IfName) -> Result<(), RequestError> {
    if link.flags.up() {
        let down = LinkChange {
            up: Some(false),
            ..LinkChange::default()
        };
        socket.change_link(link.index, &down)?;
    }
    let change = LinkChange {
        name: Some(name.clone()),
        ..LinkChange::default()
    };
    socket.change_link(link.index, &change)
}
