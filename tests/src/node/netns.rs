//! The network namespace of a pod's sandbox.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use network_driver_netlink::testing::Namespace;
use network_driver_netlink::{LinkKind, Netns, NewLink};

use crate::runtime::SandboxNetwork;

/// A namespace with a place in the file system: a link to this process' handle stands for the mount that a runtime
/// makes, and opens as a real namespace from any process.
#[derive(Debug)]
pub struct PodNetns {
    path: PathBuf,
    namespace: Mutex<Option<Namespace>>,
}

impl PodNetns {
    pub(super) fn new(path: PathBuf, cni: &Namespace) -> anyhow::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let namespace = Namespace::new()?;
        let kind = LinkKind::Veth {
            peer: format!("pod{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse()?,
            peer_netns: Some(cni.netns().clone()),
            peer_hardware_address: None,
        };
        namespace
            .socket()?
            .create_link(&NewLink::new("eth0".parse()?, kind))?;
        namespace.add_address("eth0", "10.244.0.7/32".parse()?)?;
        namespace.set_up("eth0", true)?;
        let fd = namespace.netns().as_fd().as_raw_fd();
        let handle = format!("/proc/{}/fd/{fd}", std::process::id());
        std::os::unix::fs::symlink(handle, &path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        let namespace = Mutex::new(Some(namespace));
        Ok(Self { path, namespace })
    }

    /// The namespace, until it is removed.
    pub fn namespace(&self) -> Option<Namespace> {
        let namespace = self.namespace.lock();
        namespace.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same as a handle to enter.
    pub fn netns(&self) -> Option<Netns> {
        self.namespace().map(|namespace| namespace.netns().clone())
    }
}

impl SandboxNetwork for PodNetns {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn remove(&self) {
        // Removed twice is removed.
        drop(std::fs::remove_file(&self.path));
        let mut namespace = self
            .namespace
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *namespace = None;
    }
}

impl Drop for PodNetns {
    fn drop(&mut self) {
        self.remove();
    }
}
