//! A link that is home again made to look as it did before it left.
//!
//! Carries on after a step that fails, and judges by reading back: only what differs in the end is told. The alias is
//! put back last, and only when all else is as it was, because until then it is our mark: whatever becomes of this process,
//! the link itself says that it is unfinished, or not as it was.

use std::collections::BTreeMap;
use std::time::SystemTime;

use network_driver_common::model::{
    Feature, IfName, Snapshot, SnapshotAddress, SnapshotRoute, WantedFeatures,
};
use network_driver_netlink::{Errno, Ethtool, Link, LinkChange, Netns, RequestError, Socket};

use super::snapshot::{self, Belongings};
use crate::chain;

/// `IFA_F_NODAD` (linux/if_addr.h): no duplicate detection.
const IFA_F_NODAD: u32 = 0x02;

/// Makes the link look like the snapshot.
///
/// # Errors
/// What is not as it was, as a phrase that follows the device's name.
pub(crate) fn restore(
    home: &Netns,
    socket: &mut Socket,
    index: u32,
    name: &IfName,
    wanted: &Snapshot,
) -> Result<(), String> {
    let wanted = &snapshot::aged(wanted, SystemTime::now());
    let unreadable = |error: RequestError| format!("cannot be read at home: {}", chain(&error));
    let present = read(socket, index).map_err(unreadable)?;
    let mut restore = Restore {
        home,
        socket,
        index,
        features: Ok(BTreeMap::new()),
        failed: Vec::new(),
    };
    // With the old name taken, the name it came home with is the one to keep.
    let wanted_now = Snapshot {
        name: name.clone(),
        alias: present.snapshot.alias.clone(),
        ..wanted.clone()
    };
    if snapshot::differences(&wanted_now, &present.snapshot).is_empty() {
        restore.features(wanted);
    } else {
        restore.run(&present, &wanted_now);
    }
    let (features, failed) = (restore.features, restore.failed);
    let mut present = read(socket, index).map_err(unreadable)?;
    present.snapshot.features = features
        .map_err(|cause| format!("has offload features that cannot be read: {cause}"))?
        .into();
    let alias = std::mem::replace(&mut present.snapshot.alias, wanted.alias.clone());
    let differences = snapshot::differences(wanted, &present.snapshot);
    if differences.is_empty() {
        return put_alias_back(socket, index, &alias, &wanted.alias);
    }
    let causes: String = failed.iter().map(|cause| format!("; {cause}")).collect();
    Err(format!("{}{causes}", differences.join(", ")))
}

fn put_alias_back(
    socket: &mut Socket,
    index: u32,
    now: &[u8],
    wanted: &[u8],
) -> Result<(), String> {
    if now == wanted {
        return Ok(());
    }
    let change = LinkChange {
        alias: Some(wanted.to_vec()),
        ..LinkChange::default()
    };
    let changed = socket.change_link(index, &change);
    changed.map_err(|error| format!("has another alias than before: {}", chain(&error)))
}

/// A link at home.
struct Present {
    link: Link,
    snapshot: Snapshot,
}

/// Reads all but offload features.
fn read(socket: &mut Socket, index: u32) -> Result<Present, RequestError> {
    let found = socket.link_with_settings(index)?;
    let (link, settings) = found.ok_or(RequestError::Kernel {
        request: "read the link",
        errno: Errno::ENODEV,
        text: None,
    })?;
    let belongings = Belongings {
        taken: SystemTime::now(),
        settings: BTreeMap::from([(index, settings)]),
        addresses: socket.addresses(Some(index))?,
        routes: socket.routes_over(index)?,
        neighbors: socket.neighbors(Some(index))?,
    };
    let snapshot = snapshot::take(&link, &belongings, WantedFeatures::default());
    Ok(Present { link, snapshot })
}

struct Restore<'a> {
    home: &'a Netns,
    socket: &'a mut Socket,
    index: u32,
    /// Offload features as they were read last, or why they were not. Empty until then.
    features: Result<BTreeMap<Feature, bool>, String>,
    /// What did not succeed, and why.
    failed: Vec<String>,
}

