//! Whether a device can be lent: its link is there, is no part of the node's own network, can be moved and brought
//! back as it was, and fits what the user wants of it. Asked when a claim is prepared and again before its attach.

use ipnet::IpNet;
use network_driver_common::model::{Attachment, DriverName, IfName, Mark, Mtu, Record, Route};
use network_driver_netlink::Link;
use network_driver_proto::bus::RefusalClass;

use super::home::Home;
use super::identity;
use super::plan::{self, Names};
use super::snapshot::describe_route;

/// Least MTU of a link that speaks IPv6 (RFC 8200 §5); below it the kernel takes IPv6 off the link.
const IPV6_MIN_MTU: u32 = 1280;

/// A claim that cannot be served, and whose fault that is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    /// What the caller may do about it.
    pub(crate) class: RefusalClass,
    /// `DeviceNotFound`, `DeviceInUse`, `DeviceProtected`, `DeviceNotMovable`, `InvalidConfiguration`,
    /// `InterfaceNameConflict` or `KernelRequestFailed`.
    pub(crate) reason: &'static str,
    /// A sentence for people that names the device and the cause.
    pub(crate) message: String,
}

impl Refusal {
    /// The user or operator has to change something.
    fn user(reason: &'static str, message: String) -> Self {
        Self {
            class: RefusalClass::User,
            reason,
            message,
        }
    }

    /// It may pass by itself.
    pub(crate) fn retry(reason: &'static str, message: String) -> Self {
        Self {
            class: RefusalClass::Retry,
            reason,
            message,
        }
    }
}

/// Most addresses, routes and permanent neighbours of a link together: some 60 bytes each in a record that may have 32
/// links and must fit in a message of 4 MiB.
const MAX_KEPT: usize = 1000;

/// The name that an attachment's interface gets in the pod.
pub(crate) fn wanted_name<'a>(attachment: &'a Attachment, home_name: &'a IfName) -> &'a IfName {
    attachment.config.name.as_ref().unwrap_or(home_name)
}

/// The link of each attachment at home.
///
/// # Errors
/// The first attachment that cannot be served, or two that want one name.
pub(crate) fn check_record<'a>(
    home: &'a Home,
    driver: &DriverName,
    record: &Record,
) -> Result<Vec<&'a Link>, Refusal> {
    let links: Vec<&Link> = record
        .attachments
        .iter()
        .map(|attachment| check_attachment(home, driver, attachment))
        .collect::<Result<_, _>>()?;
    let names: Vec<_> = record
        .attachments
        .iter()
        .zip(&links)
        .map(|(attachment, link)| Names {
            device: &attachment.device.name,
            name: wanted_name(attachment, &link.name),
            altnames: &link.altnames,
        })
        .collect();
    plan::check_names(&names, [])
        .map_err(|conflict| Refusal::user("InterfaceNameConflict", conflict.to_string()))?;
    Ok(links)
}

/// The link of one attachment at home.
pub(crate) fn check_attachment<'a>(
    home: &'a Home,
    driver: &DriverName,
    attachment: &Attachment,
) -> Result<&'a Link, Refusal> {
    let device = &attachment.device;
    let Some(link) = identity::at_home(&home.links, &device.identity) else {
        return Err(Refusal::retry(
            "DeviceNotFound",
            format!(
                "device {} is not on the node: no link is {}",
                device.name, device.identity
            ),
        ));
    };
    let who = format!("device {} (interface {})", device.name, link.name);
    check_free(home, driver, link, &who)?;
    check_restorable(home, link, &who)?;
    check_size(home, link, &who)?;
    check_config(attachment, link, &who)?;
    Ok(link)
}

/// Nobody else depends on the link.
fn check_free(home: &Home, driver: &DriverName, link: &Link, who: &str) -> Result<(), Refusal> {
    if let Some(mark) = Mark::from_alias(driver, &link.alias) {
        let message = format!("{who} was not put back after claim {}", mark.claim);
        return Err(Refusal::retry("DeviceInUse", message));
    }
    if let Some(reason) = home.uplink(link) {
        let message = format!("{who} must stay on the node: it {reason}");
        return Err(Refusal::user("DeviceProtected", message));
    }
    match home.master(link) {
        Some(master) => {
            let message = format!("{who} is a port of {master}; take it out first");
            Err(Refusal::user("DeviceInUse", message))
        }
        None => Ok(()),
    }
}

/// The link can be moved, and nothing is lost by it for good.
fn check_restorable(home: &Home, link: &Link, who: &str) -> Result<(), Refusal> {
    if link.flags.loopback() || link.netns_immutable {
        let message = format!("{who} is of a kind that cannot leave its network namespace");
        return Err(Refusal::user("DeviceNotMovable", message));
    }
    let lost = |what: String| {
        let message = format!("{who} {what}, which could not be put back; remove that route first");
        Err(Refusal::user("DeviceInUse", message))
    };
    if let Some(entry) = home.multipath(link) {
        let destination = entry.route.destination;
        return lost(format!(
            "is one of several next hops of the route to {destination}"
        ));
    }
    if let Some((entry, unkept)) = home.unkept_route(link) {
        let route = describe_route(&entry.route);
        return lost(format!("has {route} with {unkept}"));
    }
    match home.route_from(link) {
        Some(entry) => {
            let route = describe_route(&entry.route);
            lost(format!(
                "has the source address of {route} over another link"
            ))
        }
        None => Ok(()),
    }
}

/// What the link has is not more than a snapshot may hold.
fn check_size(home: &Home, link: &Link, who: &str) -> Result<(), Refusal> {
    let count = home.count_kept(link);
    if count <= MAX_KEPT {
        return Ok(());
    }
    let message = format!(
        "{who} has {count} addresses, routes and permanent neighbours, of which at most {MAX_KEPT} can be put back; remove some first"
    );
    Err(Refusal::user("DeviceInUse", message))
}

/// The link can be what the user wants.
pub(crate) fn check_config(attachment: &Attachment, link: &Link, who: &str) -> Result<(), Refusal> {
    let config = &attachment.config;
    let invalid = |why: String| {
        Err(Refusal::user(
            "InvalidConfiguration",
            format!("{who}: {why}"),
        ))
    };
    let mtu = config.mtu.map_or(link.mtu, Mtu::get);
    let (least, most) = (link.min_mtu.unwrap_or(0), link.max_mtu.unwrap_or(0));
    if config.mtu.is_some() && (mtu < least || (most > 0 && mtu > most)) {
        return invalid(format!("MTU {mtu} is not within {least} to {most}"));
    }
    let is_v6 = |address: &IpNet| address.addr().is_ipv6();
    if let Some(address) = config.addresses.iter().find(|address| is_v6(address))
        && mtu < IPV6_MIN_MTU
    {
        return invalid(format!(
            "address {address} needs an MTU of at least {IPV6_MIN_MTU}, not {mtu}"
        ));
    }
    if let Some(name) = &config.name
        && name.as_bytes().contains(&b'%')
    {
        return invalid(format!(
            "interface name {name} contains '%', a pattern to the kernel"
        ));
    }
    match config.routes.iter().find(|route| mixes_families(route)) {
        Some(Route { destination, .. }) => invalid(format!(
            "the route to {destination} has a gateway of the other address family"
        )),
        None => Ok(()),
    }
}

fn mixes_families(route: &Route) -> bool {
    route
        .gateway
        .is_some_and(|gateway| gateway.is_ipv6() != route.destination.addr().is_ipv6())
}
