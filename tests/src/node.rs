//! A node made of network namespaces: its home, the world beyond its uplink, and the far end of each network card.
//!
//! ```text
//!  outside ──── uplink0 ┐
//!                       │ home ── nic ──── wire (one namespace a card)
//!  cni ──── eth0 of a pod
//! ```
//! Everything is in namespaces of its own and goes with the last handle; the machine's own links are never touched.

mod netns;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use ipnet::IpNet;
use network_driver_common::model::IfName;
use network_driver_netlink::testing::{Namespace, State, permanent_address};
use network_driver_netlink::{LinkChange, LinkKind, NewLink};

use crate::wait::slowed;

pub use netns::PodNetns;

/// Address of the node on its uplink.
pub const NODE_ADDRESS: &str = "10.99.0.2";
/// Address of the world beyond it.
pub const OUTSIDE_ADDRESS: &str = "10.99.0.1";
/// Name of the uplink.
pub const UPLINK: &str = "uplink0";

/// The node.
#[derive(Debug)]
pub struct Node {
    home: Namespace,
    outside: Namespace,
    cni: Namespace,
    nics: Vec<Nic>,
    /// Far ends of plain links: a link goes when its other end does.
    wires: Mutex<Vec<Namespace>>,
}

/// A network card: a link at home and what is at the other end of its cable.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its name at home.
    pub name: IfName,
    /// The other end's address; whoever has the card can ping it from the same /24.
    pub far_address: Ipv4Addr,
    /// An address of that network for whoever has the card.
    pub near_address: IpNet,
    /// The namespace of the other end.
    pub wire: Namespace,
}

fn namespace() -> anyhow::Result<Namespace> {
    let what = "make network namespaces (needs root or `unshare --user --map-root-user --net`)";
    Namespace::new().context(what)
}

impl Node {
    /// A node with an uplink and no card yet.
    ///
    /// # Errors
    /// Namespaces cannot be made: neither root nor a user namespace.
    pub fn new() -> anyhow::Result<Self> {
        Self::at(namespace()?)
    }

