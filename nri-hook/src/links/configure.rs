//! What is done to an interface once it is in the pod: one file a thing, in the order of [`all`].
//!
//! A new thing is a file with a [`Configurator`] and a line in [`all`]. Nothing here knows of undo, because the way
//! home is the undo: a link loses addresses, routes and up by moving, and what travels with it (name, MTU, alias, flags,
//! offload features, …) is put back from its snapshot.

mod addresses;
mod mark;
mod mtu;
mod routes;
mod up;

use ipnet::IpNet;
use network_driver_common::model::{
    Attachment, ClaimUid, DriverName, IfName, SnapshotAddress, SnapshotRoute,
};
use network_driver_netlink::{Address, Link, RequestError, RouteEntry, Socket};

use super::snapshot;

/// One thing that is done to an interface in a pod.
///
/// # Guarantees
/// Called for every interface of the pod before the next configurator is called for any. `apply` of what is already so
/// succeeds. The socket speaks in the pod's namespace and has the deadline of the attach.
///
/// # Assumptions
/// What it does is lost when the link leaves the pod (as addresses, routes and up are), or is part of the link's
/// snapshot and so put back at home (as MTU, name, alias and flags are).
///
/// # Example
/// `configure/mtu.rs` is a whole one: a setting that travels with the link.
pub(crate) trait Configurator: Send + Sync {
    /// Which step of an attach it is a part of, as traces show it.
    fn stage(&self) -> Stage {
        Stage::Interface
    }

    /// Does it.
    ///
    /// # Errors
    /// The first request that the kernel refuses.
    fn apply(&self, socket: &mut Socket, interface: &Interface<'_>) -> Result<(), ConfigureError>;

    /// What is not as it was wanted, as a phrase that follows the interface's name.
    fn verify(&self, interface: &Interface<'_>, seen: &Seen) -> Option<String>;
}

/// A step of an attach, as traces show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The interface itself and its addresses.
    Interface,
    /// Where it leads.
    Routes,
}

/// All of them, in order. The mark comes first: from then on the link says itself whose it is. Up comes after the
/// addresses, so that nothing is sent under a wrong one, and before the routes, which need it.
pub(crate) fn all() -> Vec<Box<dyn Configurator>> {
    vec![
        Box::new(mark::SetMark),
        Box::new(mtu::SetMtu),
        Box::new(addresses::AddAddresses),
        Box::new(up::SetUp),
        Box::new(routes::AddRoutes),
    ]
}

/// An interface that was moved into a pod.
#[derive(Debug)]
pub(crate) struct Interface<'a> {
    /// Name of the driver, for the mark.
    pub(crate) driver: &'a DriverName,
    /// The claim that holds it.
    pub(crate) claim: &'a ClaimUid,
    /// What is wanted.
    pub(crate) attachment: &'a Attachment,
    /// Its name at home.
    pub(crate) home_name: &'a IfName,
    /// Name that it is to have.
    pub(crate) name: &'a IfName,
    /// The link as it left home, but with its index in the pod. A move keeps MTU and hardware address.
    pub(crate) link: Link,
}

impl Interface<'_> {
    /// Whether routes are wanted over it.
    pub(crate) fn has_routes(&self) -> bool {
        !self.attachment.config.routes.is_empty()
    }
}

/// An interface as it was read back.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The link.
    pub(crate) link: Link,
    /// Its addresses, but for those the kernel makes.
    pub(crate) addresses: Vec<SnapshotAddress>,
    /// Routes over it that someone set.
    pub(crate) routes: Vec<SnapshotRoute>,
    /// Routes of the pod over other links.
    pub(crate) other_routes: Vec<SnapshotRoute>,
}

impl Seen {
    /// What was read of the pod, as far as it is about the link.
    pub(crate) fn new(link: Link, addresses: &[Address], routes: &[RouteEntry]) -> Self {
        let others = routes
            .iter()
            .filter(|entry| entry.index != Some(link.index));
        Self {
            addresses: snapshot::set_addresses(link.index, &link.name, addresses),
            routes: snapshot::set_routes(link.index, routes),
            other_routes: others.map(|entry| entry.route.clone()).collect(),
            link,
        }
    }

    /// Addresses with their prefix.
    pub(crate) fn networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.addresses.iter().map(|address| address.address)
    }
}

/// A request for an interface in a pod that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub(crate) struct ConfigureError {
    step: String,
    #[source]
    source: RequestError,
}

impl ConfigureError {
    /// A step, as a verb with its object, that failed.
    pub(crate) fn new(step: impl Into<String>) -> impl FnOnce(RequestError) -> Self {
        let step = step.into();
        move |source| Self { step, source }
    }
}
