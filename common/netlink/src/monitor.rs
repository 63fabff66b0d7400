//! What happens in a namespace, as it happens. What follows from it is left to the listener.

use std::io;

use network_driver_common::model::IfName;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockFlag, SockProtocol};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::address::Address;
use crate::error::{Malformed, MonitorError, OpenSocketError};
use crate::link::{Link, LinkMessage};
use crate::message::{Message, Messages};
use crate::netns::Netns;
use crate::route::RouteEntry;
use crate::transport::{BUFFER_BYTES, MAX_BUFFER_BYTES, Received, Transport};

/// Room for unread events: some thousand of them. The machine may allow less (`net.core.rmem_max`).
const UNREAD_BYTES: usize = 4 * 1024 * 1024;
/// Most datagrams read at a time, so that a flood of events does not keep others from running.
const DATAGRAMS_AT_ONCE: usize = 64;

/// What can be listened for (`RTNLGRP_*`, linux/rtnetlink.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Links come, change and go.
    Link,
    /// IPv4 addresses.
    Ipv4Address,
    /// IPv6 addresses.
    Ipv6Address,
    /// IPv4 routes.
    Ipv4Route,
    /// IPv6 routes.
    Ipv6Route,
    /// IPv4 routing rules.
    Ipv4Rule,
    /// IPv6 routing rules.
    Ipv6Rule,
}

