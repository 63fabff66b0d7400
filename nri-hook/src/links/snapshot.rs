//! What a link looks like at home, taken before it leaves and compared when it is back. Pure: works on what was read.
//!
//! Kept is what someone set. What the kernel makes by itself comes back by itself: link-local addresses, what a
//! router advertised, the routes that belong to an address.

use std::collections::BTreeMap;
use std::time::SystemTime;

use network_driver_common::model::{
    IfName, SettableFlags, Settings, Snapshot, SnapshotAddress, SnapshotNeighbor, SnapshotRoute,
    WantedFeatures,
};
use network_driver_netlink::{
    Address, Link, LinkSettings, Neighbor, RouteEntry, Sysctl, settings_by_name,
};

/// `IFA_F_*` that someone sets (linux/if_addr.h): NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
/// The others (secondary, tentative, deprecated, permanent, …) are the kernel's findings.
const SETTABLE_ADDRESS_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// `RTPROT_REDIRECT`, `RTPROT_KERNEL` and `RTPROT_RA` (linux/rtnetlink.h).
const KERNEL_ROUTE_PROTOCOLS: [u8; 3] = [1, 2, 9];

/// `NTF_*` that someone sets (linux/neighbour.h): EXT_LEARNED, ROUTER.
const SETTABLE_NEIGHBOR_FLAGS: u8 = 0x10 | 0x80;

/// What belongs to links besides themselves, as it was read: of one link or of all.
#[derive(Debug)]
pub(crate) struct Belongings {
    /// When that was.
    pub(crate) taken: SystemTime,
    /// By the link's index.
    pub(crate) settings: BTreeMap<u32, LinkSettings>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) routes: Vec<RouteEntry>,
    pub(crate) neighbors: Vec<Neighbor>,
}

/// The state of a link at home, with its offload features as far as they are known.
pub(crate) fn take(link: &Link, belongings: &Belongings, features: WantedFeatures) -> Snapshot {
    let Belongings {
        taken,
        settings,
        addresses,
        routes,
        neighbors,
    } = belongings;
    let addresses = set_addresses(link.index, &link.name, addresses);
    let settings = settings.get(&link.index);
    let runs = |address: &SnapshotAddress| address.valid_lifetime != u32::MAX;
    Snapshot {
        taken: addresses.iter().any(runs).then_some(*taken),
        name: link.name.clone(),
        mtu: link.mtu,
        hardware_address: link.hardware_address.clone(),
        up: link.flags.up(),
        alias: link.alias.clone(),
        altnames: link.altnames.clone(),
        addresses,
        routes: set_routes(link.index, routes),
        neighbors: set_neighbors(link.index, neighbors),
        settings: settings
            .map(|read| read.settings.clone())
            .unwrap_or_default(),
        flags: Some(SettableFlags::from_bits(link.flags.bits())),
        parameters: settings.map(LinkSettings::parameters).unwrap_or_default(),
        features,
    }
}

/// Addresses that someone set of the link with that index and name, in the kernel's order.
pub(crate) fn set_addresses(
    index: u32,
    name: &IfName,
    addresses: &[Address],
) -> Vec<SnapshotAddress> {
    let of_link = addresses.iter().filter(|entry| entry.index == index);
    of_link
        .filter(|entry| !entry.kernel_made())
        .map(|entry| {
            let mut address = entry.clone().forget_label(name.as_bytes());
            address.flags &= SETTABLE_ADDRESS_FLAGS;
            address
        })
        .collect()
}

/// Routes over the link that someone set, in the kernel's order.
pub(crate) fn set_routes(index: u32, routes: &[RouteEntry]) -> Vec<SnapshotRoute> {
    let over_link = routes.iter().filter(|entry| entry.index == Some(index));
    over_link
        .filter(|entry| is_set(&entry.route))
        .map(|entry| entry.route.clone())
        .collect()
}

