//! The real kernel, in namespaces made for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use network_driver_common::model::{IfName, LinkIdentity};
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{Link, LinkKind, NetnsId, NewLink};

use super::{DEVICES, Kernel, NAMESPACES, Seen, hardware_address, home_name, identity};
use crate::links::Links;

/// Longest time that the kernel takes to end a namespace.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Real {
    home: Namespace,
    far: Namespace,
    dir: tempfile::TempDir,
    /// Those of pods, until nobody needs them any more.
    pods: [Option<Namespace>; NAMESPACES],
}

impl Real {
    pub(super) fn new() -> Self {
        let (home, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        let mut real = Self {
            home,
            far,
            dir: tempfile::tempdir().unwrap(),
            pods: Default::default(),
        };
        (0..DEVICES).for_each(|device| real.plug(device));
        real
    }

    fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn pod(&self, slot: usize) -> &Namespace {
        self.pods[slot].as_ref().unwrap()
    }

    /// The far end of a device's cable, which is there for as long as the device.
    fn far_end(&self, number: usize) -> Option<Link> {
        let name: IfName = format!("far{number}").parse().unwrap();
        self.far.socket().unwrap().link_by_name(&name).unwrap()
    }

    fn find(namespace: &Namespace, number: usize) -> Option<Link> {
        let links = namespace.socket().unwrap().links().unwrap();
        let address = hardware_address(number);
        links
            .into_iter()
            .find(|link| link.hardware_address == address)
    }

    fn wait_until_gone(&self, number: usize) {
        let begun = Instant::now();
        while self.far_end(number).is_some() {
            assert!(begun.elapsed() < PATIENCE, "device {number} does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Kernel for Real {
    type Devices = Links;

    fn devices(&self) -> Arc<Links> {
        let driver = "network.example.com".parse().unwrap();
        let home = self.home.netns().clone();
        Arc::new(Links::new(home, driver, self.state_dir()).unwrap())
    }

    fn identity(&self, number: usize) -> LinkIdentity {
        identity(number)
    }

    fn look(&self, number: usize) -> Seen {
        if let Some(link) = Self::find(&self.home, number) {
            let as_before = link.name == home_name(number)
                && link.mtu == 1500
                && link.alias.is_empty()
                && link.flags.up();
            return Seen::Home { as_before };
        }
        let is_here = |pod: &Option<Namespace>| {
            let found = pod.as_ref().and_then(|pod| Self::find(pod, number));
            found.is_some()
        };
        match self.pods.iter().position(is_here) {
            Some(slot) => Seen::Pod(slot),
            None => Seen::Nowhere,
        }
    }

    fn open(&mut self) -> Option<usize> {
        let free = self.pods.iter().position(Option::is_none)?;
        self.pods[free] = Some(Namespace::new().unwrap());
        Some(free)
    }

    fn path(&self, slot: usize) -> PathBuf {
        self.pod(slot).netns().path()
    }

    fn id(&self, slot: usize) -> NetnsId {
        self.pod(slot).netns().id()
    }

    fn die(&mut self, slot: usize) {
        let pod = self.pods[slot].take().unwrap();
        let is_here = |number: &usize| Self::find(&pod, *number).is_some();
        let inside: Vec<_> = (0..DEVICES).filter(is_here).collect();
        drop(pod);
        for number in inside {
            self.wait_until_gone(number);
        }
    }

    fn unplug(&mut self, number: usize) {
        if let Some(far) = self.far_end(number) {
            let mut socket = self.far.socket().unwrap();
            socket.delete_link(far.index).unwrap();
            self.wait_until_gone(number);
        }
    }

    fn plug(&mut self, number: usize) {
        let kind = LinkKind::Veth {
            peer: format!("far{number}").parse().unwrap(),
            peer_netns: Some(self.far.netns().clone()),
            peer_hardware_address: None,
        };
        let mut link = NewLink::new(home_name(number), kind);
        link.hardware_address = Some(hardware_address(number));
        link.up = true;
        self.home.socket().unwrap().create_link(&link).unwrap();
    }

    fn forget_kept(&mut self) {
        drop(std::fs::remove_dir_all(self.state_dir()));
    }

    fn trouble(&mut self, _: Option<u32>, _: Option<u32>) {}

    fn took_the_hook(&mut self) -> bool {
        false
    }
}
