//! The state of a namespace as text: what must be the same before and after, without the numbers that may differ.

use std::collections::HashMap;
use std::fmt;

use network_driver_common::model::{IfName, RouteOptions, SettableFlags};

use nix::errno::Errno;

use super::TestingError;
use crate::address::Address;
use crate::ethtool::{Ethtool, Features};
use crate::link::{Link, settings_by_name};
use crate::neighbor::Neighbor;
use crate::route::RouteEntry;
use crate::socket::Socket;

/// `IFA_F_TENTATIVE`, which passes by itself.
const TENTATIVE: u32 = 0x40;

/// Links with their settings and offload features, addresses, routes and permanent neighbours of a namespace, a line each,
/// sorted. Without link numbers, carrier and whatever else changes by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    lines: Vec<String>,
}

impl State {
    /// Reads the sockets' namespace.
    pub fn read(socket: &mut Socket, ethtool: &mut Ethtool) -> Result<Self, TestingError> {
        let both = socket.links_with_settings()?;
        let (links, settings): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        let names = Names(links.iter().map(|link| (link.index, &link.name)).collect());
        let mut all: Vec<_> = links.iter().map(|one| names.link(one)).collect();
        all.extend(socket.addresses(None)?.iter().map(|one| names.address(one)));
        all.extend(socket.routes()?.iter().map(|one| names.route(one)));
        for (link, settings) in links.iter().zip(settings) {
            let values = settings_by_name(&settings.settings).into_iter();
            all.extend(values.map(|(name, value)| format!("setting {} {name} {value}", link.name)));
            let numbers = settings.parameters().into_iter();
            all.extend(numbers.map(|(what, value)| format!("number {} {what} {value}", link.name)));
            let Features { wanted, active } = features(ethtool, link)?;
            let wanted = wanted.iter().filter(|(_, wanted)| **wanted);
            all.extend(wanted.map(|(name, _)| format!("wanted {} {name}", link.name)));
            all.extend(
                active
                    .iter()
                    .map(|name| format!("active {} {name}", link.name)),
            );
        }
        let neighbors = socket.neighbors(None)?;
        let permanent = neighbors.iter().filter(|one| one.permanent());
        all.extend(permanent.map(|one| names.neighbor(one)));
        all.sort();
        Ok(Self { lines: all })
    }

    /// The lines that only one of the two has: `-` for those of `self`, `+` for those of `after`. Empty if they are equal.
    pub fn difference(&self, after: &Self) -> String {
        let only = |sign: char, these: &Self, those: &Self| {
            let missing = these
                .lines
                .iter()
                .filter(|line| !those.lines.contains(line));
            missing.fold(String::new(), |text, line| {
                text + &format!("{sign} {line}\n")
            })
        };
        only('-', self, after) + &only('+', after, self)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The features of a link; none when it has gone meanwhile.
fn features(ethtool: &mut Ethtool, link: &Link) -> Result<Features, TestingError> {
    match ethtool.features(link.index) {
        Err(error) if error.errno() == Some(Errno::ENODEV) => Ok(Features::default()),
        found => Ok(found?),
    }
}

/// Links by their number.
struct Names<'a>(HashMap<u32, &'a IfName>);

impl Names<'_> {
    fn of(&self, index: u32) -> String {
        let name = self.0.get(&index);
        name.map_or_else(|| format!("#{index}"), ToString::to_string)
    }

    fn link(&self, link: &Link) -> String {
        let mut text = format!("link {} {}", link.name, link.kind.as_deref().unwrap_or("-"));
        let up = if link.flags.up() { "up" } else { "down" };
        let flags = SettableFlags::from_bits(link.flags.bits());
        text += &format!(" {up} {flags}");
        text += &format!(" mtu {} mac {}", link.mtu, link.hardware_address);
        if let Some(master) = link.master {
            text += &format!(" master {}", self.of(master));
        }
        if let (Some(parent), None) = (link.parent, link.parent_netnsid) {
            text += &format!(" on {}", self.of(parent));
        }
        if !link.alias.is_empty() {
            text += &format!(" alias \"{}\"", link.alias.escape_ascii());
        }
        for name in &link.altnames {
            text += &format!(" altname \"{}\"", name.escape_ascii());
        }
        text
    }

    fn address(&self, address: &Address) -> String {
        let name = self.of(address.index);
        let facts = &address.address;
        let mut line = format!("address {name} {} scope {}", facts.address, facts.scope);
        line += &format!(" flags {:#x}", facts.flags & !TENTATIVE);
        if let Some(peer) = facts.peer {
            line += &format!(" peer {peer}");
        }
        if let Some(broadcast) = facts.broadcast {
            line += &format!(" broadcast {broadcast}");
        }
        if !facts.label.is_empty() {
            line += &format!(" label \"{}\"", facts.label.escape_ascii());
        }
        line += &format!(" protocol {} metric {}", facts.protocol, facts.metric);
        if facts.valid_lifetime != u32::MAX {
            line += " for a time"; // how long is left changes by itself
        }
        line
    }

    fn neighbor(&self, entry: &Neighbor) -> String {
        let facts = &entry.neighbor;
        format!(
            "neighbour {} {} is {} flags {:#x} protocol {}",
            self.of(entry.index),
            facts.address,
            facts.hardware_address,
            facts.flags,
            facts.protocol
        )
    }

    fn route(&self, entry: &RouteEntry) -> String {
        let route = &entry.route;
        let mut line = format!("route {} table {}", route.destination, route.table);
        if let Some(index) = entry.index {
            line += &format!(" over {}", self.of(index));
        }
        for hop in &entry.next_hops {
            line += &format!(" or {}", self.of(*hop));
        }
        if let Some(gateway) = route.gateway {
            line += &format!(" via {gateway}");
        }
        if let Some(source) = route.preferred_source {
            line += &format!(" from {source}");
        }
        let (kind, protocol, scope) = (route.kind, route.protocol, route.scope);
        line += &format!(
            " metric {} type {kind} protocol {protocol} scope {scope}",
            route.metric
        );
        if route.onlink {
            line += " onlink";
        }
        if route.options != RouteOptions::default() {
            line += &format!(" {:?}", route.options);
        }
        if let Some(unkept) = entry.unkept {
            line += &format!(" with {unkept}");
        }
        line
    }
}