/// Whether someone set the route, rather than the kernel.
pub(crate) fn is_set(route: &SnapshotRoute) -> bool {
    !KERNEL_ROUTE_PROTOCOLS.contains(&route.protocol)
}

/// Permanent neighbours of the link, sorted.
pub(crate) fn set_neighbors(index: u32, neighbors: &[Neighbor]) -> Vec<SnapshotNeighbor> {
    let of_link = neighbors.iter().filter(|entry| entry.index == index);
    let mut set: Vec<_> = of_link
        .filter(|entry| entry.permanent())
        .map(|entry| SnapshotNeighbor {
            flags: entry.neighbor.flags & SETTABLE_NEIGHBOR_FLAGS,
            ..entry.neighbor.clone()
        })
        .collect();
    set.sort();
    set
}

/// The state that the link would have now if it had stayed at home: the lifetimes of its addresses went on, and those that
/// ended took the address with them.
pub(crate) fn aged(snapshot: &Snapshot, now: SystemTime) -> Snapshot {
    let since = snapshot
        .taken
        .and_then(|taken| now.duration_since(taken).ok());
    let seconds = since.map_or(0, |since| since.as_secs());
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let left = |lifetime: u32| match lifetime {
        u32::MAX => u32::MAX,
        lifetime => lifetime.saturating_sub(seconds),
    };
    let mut aged = snapshot.clone();
    for address in &mut aged.addresses {
        address.preferred_lifetime = left(address.preferred_lifetime);
        address.valid_lifetime = left(address.valid_lifetime);
    }
    let ended = |address: &SnapshotAddress| address.valid_lifetime == 0;
    let (gone, left) = aged.addresses.into_iter().partition(ended);
    aged.addresses = left;
    let gone: Vec<SnapshotAddress> = gone;
    let from_gone = |source| gone.iter().any(|address| address.address.addr() == source);
    aged.routes
        .retain(|route| !route.preferred_source.is_some_and(from_gone));
    aged
}

/// What differs between the wanted and the present state, as sentences without the link's name. Empty when equal.
pub(crate) fn differences(wanted: &Snapshot, present: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    if wanted.name != present.name {
        found.push(format!(
            "is called {} instead of {}",
            present.name, wanted.name
        ));
    }
    if wanted.mtu != present.mtu {
        found.push(format!("has MTU {} instead of {}", present.mtu, wanted.mtu));
    }
    if wanted.hardware_address != present.hardware_address {
        found.push(format!(
            "has hardware address {} instead of {}",
            present.hardware_address, wanted.hardware_address
        ));
    }
    if wanted.up != present.up {
        let state = |up| if up { "up" } else { "down" };
        found.push(format!(
            "is {} instead of {}",
            state(present.up),
            state(wanted.up)
        ));
    }
    if wanted.alias != present.alias {
        found.push("has another alias than before".to_owned());
    }
    if wanted.altnames != present.altnames {
        found.push("has other alternative names than before".to_owned());
    }
    found.extend(address_differences(&wanted.addresses, &present.addresses));
    let routes = list_differences(&wanted.routes, &present.routes, describe_route);
    found.extend(routes);
    found.extend(value_differences(wanted, present));
    let (wanted, present) = (&wanted.neighbors, &present.neighbors);
    found.extend(list_differences(wanted, present, describe_neighbor));
    found
}

fn address_differences(wanted: &[SnapshotAddress], present: &[SnapshotAddress]) -> Vec<String> {
    let lacks = |these: &[SnapshotAddress], address: &SnapshotAddress| {
        !these.iter().any(|other| same_address(address, other))
    };
    let missing = wanted.iter().filter(|address| lacks(present, address));
    let extra = present.iter().filter(|address| lacks(wanted, address));
    let mut found: Vec<_> = missing
        .map(|address| format!("lacks address {}", address.address))
        .chain(extra.map(|address| format!("has address {} too many", address.address)))
        .collect();
    if found.is_empty() && !same_addresses(wanted, present) {
        found.push("has its addresses in another order".to_owned());
    }
    found
}