impl Restore<'_> {
    fn run(&mut self, present: &Present, wanted: &Snapshot) {
        let now = &present.snapshot;
        if now.name != wanted.name {
            self.rename(&present.link, &wanted.name);
        }
        if !wanted.up && now.up {
            self.change("set it down", |change| change.up = Some(false));
        }
        if now.hardware_address != wanted.hardware_address {
            let address = wanted.hardware_address.clone();
            self.change("set its hardware address", |change| {
                change.hardware_address = Some(address);
            });
        }
        if now.mtu != wanted.mtu {
            self.change("set its MTU", |change| change.mtu = Some(wanted.mtu));
        }
        self.flags(now, wanted);
        self.parameters(now, wanted);
        self.settings(now, wanted);
        self.features(wanted);
        self.altnames(now, wanted);
        // A link-local address that someone set must be there before the kernel makes its own.
        for address in wanted.addresses.iter().filter(|a| is_link_local(a)) {
            self.add_address(address);
        }
        if wanted.up {
            self.change("set it up", |change| change.up = Some(true));
        }
        self.addresses(wanted);
        self.neighbors(wanted);
        self.routes(now, wanted);
    }

    /// A link that is up goes down for it, since kernels up to 6.1 refuse it otherwise.
    fn rename(&mut self, link: &Link, name: &IfName) {
        if link.flags.up() {
            self.change("set it down", |change| change.up = Some(false));
        }
        let name = name.clone();
        self.change("rename it", |change| change.name = Some(name));
    }

    fn change(&mut self, step: &str, set: impl FnOnce(&mut LinkChange)) {
        let mut change = LinkChange::default();
        set(&mut change);
        let changed = self.socket.change_link(self.index, &change);
        self.note(step, changed);
    }

    fn note(&mut self, step: &str, done: Result<(), RequestError>) {
        if let Err(error) = done {
            self.failed.push(format!("{step}: {}", chain(&error)));
        }
    }

    /// Before neighbours are put back: whether there is ARP decides what the kernel keeps of them.
    fn flags(&mut self, now: &Snapshot, wanted: &Snapshot) {
        if let Some(flags) = wanted.flags.filter(|_| wanted.flags != now.flags) {
            self.change("set its flags", |change| change.flags = Some(flags));
        }
    }

    /// All of them if one differs, since setting one may set another.
    fn parameters(&mut self, now: &Snapshot, wanted: &Snapshot) {
        let mut differing = snapshot::differing(&wanted.parameters, &now.parameters);
        if differing.next().is_none() {
            return;
        }
        for (parameter, value) in &wanted.parameters {
            self.change(&format!("set its {parameter}"), |change| {
                change.parameters = BTreeMap::from([(*parameter, *value)]);
            });
        }
    }

    /// Before it is up: they say which addresses the kernel makes then.
    fn settings(&mut self, now: &Snapshot, wanted: &Snapshot) {
        let differing = snapshot::differing_settings(&wanted.settings, &now.settings).into_iter();
        let differing = differing.map(|(name, _, was)| (name, was)).collect();
        let (socket, name) = (&mut *self.socket, &wanted.name);
        let failed = socket.write_settings(self.home, self.index, name, differing);
        self.failed.extend(failed.iter().map(|error| chain(error)));
    }

    /// After the settings, of which forwarding switches one off (rx-lro); if nobody knows how they were, not at all. Each
    /// question waits for the kernel's lock: asked once, and again only after a change.
    fn features(&mut self, wanted: &Snapshot) {
        if !wanted.features.is_empty() {
            self.features = self.put_features_back(&wanted.features);
        }
    }

    fn put_features_back(
        &mut self,
        wanted: &BTreeMap<Feature, bool>,
    ) -> Result<BTreeMap<Feature, bool>, String> {
        let mut ethtool = Ethtool::open_in(self.home).map_err(|error| chain(&error))?;
        let index = self.index;
        let ask = |ethtool: &mut Ethtool| {
            let features = ethtool.features(index);
            features
                .map_err(|error| chain(&error))
                .map(|all| all.wanted)
        };
        let present = ask(&mut ethtool)?;
        let differing = snapshot::differing(wanted, &present);
        let differing: BTreeMap<_, _> = differing
            .map(|(name, _, was)| (name.clone(), was))
            .collect();
        if differing.is_empty() {
            return Ok(present);
        }
        let changed = ethtool.want(index, &differing);
        self.note("change its offload features", changed);
        ask(&mut ethtool)
    }

    /// Alternative names travel with the link, but for those that were in the way. All anew, because of their order.
    fn altnames(&mut self, now: &Snapshot, wanted: &Snapshot) {
        if now.altnames == wanted.altnames {
            return;
        }
        for name in &now.altnames {
            let deleted = self.socket.delete_altname(self.index, name);
            self.note("take an alternative name away", deleted);
        }
        for name in &wanted.altnames {
            let added = self.socket.add_altname(self.index, name);
            self.note("put an alternative name back", added);
        }
    }

    /// Addresses in their old order. IPv4 keeps the order of adding; IPv6 puts the newest first or last, by kernel.
    fn addresses(&mut self, wanted: &Snapshot) {
        let (mut v6, v4): (Vec<_>, Vec<_>) = wanted
            .addresses
            .iter()
            .partition(|a| a.address.addr().is_ipv6());
        for _ in 0..2 {
            v6.reverse();
            let present = match self.socket.addresses(Some(self.index)) {
                Ok(all) => snapshot::set_addresses(self.index, &wanted.name, &all),
                Err(error) => return self.note("read its addresses", Err(error)),
            };
            if snapshot::same_addresses(&wanted.addresses, &present) {
                return;
            }
            for address in &present {
                let deleted = self.socket.delete_address(self.index, &address.address);
                self.note("take an address away", deleted);
            }
            for address in v4.iter().chain(&v6) {
                self.add_address(address);
            }
        }
    }

    /// An IPv6 address is usable at once, as it was before: it is made without duplicate detection and then given the
    /// flags it had. Routes that name it as their source would be refused else.
    fn add_address(&mut self, address: &SnapshotAddress) {
        let mut added = Ok(());
        if address.address.addr().is_ipv6() && address.flags & IFA_F_NODAD == 0 {
            let usable = SnapshotAddress {
                flags: address.flags | IFA_F_NODAD,
                ..address.clone()
            };
            added = self.socket.add_address(self.index, &usable);
        }
        added = added.and_then(|()| self.socket.add_address(self.index, address));
        self.note(&format!("add address {}", address.address), added);
    }

    /// Read again: what was there before went when the link was down.
    fn neighbors(&mut self, wanted: &Snapshot) {
        let all = match self.socket.neighbors(Some(self.index)) {
            Ok(all) => all,
            Err(error) => return self.note("read its neighbours", Err(error)),
        };
        let present = snapshot::set_neighbors(self.index, &all);
        for neighbor in present.iter().filter(|one| !wanted.neighbors.contains(one)) {
            let address = neighbor.address;
            let deleted = self.socket.delete_neighbor(self.index, address);
            self.note(&format!("forget the neighbour {address}"), deleted);
        }
        for neighbor in wanted.neighbors.iter().filter(|one| !present.contains(one)) {
            let added = self.socket.add_neighbor(self.index, neighbor);
            self.note(&format!("add the neighbour {}", neighbor.address), added);
        }
    }

    /// Routes on the link first: gateways may lie behind them.
    fn routes(&mut self, now: &Snapshot, wanted: &Snapshot) {
        for route in now.routes.iter().filter(|r| !wanted.routes.contains(r)) {
            let deleted = self.socket.delete_route(self.index, route);
            self.note(
                &format!("take the route to {} away", route.destination),
                deleted,
            );
        }
        let (on_link, through): (Vec<_>, Vec<_>) = wanted
            .routes
            .iter()
            .partition(|route| route.gateway.is_none());
        for route in on_link.into_iter().chain(through) {
            self.add_route(route);
        }
    }

    fn add_route(&mut self, route: &SnapshotRoute) {
        let added = self.socket.add_route(self.index, route);
        self.note(&format!("add the route to {}", route.destination), added);
    }
}

fn is_link_local(address: &SnapshotAddress) -> bool {
    match address.address {
        ipnet::IpNet::V6(v6) => v6.addr().is_unicast_link_local(),
        ipnet::IpNet::V4(_) => false,
    }
}
