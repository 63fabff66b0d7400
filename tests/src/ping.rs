//! An ICMP echo of our own, so that nothing has to be installed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use network_driver_netlink::Netns;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// Type of an echo request (RFC 792).
const REQUEST: u8 = 8;
/// Type of an echo reply.
const REPLY: u8 = 0;
/// How often the request is sent again: a card that was just set up has no carrier yet and loses what it is to send.
const PACE: Duration = Duration::from_secs(1);
/// What goes there and must come back.
const PAYLOAD: &[u8; 24] = b"network-driver was here.";

/// Sends echo requests from within a network namespace and waits for a reply; returns the round trip of the last one.
///
/// # Errors
/// There was no reply within the limit, or the address cannot be reached.
pub fn ping(from: &Netns, to: Ipv4Addr, limit: Duration) -> anyhow::Result<Duration> {
    from.run(move || echo(to, limit))?
        .with_context(|| format!("ping {to}"))
}

fn echo(to: Ipv4Addr, limit: Duration) -> anyhow::Result<Duration> {
    let socket: UdpSocket = socket(
        AddressFamily::Inet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Icmp,
    )
    .context("open a raw ICMP socket")?
    .into();
    let identifier = u16::try_from(std::process::id() & 0xffff)?;
    let request = request(identifier);
    let started = Instant::now();
    let mut sent: Option<Instant> = None;
    let mut buffer = [0; 1500];
    loop {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            bail!("no reply within {limit:?}");
        }
        if sent.is_none_or(|sent| sent.elapsed() >= PACE) {
            sent = Some(Instant::now());
            socket.send_to(&request, SocketAddr::new(IpAddr::V4(to), 0))?;
        }
        socket.set_read_timeout(Some(left.min(PACE)))?;
        let received = match socket.recv(&mut buffer) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => continue,
            other => other?,
        };
        let packet = buffer.get(..received).unwrap_or_default();
        if is_reply(packet, identifier) {
            return Ok(sent.unwrap_or(started).elapsed());
        }
    }
}

fn request(identifier: u16) -> Vec<u8> {
    let mut packet = vec![REQUEST, 0, 0, 0];
    packet.extend(identifier.to_be_bytes());
    packet.extend(1_u16.to_be_bytes());
    packet.extend(PAYLOAD);
    let sum = checksum(&packet).to_be_bytes();
    if let Some(field) = packet.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
    packet
}

/// Whether an IPv4 packet is the reply to our request.
fn is_reply(packet: &[u8], identifier: u16) -> bool {
    let header = packet.first().map_or(0, |b| usize::from(b & 0xf) << 2);
    let icmp = packet.get(header..).unwrap_or_default();
    let ours = identifier.to_be_bytes();
    icmp.first() == Some(&REPLY) && icmp.get(4..6) == Some(&ours) && icmp.get(8..) == Some(PAYLOAD)
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        [high] => u16::from_be_bytes([high, 0]),
        _ => 0,
    });
    let sum = words.fold(0_u32, |sum, word| sum.wrapping_add(word.into()));
    let folded = (sum & 0xffff).wrapping_add(sum >> 16);
    let folded = (folded & 0xffff).wrapping_add(folded >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use network_driver_netlink::testing::Namespace;

    use super::*;

    #[test]
    fn the_checksum_of_a_whole_packet_is_zero() {
        assert_eq!(checksum(&request(7)), 0);
    }

    #[test]
    fn netns_a_ping_crosses_a_cable_and_only_a_cable() {
        let (here, there) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        here.veth("a", &there, "b").unwrap();
        for (side, name, address) in [(&here, "a", "10.0.0.1/24"), (&there, "b", "10.0.0.2/24")] {
            side.set_up(name, true).unwrap();
            side.add_address(name, address.parse().unwrap()).unwrap();
        }
        let limit = Duration::from_secs(5);
        ping(here.netns(), "10.0.0.2".parse().unwrap(), limit).unwrap();
        there.set_up("b", false).unwrap();
        let cut = ping(
            here.netns(),
            "10.0.0.2".parse().unwrap(),
            Duration::from_millis(50),
        );
        assert!(cut.is_err());
    }
}
