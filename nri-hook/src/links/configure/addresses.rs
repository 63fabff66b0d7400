//! The interface's addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use network_driver_common::fail::{self, Point};
use network_driver_common::model::SnapshotAddress;
use network_driver_netlink::Socket;

use super::{Configurator, ConfigureError, Interface, Seen};

/// `IFA_F_NODAD`: usable at once. Without it an IPv6 address cannot be bound to for a second or two after up.
const IFA_F_NODAD: u32 = 0x02;

/// Adds the wanted addresses, in the user's order.
pub(super) struct AddAddresses;

impl Configurator for AddAddresses {
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError> {
        for address in &interface.attachment.config.addresses {
            socket
                .add_address(interface.link.index, &full(address))
                .map_err(ConfigureError::new(format!("add address {address}")))?;
        }
        fail::pass(Point::AttachAddressed);
        Ok(())
    }

    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String> {
        let mut wanted = interface.attachment.config.addresses.iter();
        let missing = wanted.find(|address| seen.networks().all(|other| other != **address));
        missing.map(|address| format!("lacks address {address}"))
    }
}

/// An address for ever and of global scope, with the broadcast address that its network has.
fn full(address: &IpNet) -> SnapshotAddress {
    let broadcast = match address {
        IpNet::V4(v4) if v4.prefix_len() < 31 => Some(IpAddr::V4(v4.broadcast())),
        _ => None,
    };
    SnapshotAddress {
        address: *address,
        peer: None,
        broadcast,
        scope: 0,
        flags: if address.addr().is_ipv6() {
            IFA_F_NODAD
        } else {
            0
        },
        label: Vec::new(),
        preferred_lifetime: u32::MAX,
        valid_lifetime: u32::MAX,
        protocol: 0,
        metric: 0,
    }
}
