//! rtnetlink by hand: the least that has to be said to the kernel, byte by byte. The floor under the driver's figures,
//! and the hand of the movers.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, bail, ensure};
use network_driver_common::model::IfName;
use network_driver_netlink::Netns;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// `RTM_NEWLINK`, `RTM_GETLINK` and `RTM_GETADDR` (linux/rtnetlink.h).
const NEW_LINK: u16 = 16;
const LIST_LINKS: u16 = 18;
const LIST_ADDRESSES: u16 = 22;
/// `NLMSG_ERROR`, which is also the acknowledgement, and `NLMSG_DONE` (linux/netlink.h).
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_ACK` and `NLM_F_REQUEST | NLM_F_DUMP`.
const CHANGE: u16 = 0x5;
const DUMP: u16 = 0x301;
/// `IFLA_IFNAME`, `IFLA_NET_NS_FD` and `IFLA_EXT_MASK` (linux/if_link.h), with `RTEXT_FILTER_SKIP_STATS`.
const NAME: u16 = 3;
const NETNS: u16 = 28;
const EXTENSIONS: u16 = 29;
const SKIP_STATS: u32 = 8;
/// `IFF_UP`.
const UP: u32 = 1;
/// `AF_INET` and `AF_INET6`.
const FAMILIES: [u8; 2] = [2, 10];
/// The kernel fits the parts of a dump to it.
const BUFFER: usize = 64 << 10;

/// A socket in one namespace.
#[derive(Debug)]
pub(super) struct Raw {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Raw {
    /// Opens in a namespace.
    pub(super) fn open(netns: &Netns) -> anyhow::Result<Self> {
        let fd = netns.run(|| {
            let (flags, protocol) = (SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute);
            let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map(|()| fd)
        })?;
        Ok(Self {
            fd: fd.context("open a raw netlink socket")?,
            buffer: vec![0; BUFFER],
        })
    }

    /// Moves a link to another namespace under a name and sets it up, all in one message.
    pub(super) fn move_up(&mut self, index: u32, to: &Netns, name: &IfName) -> anyhow::Result<()> {
        let mut body = link_header(index, UP);
        let fd = to.as_fd().as_raw_fd();
        attribute(&mut body, NETNS, &fd.to_ne_bytes());
        attribute(&mut body, NAME, &[name.as_bytes(), b"\0"].concat());
        self.change(NEW_LINK, &body).context("move a link")
    }

    /// Sets a link down.
    pub(super) fn set_down(&mut self, index: u32) -> anyhow::Result<()> {
        let mut body = link_header(index, UP);
        // The flags are cleared, the mask stays: down.
        if let Some(flags) = body.get_mut(8..12) {
            flags.fill(0);
        }
        self.change(NEW_LINK, &body).context("set a link down")
    }

    /// Reads all links and the addresses of each family, and only to the end: nothing is parsed. The bytes read.
    pub(super) fn dump(&mut self) -> anyhow::Result<usize> {
        let mut links = link_header(0, 0);
        attribute(&mut links, EXTENSIONS, &SKIP_STATS.to_ne_bytes());
        let mut read = self.read_table(LIST_LINKS, &links)?;
        for family in FAMILIES {
            let bytes = self.read_table(LIST_ADDRESSES, &[family, 0, 0, 0, 0, 0, 0, 0])?;
            read = read.saturating_add(bytes);
        }
        Ok(read)
    }

    fn change(&mut self, kind: u16, body: &[u8]) -> anyhow::Result<()> {
        self.send(kind, CHANGE, body)?;
        let length = self.receive()?;
        let code = self.buffer.get(16..20).and_then(|b| b.first_chunk());
        let code = code.copied().map_or(i32::MIN, i32::from_ne_bytes);
        ensure!(
            self.last_kind(length) == ERROR && code == 0,
            "the kernel refused: {}",
            io::Error::from_raw_os_error(code.saturating_neg())
        );
        Ok(())
    }

    fn read_table(&mut self, kind: u16, body: &[u8]) -> anyhow::Result<usize> {
        self.send(kind, DUMP, body)?;
        let mut read = 0_usize;
        loop {
            let length = self.receive()?;
            read = read.saturating_add(length);
            match self.last_kind(length) {
                DONE => return Ok(read),
                ERROR => bail!("the kernel refused a dump"),
                _ => {}
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(body.len().saturating_add(16))?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        send(self.fd.as_raw_fd(), &message, MsgFlags::empty()).context("send to the kernel")?;
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<usize> {
        let flags = MsgFlags::MSG_TRUNC;
        let bytes = recv(self.fd.as_raw_fd(), &mut self.buffer, flags).context("receive")?;
        ensure!(bytes <= self.buffer.len(), "a message of {bytes} bytes");
        Ok(bytes)
    }

    /// The type of the last message in a datagram of this length: the end of a dump may share one with its entries.
    fn last_kind(&self, length: usize) -> u16 {
        let mut rest = self.buffer.get(..length).unwrap_or_default();
        let mut last = 0;
        while let Some(&[l0, l1, l2, l3, k0, k1]) = rest.first_chunk() {
            last = u16::from_ne_bytes([k0, k1]);
            let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3]));
            let step = length.map_or(usize::MAX, |l| l.next_multiple_of(4).max(16));
            rest = rest.get(step..).unwrap_or_default();
        }
        last
    }
}

/// `struct ifinfomsg`, with these flags to be set.
fn link_header(index: u32, flags: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(index.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header.extend(flags.to_ne_bytes());
    header
}

/// `struct rtattr` and its payload, padded to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(payload.len().saturating_add(4)).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(payload);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use network_driver_netlink::testing::Namespace;

    use super::*;

    #[test]
    fn netns_a_link_is_moved_renamed_and_up_after_one_message() {
        let (home, pod, far) = (
            Namespace::new().unwrap(),
            Namespace::new().unwrap(),
            Namespace::new().unwrap(),
        );
        home.veth("a", &far, "far").unwrap();
        let index = home.link("a").unwrap().index;
        let mut raw = Raw::open(home.netns()).unwrap();
        let name = "net0".parse().unwrap();
        raw.move_up(index, pod.netns(), &name).unwrap();
        assert!(pod.link("net0").unwrap().flags.up());
        assert!(
            raw.move_up(index, pod.netns(), &name).is_err(),
            "it is gone"
        );
        let mut raw = Raw::open(pod.netns()).unwrap();
        raw.set_down(index).unwrap();
        assert!(!pod.link("net0").unwrap().flags.up());
    }

    #[test]
    fn netns_a_dump_is_read_to_its_end() {
        let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let mut raw = Raw::open(home.netns()).unwrap();
        let before = raw.dump().unwrap();
        for n in 0..100 {
            home.veth(&format!("a{n}"), &far, &format!("b{n}")).unwrap();
        }
        let after = raw.dump().unwrap();
        assert!(after > before + 100 * 500, "{before} {after}");
        assert_eq!(
            raw.dump().unwrap(),
            after,
            "nothing is left of the one before"
        );
    }
}
