//! Network namespaces to try things in: made here, gone with their last holder, never the machine's own.

mod link;
mod nexthop;
mod route;
mod rule;
mod state;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use network_driver_common::model::{IfName, InvalidIfName, SnapshotAddress};
use nix::errno::Errno;

use crate::error::{BuildError, OpenSocketError, RequestError};
use crate::ethtool::Ethtool;
use crate::link::{Link, LinkChange, LinkKind, NewLink};
use crate::monitor::{Group, Monitor};
use crate::netns::{Netns, OpenNetnsError};
use crate::socket::Socket;

pub use route::Way;
pub use rule::Whose;
pub use state::State;

/// How often a condition is looked at that has no event.
const PERIOD: Duration = Duration::from_millis(5);

/// A trial namespace could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TestingError {
    /// No namespace.
    #[error(transparent)]
    Netns(#[from] OpenNetnsError),
    /// No socket in it.
    #[error(transparent)]
    Socket(#[from] OpenSocketError),
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A link cannot have that name.
    #[error(transparent)]
    Name(#[from] InvalidIfName),
    /// There is no link of that name.
    #[error("no link {0:?} in the namespace")]
    NoLink(String),
    /// A condition did not come true in time.
    #[error("waited in vain for {0}")]
    Timeout(String),
}

/// A network namespace of its own, with its loopback link up.
#[derive(Debug, Clone)]
pub struct Namespace {
    netns: Netns,
}

impl Namespace {
    /// Makes one. Needs `CAP_SYS_ADMIN`, as root or in a user namespace.
    pub fn new() -> Result<Self, TestingError> {
        let namespace = Self {
            netns: Netns::create()?,
        };
        namespace.set_up("lo", true)?;
        Ok(namespace)
    }

    /// The calling thread's own, as it is: for tests on a machine that is there for nothing else.
    pub fn current() -> Result<Self, TestingError> {
        Ok(Self {
            netns: Netns::current()?,
        })
    }

    /// The namespace itself.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A socket in it.
    pub fn socket(&self) -> Result<Socket, TestingError> {
        Ok(Socket::open_in(&self.netns)?)
    }

    /// A socket to ethtool in it.
    pub fn ethtool(&self) -> Result<Ethtool, TestingError> {
        Ok(Ethtool::open_in(&self.netns)?)
    }

    /// A monitor of it that loses events when a hundred come at once. Must be called within a tokio runtime.
    pub fn cramped_monitor(&self, groups: &[Group]) -> Result<Monitor, TestingError> {
        Ok(Monitor::cramped(&self.netns, groups)?)
    }

    /// Makes a pair of links, `name` here and `peer_name` in `peer`, both down: the cable between two machines.
    pub fn veth(&self, name: &str, peer: &Self, peer_name: &str) -> Result<(), TestingError> {
        let kind = LinkKind::Veth {
            peer: peer_name.parse()?,
            peer_netns: Some(peer.netns.clone()),
            peer_hardware_address: None,
        };
        let link = NewLink::new(name.parse()?, kind);
        Ok(self.socket()?.create_link(&link)?)
    }

    /// The link of that name.
    pub fn link(&self, name: &str) -> Result<Link, TestingError> {
        let found = self.socket()?.link_by_name(&name.parse()?)?;
        found.ok_or_else(|| TestingError::NoLink(name.to_owned()))
    }

    /// Names of all links but the loopback, sorted.
    pub fn link_names(&self) -> Result<Vec<IfName>, TestingError> {
        let links = self.socket()?.links()?;
        let others = links.into_iter().filter(|link| !link.flags.loopback());
        let mut names: Vec<_> = others.map(|link| link.name).collect();
        names.sort();
        Ok(names)
    }

    /// Switches a link on or off.
    pub fn set_up(&self, name: &str, up: bool) -> Result<(), TestingError> {
        let change = LinkChange {
            up: Some(up),
            ..LinkChange::default()
        };
        let index = self.link(name)?.index;
        Ok(self.socket()?.change_link(index, &change)?)
    }

    /// Gives a link an address for ever; an IPv6 one without asking around for duplicates.
    pub fn add_address(&self, name: &str, address: IpNet) -> Result<(), TestingError> {
        let index = self.link(name)?.index;
        Ok(self
            .socket()?
            .add_address(index, &permanent_address(address))?)
    }

    /// What must be the same before and after.
    pub fn state(&self) -> Result<State, TestingError> {
        State::read(&mut self.socket()?, &mut self.ethtool()?)
    }

    /// Waits until the state is `wanted`; what the kernel makes by itself takes a moment to come.
    ///
    /// # Errors
    /// After `time` with the difference that is left.
    pub fn wait_for_state(&self, wanted: &State, time: Duration) -> Result<(), TestingError> {
        let end = Instant::now().checked_add(time);
        loop {
            let state = self.state()?;
            if state == *wanted {
                return Ok(());
            }
            if end.is_none_or(|end| end <= Instant::now()) {
                return Err(TestingError::Timeout(wanted.difference(&state)));
            }
            std::thread::sleep(PERIOD);
        }
    }
}

/// An address as somebody would give it to a link, for ever.
pub fn permanent_address(address: IpNet) -> SnapshotAddress {
    /// `IFA_F_PERMANENT`.
    const PERMANENT: u32 = 0x80;
    /// `IFA_F_NODAD`.
    const NO_DUPLICATE_DETECTION: u32 = 0x02;
    let v6 = matches!(address.addr(), IpAddr::V6(_));
    SnapshotAddress {
        address,
        peer: None,
        broadcast: None,
        scope: 0,
        flags: if v6 {
            PERMANENT | NO_DUPLICATE_DETECTION
        } else {
            PERMANENT
        },
        label: Vec::new(),
        preferred_lifetime: u32::MAX,
        valid_lifetime: u32::MAX,
        protocol: 0,
        metric: 0,
    }
}

/// Whether this kernel has links of that kind. Tried in a namespace of its own; a parent in `kind` need not exist.
pub fn kernel_has(kind: &LinkKind) -> Result<bool, TestingError> {
    let link = NewLink::new("probe".parse()?, kind.clone());
    match Namespace::new()?.socket()?.create_link(&link) {
        Ok(()) => Ok(true),
        Err(error) => match error.errno() {
            Some(Errno::EOPNOTSUPP) => Ok(false),
            Some(_) => Ok(true), // known, but not like this
            None => Err(error.into()),
        },
    }
}

/// Whether a test must be left out because this kernel has no links of that kind. Says so on standard error.
pub fn skipped_without(kind: &LinkKind) -> Result<bool, TestingError> {
    let has = kernel_has(kind)?;
    if !has {
        #[expect(clippy::print_stderr, reason = "a test must not be left out silently")]
        {
            eprintln!("SKIPPED: this kernel has no {kind:?}");
        }
    }
    Ok(!has)
}

/// An attribute by itself, for where a list of them is not at the end of a message. Its value is a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Result<Vec<u8>, BuildError> {
    /// Size of `struct rtattr`.
    const HEADER: usize = 4;
    let length = short(value.len().saturating_add(HEADER))?;
    Ok([&length, &kind.to_ne_bytes()[..], value].concat())
}

/// A length as the kernel wants it.
fn short(length: usize) -> Result<[u8; 2], BuildError> {
    let length = u16::try_from(length).map_err(BuildError::of)?;
    Ok(length.to_ne_bytes())
}