/// Whether two lists hold the same addresses in the same order.
pub(crate) fn same_addresses(wanted: &[SnapshotAddress], present: &[SnapshotAddress]) -> bool {
    wanted.len() == present.len() && wanted.iter().zip(present).all(|(a, b)| same_address(a, b))
}

/// Whether two addresses are one. A lifetime that runs out is compared only in that it runs out.
fn same_address(a: &SnapshotAddress, b: &SnapshotAddress) -> bool {
    let forever = |lifetime: u32| lifetime == u32::MAX;
    let timeless = |address: &SnapshotAddress| SnapshotAddress {
        preferred_lifetime: 0,
        valid_lifetime: 0,
        ..address.clone()
    };
    forever(a.valid_lifetime) == forever(b.valid_lifetime)
        && forever(a.preferred_lifetime) == forever(b.preferred_lifetime)
        && timeless(a) == timeless(b)
}

/// What is missing of a list and what is too many, each described as a phrase.
fn list_differences<T: PartialEq>(
    wanted: &[T],
    present: &[T],
    describe: impl Fn(&T) -> String,
) -> Vec<String> {
    let missing = wanted.iter().filter(|one| !present.contains(one));
    let extra = present.iter().filter(|one| !wanted.contains(one));
    missing
        .map(|one| format!("lacks {}", describe(one)))
        .chain(extra.map(|one| format!("has {} too many", describe(one))))
        .collect()
}

/// Settings, numbers, offload features and flags that are not as wanted.
fn value_differences(wanted: &Snapshot, present: &Snapshot) -> Vec<String> {
    let mut found = Vec::new();
    let settings = differing_settings(&wanted.settings, &present.settings).into_iter();
    found.extend(
        settings.map(|(name, is, was)| format!("has setting {name} {is} instead of {was}")),
    );
    let numbers = differing(&wanted.parameters, &present.parameters);
    found.extend(numbers.map(|(name, is, was)| format!("has {name} {is} instead of {was}")));
    let features = differing(&wanted.features, &present.features);
    let state = |on| if on { "on" } else { "off" };
    found.extend(features.map(|(name, is, was)| {
        let (is, was) = (state(is), state(was));
        format!("has offload feature {name} {is} instead of {was}")
    }));
    if let (Some(was), Some(is)) = (wanted.flags, present.flags)
        && was != is
    {
        found.push(format!("has flags {is} instead of {was}"));
    }
    found
}

/// As [`differing`], of settings. Most are as they were: then no name is looked for.
pub(crate) fn differing_settings(wanted: &Settings, present: &Settings) -> Vec<(Sysctl, i32, i32)> {
    if wanted == present {
        return Vec::new();
    }
    let (wanted, present) = (settings_by_name(wanted), settings_by_name(present));
    let differing = differing(&wanted, &present);
    differing
        .map(|(name, is, was)| (name.clone(), is, was))
        .collect()
}

/// What has another value than wanted: its name, its value and the wanted one. What is not there cannot have, and what
/// nobody knows of before cannot be wanted.
pub(crate) fn differing<'a, K: Ord, V: PartialEq + Copy>(
    wanted: &'a BTreeMap<K, V>,
    present: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, V, V)> {
    let both = wanted
        .iter()
        .filter_map(|(name, was)| Some((name, *present.get(name)?, *was)));
    both.filter(|(_, is, was)| is != was)
}

fn describe_neighbor(neighbor: &SnapshotNeighbor) -> String {
    let SnapshotNeighbor {
        address,
        hardware_address,
        ..
    } = neighbor;
    format!("the permanent neighbour {address} ({hardware_address})")
}

pub(crate) fn describe_route(route: &SnapshotRoute) -> String {
    let SnapshotRoute {
        destination, table, ..
    } = route;
    match route.gateway {
        Some(gateway) => format!("the route to {destination} via {gateway} of table {table}"),
        None => format!("the route to {destination} of table {table}"),
    }
}
