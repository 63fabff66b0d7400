//! A blocking rtnetlink socket that asks the kernel and changes what is in its namespace, one request at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use network_driver_common::model::{IfName, SnapshotAddress, SnapshotNeighbor, SnapshotRoute};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;

use crate::address::{self, Address};
use crate::error::{BuildError, Malformed, OpenSocketError, RequestError};
use crate::exchange::Exchange;
use crate::link::{
    self, Link, LinkChange, LinkMessage, LinkSettings, NewLink, Sysctl, WriteSettingError,
};
use crate::message::{INET, INET6};
use crate::neighbor::{self, Neighbor};
use crate::netns::Netns;
use crate::request::Request;
use crate::route::{self, RouteEntry};

/// What the kernel says of a destination without a route, or with one of type unreachable, prohibit or blackhole.
const UNREACHABLE: &[Errno] = &[
    Errno::ENETUNREACH,
    Errno::EHOSTUNREACH,
    Errno::EACCES,
    Errno::EINVAL,
    // IPv6 on a kernel started without it.
    Errno::EOPNOTSUPP,
];

/// A socket bound to the namespace it was opened in; it may be used on any thread afterwards, and keeps that namespace
/// alive.
///
/// Every method waits for the kernel, which does the work while it takes the request: a change of a link waits there
/// for all others on the machine (while someone moves a link, some 28 ms), and nothing can interrupt that wait.
#[derive(Debug)]
pub struct Socket(Exchange);

impl Socket {
    /// Opens in the calling thread's namespace.
    pub fn open() -> Result<Self, OpenSocketError> {
        Exchange::open(SockProtocol::NetlinkRoute).map(Self)
    }

    /// Opens in another namespace.
    pub fn open_in(netns: &Netns) -> Result<Self, OpenSocketError> {
        netns.run(Self::open).map_err(OpenSocketError::Enter)?
    }

