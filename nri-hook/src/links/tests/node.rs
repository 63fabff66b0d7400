//! A node for a test: its home namespace, the far end of its cables, and the hook's links.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use network_driver_common::model::{
    Attachment, ClaimRef, Device, DeviceName, IfName, InterfaceConfig, LinkIdentity, Mtu,
    Protected, Record, Route, RouteOptions, SnapshotAddress, SnapshotNeighbor, SnapshotRoute,
};
use network_driver_netlink::testing::{Namespace, State, permanent_address};
use network_driver_netlink::{Address, Link, LinkChange, LinkKind, NewLink};

use crate::links::{AttachError, AttachedClaim, Links, Quarantined};

/// The driver's name in tests.
pub(super) const DRIVER: &str = "network.example.com";

pub(super) struct Node {
    pub(super) home: Namespace,
    pub(super) far: Namespace,
    pub(super) links: Links,
    dir: tempfile::TempDir,
}

impl Node {
    /// A node with a cable for each name; both ends up, so that there is a carrier. Its IPv6 addresses are usable at
    /// once, where that can be had.
    pub(super) fn new(names: &[&[u8]]) -> Self {
        let home = Namespace::new().unwrap();
        let at_once = |conf| fs::write(format!("/proc/sys/net/ipv6/conf/{conf}/accept_dad"), "0");
        drop(home.netns().run(move || ["all", "default"].map(at_once)));
        Self::of(home, names)
    }

    /// The same with duplicate detection, which takes a second or two after each up.
    pub(super) fn with_duplicate_detection(names: &[&[u8]]) -> Self {
        Self::of(Namespace::new().unwrap(), names)
    }

    fn of(home: Namespace, names: &[&[u8]]) -> Self {
        let far = Namespace::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let links = links_of(&home, &dir);
        let node = Self {
            home,
            far,
            links,
            dir,
        };
        for (number, name) in names.iter().enumerate() {
            let peer = format!("far{number}");
            let kind = LinkKind::Veth {
                peer: peer.parse().unwrap(),
                peer_netns: Some(node.far.netns().clone()),
                peer_hardware_address: None,
            };
            let link = NewLink::new(if_name(name), kind);
            node.home.socket().unwrap().create_link(&link).unwrap();
            node.far.set_up(&peer, true).unwrap();
            node.change(name, |change| change.up = Some(true));
        }
        node
    }

    /// The hook after a restart.
    pub(super) fn restart(&mut self) {
        self.links = links_of(&self.home, &self.dir);
    }

    /// The hook after a restart that lost its directory too.
    pub(super) fn restart_without_state(&mut self) {
        self.dir = tempfile::tempdir().unwrap();
        self.restart();
    }

    pub(super) fn link(&self, name: &[u8]) -> Link {
        link_in(&self.home, name).unwrap()
    }

    pub(super) fn change(&self, name: &[u8], set: impl FnOnce(&mut LinkChange)) {
        let mut change = LinkChange::default();
        set(&mut change);
        let index = self.link(name).index;
        let mut socket = self.home.socket().unwrap();
        socket.change_link(index, &change).unwrap();
    }

    pub(super) fn add_address(&self, name: &[u8], address: &SnapshotAddress) {
        let index = self.link(name).index;
        let mut socket = self.home.socket().unwrap();
        socket.add_address(index, address).unwrap();
    }

    pub(super) fn add_route(&self, name: &[u8], route: &SnapshotRoute) {
        let index = self.link(name).index;
        let mut socket = self.home.socket().unwrap();
        socket.add_route(index, route).unwrap();
    }

    pub(super) fn add_neighbor(&self, name: &[u8], neighbor: &SnapshotNeighbor) {
        let index = self.link(name).index;
        let mut socket = self.home.socket().unwrap();
        socket.add_neighbor(index, neighbor).unwrap();
    }

    /// Writes a setting of a link (`/proc/sys/net/<family>/conf/<link>/<setting>`).
    pub(super) fn set(&self, name: &[u8], family: &str, setting: &str, value: &str) {
        let link = if_name(name);
        let path = format!("/proc/sys/net/{family}/conf/{link}/{setting}");
        let value = value.to_owned();
        let written = self.home.netns().run(move || fs::write(path, value));
        written.unwrap().unwrap();
    }

    /// All that must be the same again, with the order of addresses. The kernel's own link-local address comes with the
    /// carrier, so its place among the others is nobody's choice.
    pub(super) fn state(&self) -> (State, Vec<IpNet>) {
        let mut socket = self.home.socket().unwrap();
        let mut addresses = socket.addresses(None).unwrap();
        addresses.retain(|entry| !entry.kernel_made());
        let order = addresses
            .iter()
            .map(|entry| entry.address.address)
            .collect();
        (self.home.state().unwrap(), order)
    }

    /// Fails unless the node looks as before.
    pub(super) fn assert_same(&self, before: &(State, Vec<IpNet>)) {
        self.home
            .wait_for_state(&before.0, Duration::from_secs(5))
            .unwrap();
        assert_eq!(self.state().1, before.1, "order of addresses");
        let left = fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(left, 0, "snapshots left behind");
    }