    /// The machine itself as the node, with its own cards: a card falls back into the machine's namespace and no other.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn on_this_machine() -> anyhow::Result<Self> {
        let home = Namespace::current()?;
        // The uplink of the node before goes with the namespace at its other end, a moment after its test.
        let (begun, limit) = (Instant::now(), slowed(Duration::from_secs(5)));
        while home
            .link_names()?
            .iter()
            .any(|name| name.to_string() == UPLINK)
        {
            ensure!(
                begun.elapsed() < limit,
                "the machine has a link {UPLINK} already"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self::at(home)
    }

    fn at(home: Namespace) -> anyhow::Result<Self> {
        let node = Self {
            home,
            outside: namespace()?,
            cni: namespace()?,
            nics: Vec::new(),
            wires: Mutex::default(),
        };
        node.skip_duplicate_detection()?;
        node.home.veth(UPLINK, &node.outside, "node")?;
        for (side, link, address) in [
            (&node.home, UPLINK, NODE_ADDRESS),
            (&node.outside, "node", OUTSIDE_ADDRESS),
        ] {
            side.add_address(link, format!("{address}/24").parse()?)?;
            side.set_up(link, true)?;
        }
        node.add_default_route()?;
        Ok(node)
    }

    /// IPv6 addresses of home are there at once, where the kernel lets us say so; else in a second or two.
    fn skip_duplicate_detection(&self) -> anyhow::Result<()> {
        let write = || {
            for scope in ["all", "default"] {
                let file = format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad");
                // Without it, only slower.
                drop(std::fs::write(file, "0"));
            }
        };
        Ok(self.home.netns().run(write)?)
    }

    /// Whether every link of home that is up has the IPv6 address that the kernel gives it: what home looks like then
    /// stays so by itself.
    ///
    /// # Errors
    /// Home cannot be read.
    pub fn is_settled(&self) -> anyhow::Result<bool> {
        const TENTATIVE: u32 = 0x40;
        let mut socket = self.home.socket()?;
        let addresses = socket.addresses(None)?;
        let has_own = |index: u32| {
            addresses.iter().any(|a| {
                let link_local = matches!(a.address.address, IpNet::V6(net) if net.addr().is_unicast_link_local());
                a.index == index && link_local && a.address.flags & TENTATIVE == 0
            })
        };
        let links = socket.links()?;
        let mut live = links
            .iter()
            .filter(|l| l.carrier && l.flags.up() && !l.flags.loopback());
        Ok(live.all(|link| has_own(link.index)))
    }

    fn add_default_route(&self) -> anyhow::Result<()> {
        let index = self.home.link(UPLINK)?.index;
        let route = network_driver_common::model::SnapshotRoute {
            destination: "0.0.0.0/0".parse()?,
            gateway: Some(OUTSIDE_ADDRESS.parse()?),
            preferred_source: None,
            table: 254,
            protocol: 3,
            scope: 0,
            kind: 1,
            metric: 100,
            onlink: false,
            options: network_driver_common::model::RouteOptions::default(),
        };
        Ok(self.home.socket()?.add_route(index, &route)?)
    }

    /// Plugs in a card that is up and has an alias, an alternative name, an MTU and an address of its own: all that
    /// must be there again when it comes home.
    ///
    /// # Errors
    /// The kernel refuses the name.
    pub fn add_nic(&mut self, name: IfName) -> anyhow::Result<Nic> {
        let number = u8::try_from(self.nics.len().saturating_add(1))?;
        let wire = Namespace::new()?;
        self.cable(&name, &wire, "far")?;
        let far_address = Ipv4Addr::new(10, 1, number, 1);
        wire.add_address("far", IpNet::new(far_address.into(), 24)?)?;
        wire.set_up("far", true)?;
        let mut home = self.home.socket()?;
        let link = home.link_by_name(&name)?.context("the card just made")?;
        let change = LinkChange {
            mtu: Some(1450),
            alias: Some(format!("rack 7 port {number}").into_bytes()),
            ..LinkChange::default()
        };
        home.change_link(link.index, &change)?;
        home.add_altname(link.index, format!("altname-of-port-{number}").as_bytes())?;
        let up = LinkChange {
            up: Some(true),
            ..LinkChange::default()
        };
        home.change_link(link.index, &up)?;
        let own = IpNet::new(Ipv4Addr::new(172, 20, number, 1).into(), 24)?;
        home.add_address(link.index, &permanent_address(own))?;
        let nic = Nic {
            name,
            far_address,
            near_address: IpNet::new(Ipv4Addr::new(10, 1, number, 2).into(), 24)?,
            wire,
        };
        self.nics.push(nic.clone());
        Ok(nic)
    }

    /// Plugs in many plain cards `<prefix>0` … whose far ends share a namespace.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn add_links(&self, prefix: &str, count: usize) -> anyhow::Result<Namespace> {
        let wire = Namespace::new()?;
        for number in 0..count {
            let name: IfName = format!("{prefix}{number}").parse()?;
            self.cable(&name, &wire, name.as_str().unwrap_or("far"))?;
        }
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        wires.push(wire.clone());
        Ok(wire)
    }

    fn cable(&self, name: &IfName, wire: &Namespace, far: &str) -> anyhow::Result<()> {
        let kind = LinkKind::Veth {
            peer: far.parse()?,
            peer_netns: Some(wire.netns().clone()),
            peer_hardware_address: None,
        };
        let link = NewLink::new(name.clone(), kind);
        Ok(self.home.socket()?.create_link(&link)?)
    }

    /// The network of a new sandbox, as CNI leaves it: loopback and `eth0`.
    ///
    /// # Errors
    /// The namespace cannot be made.
    pub fn add_pod(&self, path: std::path::PathBuf) -> anyhow::Result<PodNetns> {
        PodNetns::new(path, &self.cni)
    }

    /// The namespace where free links live.
    pub fn home(&self) -> &Namespace {
        &self.home
    }

    /// A card by its name.
    pub fn nic(&self, name: &str) -> Option<&Nic> {
        let mut nics = self.nics.iter();
        nics.find(|nic| nic.name.as_str() == Some(name))
    }

    /// What home looks like.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state(&self) -> anyhow::Result<State> {
        Ok(self.home.state()?)
    }

    /// A listening socket beyond the uplink.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn listen_outside(&self) -> anyhow::Result<TcpListener> {
        let listen = || TcpListener::bind((OUTSIDE_ADDRESS, 0));
        Ok(self.outside.netns().run(listen)??)
    }
}