impl Group {
    /// Its bit in the set of groups: bit n - 1 for group n.
    fn bit(self) -> u32 {
        match self {
            Self::Link => 1,
            Self::Ipv4Address => 1 << 4,
            Self::Ipv4Route => 1 << 6,
            Self::Ipv4Rule => 1 << 7,
            Self::Ipv6Address => 1 << 8,
            Self::Ipv6Route => 1 << 10,
            Self::Ipv6Rule => 1 << 18,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A link is new or has changed. A change of the alias of a link that is down is not told.
    Link(Link),
    /// A link is gone.
    LinkGone {
        /// Its number.
        index: u32,
        /// The name it had.
        name: IfName,
        /// It lives on in another namespace (`IFLA_NEW_NETNSID`).
        moved: bool,
    },
    /// An address is new or has changed.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
    /// A route is new or has changed.
    Route(RouteEntry),
    /// A route is gone. Routes that go with their link or its going down are not told one by one for IPv4.
    RouteGone(RouteEntry),
    /// A routing rule came or went.
    RulesChanged,
    /// Events were lost: whoever keeps a picture must read everything again.
    Overrun,
}

/// A socket that hears of what happens in the namespace it was opened in.
#[derive(Debug)]
pub struct Monitor {
    transport: AsyncFd<Transport>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Opens in the calling thread's namespace. Must be called within a tokio runtime. Events from then on are kept, so
    /// open first, then read the present state.
    pub fn open(groups: &[Group]) -> Result<Self, OpenSocketError> {
        Self::over(transport(groups, UNREAD_BYTES)?)
    }

    /// Opens in another namespace, on a short-lived thread. Must be called within a tokio runtime.
    pub fn open_in(netns: &Netns, groups: &[Group]) -> Result<Self, OpenSocketError> {
        let groups = groups.to_vec();
        let opened = netns.run(move || transport(&groups, UNREAD_BYTES));
        Self::over(opened.map_err(OpenSocketError::Enter)??)
    }

    /// The same with room for few unread events.
    pub(crate) fn cramped(netns: &Netns, groups: &[Group]) -> Result<Self, OpenSocketError> {
        let groups = groups.to_vec();
        let opened = netns.run(move || transport(&groups, 1));
        Self::over(opened.map_err(OpenSocketError::Enter)??)
    }

    fn over(transport: Transport) -> Result<Self, OpenSocketError> {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe; a Transport keeps its one descriptor for life, which is all it asks"
        )]
        let transport = AsyncFd::with_interest(transport, Interest::READABLE);
        Ok(Self {
            transport: transport.map_err(OpenSocketError::Open)?,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Waits for something to happen; everything that is known by then, in order.
    ///
    /// # Cancel safety
    /// Safe: events are taken from the socket only when they are returned.
    pub async fn next(&mut self) -> Result<Vec<Event>, MonitorError> {
        loop {
            let mut ready = self.transport.readable().await.map_err(MonitorError)?;
            let mut events = Vec::new();
            for _ in 0..DATAGRAMS_AT_ONCE {
                match ready.try_io(|socket| receive(socket.get_ref(), &mut self.buffer)) {
                    Ok(result) => events.append(&mut result.map_err(MonitorError)?),
                    Err(_would_block) => break,
                }
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

/// Opens in the calling thread's namespace.
fn transport(groups: &[Group], unread_bytes: usize) -> Result<Transport, OpenSocketError> {
    let bits = groups.iter().fold(0, |bits, group| bits | group.bit());
    let open = || {
        let transport = Transport::open(SockProtocol::NetlinkRoute, bits, SockFlag::SOCK_NONBLOCK)?;
        transport.reserve(unread_bytes)?;
        Ok(transport)
    };
    open().map_err(OpenSocketError::Open)
}

fn receive(transport: &Transport, buffer: &mut Vec<u8>) -> io::Result<Vec<Event>> {
    match transport.receive(buffer, MsgFlags::empty()) {
        Ok(Received::Datagram(length)) => Ok(events(buffer.get(..length).unwrap_or_default())),
        Ok(Received::Foreign) => Ok(Vec::new()),
        Ok(Received::Truncated(length)) => {
            let room = length.next_power_of_two().min(MAX_BUFFER_BYTES);
            buffer.resize(room.max(buffer.len()), 0);
            Ok(vec![Event::Overrun])
        }
        Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
            Ok(vec![Event::Overrun])
        }
        Err(error) => Err(error),
    }
}

/// Reads the events of a datagram. What cannot be read counts as lost.
pub(crate) fn events(datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    for message in Messages::new(datagram) {
        match message.and_then(|message| event(&message)) {
            Ok(event) => events.extend(event),
            Err(error) => {
                tracing::warn!(error = %error, "unreadable netlink event");
                events.push(Event::Overrun);
            }
        }
    }
    events
}

/// Types of messages (`RTM_*`, linux/rtnetlink.h).
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;

fn event(message: &Message<'_>) -> Result<Option<Event>, Malformed> {
    let body = message.body;
    Ok(match message.kind {
        NEW_LINK => LinkMessage::parse(body)?.map(|message| Event::Link(message.link)),
        DELETE_LINK => {
            LinkMessage::parse(body)?.map(|LinkMessage { link, moved }| Event::LinkGone {
                index: link.index,
                name: link.name,
                moved,
            })
        }
        NEW_ADDRESS => Address::parse(body)?.map(Event::Address),
        DELETE_ADDRESS => Address::parse(body)?.map(Event::AddressGone),
        NEW_ROUTE => RouteEntry::parse(body)?.map(Event::Route),
        DELETE_ROUTE => RouteEntry::parse(body)?.map(Event::RouteGone),
        NEW_RULE | DELETE_RULE => Some(Event::RulesChanged),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::LinkChange;
    use crate::recorded;
    use crate::testing::Namespace;

    #[tokio::test]
    async fn netns_events_that_found_no_room_are_reported_as_lost() {
        let home = Namespace::new().unwrap();
        let mut monitor = Monitor::cramped(home.netns(), &[Group::Link]).unwrap();
        let index = home.link("lo").unwrap().index;
        let mut socket = home.socket().unwrap();
        let mut change = |mtu| {
            let change = LinkChange {
                mtu: Some(mtu),
                ..LinkChange::default()
            };
            socket.change_link(index, &change).unwrap();
        };
        (1300..1400).for_each(&mut change);
        let mut seen = Vec::new();
        while !seen.contains(&Event::Overrun) {
            seen.append(&mut monitor.next().await.unwrap());
        }
        assert!(seen.len() < 100, "{}", seen.len());
        // It hears on afterwards.
        change(1500);
        let is_new = |event: &Event| matches!(event, Event::Link(link) if link.mtu == 1500);
        while !monitor.next().await.unwrap().iter().any(is_new) {}
    }

    #[test]
    fn an_event_that_cannot_be_read_counts_as_lost() {
        let mut bytes = recorded::bytes(recorded::LINKS);
        let length = bytes.len();
        bytes.truncate(length / 2);
        let events = events(&bytes);
        assert!(matches!(events[0], Event::Link(_)));
        assert_eq!(events.last(), Some(&Event::Overrun));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_events_panic_or_make_many_of_few(bytes in recorded::damaged()) {
            prop_assert!(events(&bytes).len() <= bytes.len().div_ceil(16));
        }
    }
}