    /// Waits until the kernel is done with what it makes by itself: a link-local address for each link that is up, and
    /// for each IPv6 address a local route, which comes when nothing is tentative any more.
    pub(super) fn settled(&self) -> (State, Vec<IpNet>) {
        let end = in_time(10);
        while !self.is_settled() {
            assert!(Instant::now() < end, "the kernel is not done");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.state()
    }

    fn is_settled(&self) -> bool {
        let mut socket = self.home.socket().unwrap();
        let addresses = socket.addresses(None).unwrap();
        let routes = socket.routes().unwrap();
        let links = socket.links().unwrap();
        let has_own = |link: &Link| {
            let mut own = addresses.iter().filter(|entry| entry.index == link.index);
            own.any(Address::kernel_made)
        };
        let is_local = |ip: IpAddr| {
            let host = IpNet::from(ip);
            routes
                .iter()
                .any(|entry| entry.route.destination == host && entry.route.table == 255)
        };
        let mut ips = addresses.iter().map(|entry| entry.address.address.addr());
        let mut up = links.iter().filter(|link| link.flags.up());
        up.all(has_own) && ips.all(|ip| ip.is_ipv4() || is_local(ip))
    }

    /// A record of a claim for these links.
    pub(super) fn record(&self, uid: &str, devices: &[(&[u8], InterfaceConfig)]) -> Record {
        let attachments = devices
            .iter()
            .map(|(name, config)| self.attachment(name, config))
            .collect();
        Record {
            claim: ClaimRef {
                namespace: "default".to_owned(),
                name: "nic".to_owned(),
                uid: uid.parse().unwrap(),
            },
            pods: std::iter::once("pod".parse().unwrap()).collect(),
            attachments,
            traceparent: None,
            prepared: SystemTime::UNIX_EPOCH,
            boot_id: String::new(),
            sandbox: None,
        }
    }

    fn attachment(&self, name: &[u8], config: &InterfaceConfig) -> Attachment {
        let identity = LinkIdentity::Other {
            kind: "veth".to_owned(),
            hardware_address: self.link(name).hardware_address,
            home_name: if_name(name),
        };
        Attachment {
            request: "nic".to_owned(),
            pool: "node".to_owned(),
            device: Arc::new(Device {
                name: DeviceName::of(&identity),
                identity,
                interface: if_name(name),
                attributes: BTreeMap::new(),
                capacity: BTreeMap::new(),
            }),
            config: config.clone(),
            snapshot: None,
        }
    }

    /// A record as it is once prepared.
    pub(super) fn prepared(&self, uid: &str, devices: &[(&[u8], InterfaceConfig)]) -> Record {
        let mut record = self.record(uid, devices);
        let snapshots = self.links.check(&record, &Protected::default()).unwrap();
        for (attachment, snapshot) in record.attachments.iter_mut().zip(snapshots) {
            attachment.snapshot = Some(snapshot);
        }
        record
    }

    pub(super) fn attach(
        &self,
        records: &[Record],
        pod: &Namespace,
    ) -> Result<Vec<AttachedClaim>, AttachError> {
        let deadline = in_time(30);
        let protected = Protected::default();
        self.links
            .attach(records, pod.netns(), &protected, deadline)
    }

    pub(super) fn detach(&self, record: &Record, pod: Option<&Namespace>) -> Vec<Quarantined> {
        let netns = pod.map(Namespace::netns);
        self.links.detach(record, netns).quarantined
    }
}

fn links_of(home: &Namespace, dir: &tempfile::TempDir) -> Links {
    let dir = dir.path().to_owned();
    Links::new(home.netns().clone(), DRIVER.parse().unwrap(), dir).unwrap()
}

/// So many seconds from now.
pub(super) fn in_time(seconds: u64) -> Instant {
    let time = Duration::from_secs(seconds);
    Instant::now().checked_add(time).unwrap()
}

pub(super) fn link_in(namespace: &Namespace, name: &[u8]) -> Option<Link> {
    let mut socket = namespace.socket().unwrap();
    socket.link_by_name(&if_name(name)).unwrap()
}

pub(super) fn if_name(name: &[u8]) -> IfName {
    IfName::try_from(name).unwrap()
}

/// An interface's wished name, MTU, addresses and routes (`destination` or `destination via gateway`).
pub(super) fn config(
    name: &str,
    mtu: Option<u64>,
    addresses: &[&str],
    routes: &[&str],
) -> InterfaceConfig {
    let route = |text: &&str| {
        let (destination, gateway) = text.split_once(" via ").unwrap_or((text, ""));
        Route {
            destination: destination.parse().unwrap(),
            gateway: (!gateway.is_empty()).then(|| gateway.parse().unwrap()),
        }
    };
    InterfaceConfig {
        name: (!name.is_empty()).then(|| name.parse().unwrap()),
        mtu: mtu.map(|mtu| Mtu::try_from(mtu).unwrap()),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        routes: routes.iter().map(route).collect(),
    }
}

/// A configuration that uses everything.
pub(super) fn full_config(name: &str) -> InterfaceConfig {
    config(
        name,
        Some(1400),
        &["10.9.0.2/24", "fd09::2/64", "10.9.0.3/24"],
        &[
            "10.200.0.0/16 via 10.9.0.1",
            "10.201.0.0/16",
            "fd99::/48 via fd09::1",
        ],
    )
}

pub(super) fn address(text: &str) -> SnapshotAddress {
    permanent_address(text.parse().unwrap())
}

/// A permanent neighbour with a hardware address that ends in 09.
pub(super) fn neighbor(address: &str) -> SnapshotNeighbor {
    SnapshotNeighbor {
        address: address.parse().unwrap(),
        hardware_address: "02:00:00:00:00:09".parse().unwrap(),
        flags: 0,
        protocol: 0,
    }
}

pub(super) fn route(destination: &str, gateway: &str, table: u32) -> SnapshotRoute {
    let destination: IpNet = destination.parse().unwrap();
    let is_v4 = destination.addr().is_ipv4();
    SnapshotRoute {
        destination,
        gateway: (!gateway.is_empty()).then(|| gateway.parse().unwrap()),
        preferred_source: None,
        table,
        protocol: 4,
        scope: if gateway.is_empty() && is_v4 { 253 } else { 0 },
        kind: 1,
        metric: if is_v4 { 0 } else { 1024 },
        onlink: false,
        options: RouteOptions::default(),
    }
}
