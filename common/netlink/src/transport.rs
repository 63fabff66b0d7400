//! A bound netlink socket: sends and receives datagrams, and knows nothing of what is in them.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Smallest receive buffer. The kernel fits the parts of a dump to the largest read seen so far, up to this.
pub(crate) const BUFFER_BYTES: usize = 32 * 1024;
/// Largest receive buffer: far beyond any one message (a link is described in one or two kilobytes).
pub(crate) const MAX_BUFFER_BYTES: usize = 1024 * 1024;

/// Options that nix does not name. Its macro does for them what it does for its own.
mod option {
    use nix::libc;
    use nix::sys::socket::sockopt::SetBool;

    /// Errors come with the kernel's words.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct ExtendedAck;
    nix::setsockopt_impl!(
        ExtendedAck,
        libc::SOL_NETLINK,
        libc::NETLINK_EXT_ACK,
        bool,
        SetBool
    );

    /// The kernel checks what it is asked, and filters dumps by it.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct StrictChecking;
    nix::setsockopt_impl!(
        StrictChecking,
        libc::SOL_NETLINK,
        libc::NETLINK_GET_STRICT_CHK,
        bool,
        SetBool
    );
}

/// What one read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes from the kernel.
    Datagram(usize),
    /// The datagram is longer than the buffer: so many bytes.
    Truncated(usize),
    /// Somebody but the kernel wrote to us.
    Foreign,
}

#[derive(Debug)]
pub(crate) struct Transport(OwnedFd);

impl Transport {
    /// Opens in the calling thread's namespace. `groups` is the set of multicast groups, bit n - 1 for group n.
    pub(crate) fn open(protocol: SockProtocol, groups: u32, flags: SockFlag) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags | SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        setsockopt(&fd, option::ExtendedAck, &true)?;
        setsockopt(&fd, option::StrictChecking, &true)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self(fd))
    }

    /// Asks for room for unread datagrams: `bytes` with `CAP_NET_ADMIN`, else as much of it as the machine allows.
    pub(crate) fn reserve(&self, bytes: usize) -> io::Result<()> {
        setsockopt(&self.0, sockopt::RcvBufForce, &bytes)
            .or_else(|_| setsockopt(&self.0, sockopt::RcvBuf, &bytes))?;
        Ok(())
    }

    /// How long a read may wait; `None` for ever. Zero is taken as the shortest time there is.
    pub(crate) fn wait_at_most(&self, time: Option<Duration>) -> io::Result<()> {
        let micros = time.map_or(0, |time| time.as_micros().max(1));
        let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
        let rest = i64::try_from(micros % 1_000_000).unwrap_or_default();
        setsockopt(
            &self.0,
            sockopt::ReceiveTimeout,
            &TimeVal::new(seconds, rest),
        )?;
        Ok(())
    }

    /// Hands a datagram to the kernel, which does what it asks before this returns.
    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        retry(|| send(self.as_raw_fd(), datagram, MsgFlags::empty()))?;
        Ok(())
    }

    /// Reads a datagram into `buffer`.
    pub(crate) fn receive(&self, buffer: &mut [u8], flags: MsgFlags) -> io::Result<Received> {
        let room = buffer.len();
        let received = retry(|| {
            let mut parts = [IoSliceMut::new(buffer)];
            let flags = flags | MsgFlags::MSG_TRUNC;
            let read = recvmsg::<NetlinkAddr>(self.as_raw_fd(), &mut parts, None, flags)?;
            let from_kernel = read.address.is_some_and(|sender| sender.pid() == 0);
            Ok((read.bytes, from_kernel))
        })?;
        Ok(match received {
            (_, false) => Received::Foreign,
            (bytes, true) if bytes > room => Received::Truncated(bytes),
            (bytes, true) => Received::Datagram(bytes),
        })
    }
}

impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Repeats what a signal interrupted.
fn retry<T>(mut work: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match work() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