    /// When to give up; `None` for never. It is looked at before a request is sent and while its answer is awaited: a
    /// request that the kernel has taken up is never cut short, see [`Socket`].
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.0.set_deadline(deadline);
    }

    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, RequestError> {
        self.0.dump(link::request::dump(), without_settings)
    }

    /// All links of the namespace with their settings there, in the same time as without.
    pub fn links_with_settings(&mut self) -> Result<Vec<(Link, LinkSettings)>, RequestError> {
        self.0.dump(link::request::dump(), with_settings)
    }

    /// The link of that number with its settings, if there is one.
    pub fn link_with_settings(
        &mut self,
        index: u32,
    ) -> Result<Option<(Link, LinkSettings)>, RequestError> {
        self.one_link(link::request::by_index(index), with_settings)
    }

    /// Writes settings of a link, which is called `name`, in the socket's namespace, which is `netns`: over netlink where
    /// the kernel takes them so, else through `/proc/sys/net`. Carries on after one that fails; returns those.
    pub fn write_settings(
        &mut self,
        netns: &Netns,
        index: u32,
        name: &IfName,
        settings: BTreeMap<Sysctl, i32>,
    ) -> Vec<WriteSettingError> {
        let (here, through_files): (Vec<_>, Vec<_>) = settings
            .into_iter()
            .partition(|(sysctl, _)| link::settings::over_netlink(sysctl));
        let mut failed = Vec::new();
        for (sysctl, value) in here {
            let written = self.0.change(link::settings::write(index, &sysctl, value));
            failed.extend(
                written
                    .err()
                    .map(|source| WriteSettingError::Request { sysctl, source }),
            );
        }
        if !through_files.is_empty() {
            failed.extend(link::settings::write_files(netns, name, through_files));
        }
        failed
    }

    /// The link of that number, if there is one.
    pub fn link(&mut self, index: u32) -> Result<Option<Link>, RequestError> {
        self.one_link(link::request::by_index(index), without_settings)
    }

    /// The link of that name or alternative name, if there is one: if there is none, the name is free.
    pub fn link_by_name(&mut self, name: &IfName) -> Result<Option<Link>, RequestError> {
        self.one_link(link::request::by_name(name), without_settings)
    }

    fn one_link<T>(
        &mut self,
        request: Result<Request, BuildError>,
        parse: fn(&[u8]) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, RequestError> {
        let mut found = None;
        let result = self.0.ask(request, &mut |message| {
            found = parse(message.body)?;
            Ok(())
        });
        unless(result, &[Errno::ENODEV])?;
        Ok(found)
    }

    /// Changes a link, in one request but not all-or-nothing: after an error look what has become of it.
    pub fn change_link(&mut self, index: u32, change: &LinkChange) -> Result<(), RequestError> {
        self.0.change(link::request::change(index, change))
    }

    /// Moves a link to another namespace under that name, in one request. It loses addresses and routes and is down.
    ///
    /// # Errors
    /// Not all-or-nothing: after `EEXIST` (the name is taken there) it may be in `to` under its old name, so look there
    /// too. [`Socket::link_by_name`] over there tells beforehand.
    pub fn move_link(&mut self, index: u32, to: &Netns, name: &IfName) -> Result<(), RequestError> {
        self.0.change(link::request::move_to(index, to, name))
    }

    /// Makes a link, where it is to be.
    ///
    /// # Errors
    /// `EOPNOTSUPP` when the kernel has no such kind of link.
    pub fn create_link(&mut self, link: &NewLink) -> Result<(), RequestError> {
        self.0.change(link::request::create(link))
    }

    /// Deletes a link; hardware cannot be deleted.
    pub fn delete_link(&mut self, index: u32) -> Result<(), RequestError> {
        self.0.change(link::request::delete(index))
    }

    /// Gives a link one more name, of at most 127 bytes.
    pub fn add_altname(&mut self, index: u32, name: &[u8]) -> Result<(), RequestError> {
        self.0.change(link::request::add_altname(index, name))
    }

    /// Takes an alternative name from a link.
    pub fn delete_altname(&mut self, index: u32, name: &[u8]) -> Result<(), RequestError> {
        self.0.change(link::request::delete_altname(index, name))
    }

    /// The addresses of all links, or of one: IPv4 first, each family in the kernel's order. Asked per family, since
    /// then it waits for nobody.
    ///
    /// # Errors
    /// `ENODEV` when `index` names no link.
    pub fn addresses(&mut self, index: Option<u32>) -> Result<Vec<Address>, RequestError> {
        let mut found = self
            .0
            .dump_family(INET, address::dump(INET, index), Address::parse)?;
        found.extend(
            self.0
                .dump_family(INET6, address::dump(INET6, index), Address::parse)?,
        );
        Ok(found)
    }

    /// Adds an address. If the link has it, its lifetimes are set and all is well.
    pub fn add_address(
        &mut self,
        index: u32,
        address: &SnapshotAddress,
    ) -> Result<(), RequestError> {
        self.0.change(address::add(index, address))
    }

    /// Takes an address from a link. If the link does not have it, all is well.
    pub fn delete_address(&mut self, index: u32, address: &IpNet) -> Result<(), RequestError> {
        let result = self.0.change(address::delete(index, address));
        unless(result, &[Errno::EADDRNOTAVAIL])
    }

    /// All routes of all tables, those the kernel makes for addresses included: IPv4 first, in the kernel's order.
    pub fn routes(&mut self) -> Result<Vec<RouteEntry>, RequestError> {
        self.some_routes(None)
    }

    /// The routes of all tables that lead over a link.
    pub fn routes_over(&mut self, index: u32) -> Result<Vec<RouteEntry>, RequestError> {
        self.some_routes(Some(index))
    }

    fn some_routes(&mut self, index: Option<u32>) -> Result<Vec<RouteEntry>, RequestError> {
        let mut found = self
            .0
            .dump_family(INET, route::dump(INET, index), RouteEntry::parse)?;
        found.extend(
            self.0
                .dump_family(INET6, route::dump(INET6, index), RouteEntry::parse)?,
        );
        Ok(found)
    }

    /// Adds a route over a link. If it is there, next hop and all, all is well.
    pub fn add_route(&mut self, index: u32, route: &SnapshotRoute) -> Result<(), RequestError> {
        let result = self.0.change(route::add(index, route));
        unless(result, &[Errno::EEXIST])
    }

    /// Deletes a route over a link. If it is not there, all is well.
    pub fn delete_route(&mut self, index: u32, route: &SnapshotRoute) -> Result<(), RequestError> {
        let result = self.0.change(route::delete(index, route));
        unless(result, &[Errno::ESRCH])
    }

    /// The neighbours of all links, or of one: IPv4 first, in no order.
    pub fn neighbors(&mut self, index: Option<u32>) -> Result<Vec<Neighbor>, RequestError> {
        self.0.dump(neighbor::dump(index), Neighbor::parse)
    }

    /// Makes an address a permanent neighbour of a link, whatever was known of it before.
    pub fn add_neighbor(
        &mut self,
        index: u32,
        neighbor: &SnapshotNeighbor,
    ) -> Result<(), RequestError> {
        self.0.change(neighbor::add(index, neighbor))
    }

    /// Forgets a neighbour of a link. If there is none, all is well.
    pub fn delete_neighbor(&mut self, index: u32, address: IpAddr) -> Result<(), RequestError> {
        let result = self.0.change(neighbor::delete(index, address));
        unless(result, &[Errno::ENOENT])
    }

    /// The link that traffic to `destination` leaves by; `None` if it cannot be reached.
    pub fn route_to(&mut self, destination: IpAddr) -> Result<Option<u32>, RequestError> {
        let mut found = None;
        let result = self.0.ask(route::lookup(destination), &mut |message| {
            found = RouteEntry::parse(message.body)?.and_then(|route| route.index);
            Ok(())
        });
        unless(result, UNREACHABLE)?;
        Ok(found)
    }

    /// What is behind it, for requests that only tests make.
    pub(crate) fn exchange(&mut self) -> &mut Exchange {
        &mut self.0
    }
}

fn without_settings(body: &[u8]) -> Result<Option<Link>, Malformed> {
    Ok(LinkMessage::parse(body)?.map(|message| message.link))
}

fn with_settings(body: &[u8]) -> Result<Option<(Link, LinkSettings)>, Malformed> {
    let Some(message) = LinkMessage::parse(body)? else {
        return Ok(None);
    };
    Ok(Some((message.link, LinkSettings::parse(body)?)))
}

/// Takes some refusals for success: what was to be is so already.
fn unless(result: Result<(), RequestError>, fine: &[Errno]) -> Result<(), RequestError> {
    match result {
        Err(error) if error.errno().is_some_and(|errno| fine.contains(&errno)) => Ok(()),
        result => result,
    }
}
