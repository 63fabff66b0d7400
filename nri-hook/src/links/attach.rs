//! A pod's devices brought into it and configured: all or none.
//!
//! ```text
//! read home ─► check ─► names ─► snapshots on tmpfs ─► all moves ─► configure in one run ─► read back
//!                                                      └── any failure: the way home (detach) ──┘
//! ```
//! Moves come first and together because each holds the kernel's lock for milliseconds, and every request after one
//! waits anew for those of others; all the rest is quick and waits once.

use std::error::Error;
use std::fmt;
use std::time::Instant;

use network_driver_common::model::{
    Attachment, ClaimUid, DeviceName, DriverName, IfName, Protected, Record,
};
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::{Link, Netns, OpenSocketError, RequestError, Socket};

use super::check::{Refusal, check_record, wanted_name};
use super::configure::{Configurator, ConfigureError, Interface, Seen};
use super::detach::Quarantined;
use super::home::Home;
use super::plan::{self, NameConflict, Names};
use super::state::StateError;
use crate::chain;

/// A claim whose devices are in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttachedClaim {
    /// The claim.
    pub(crate) claim: ClaimUid,
    /// Its interfaces as they were read back, in the order of the record's attachments.
    pub(crate) interfaces: Vec<AttachedInterface>,
}

/// An attach that did not succeed and was undone.
#[derive(Debug)]
pub(crate) struct AttachError {
    /// What failed.
    failure: Box<AttachFailure>,
    /// Devices that the undo could not bring home as they were.
    pub(crate) quarantined: Vec<Quarantined>,
}

impl AttachError {
    pub(crate) fn new(failure: AttachFailure, quarantined: Vec<Quarantined>) -> Self {
        Self {
            failure: Box::new(failure),
            quarantined,
        }
    }

    /// Reason of the closed list: `InterfaceAttachFailed`, `InterfaceNameConflict`, `HostNetworkNotSupported`, or that
    /// of a [`Refusal`].
    pub(crate) fn reason(&self) -> &'static str {
        match self.failure.as_ref() {
            AttachFailure::HomeNamespace => "HostNetworkNotSupported",
            AttachFailure::Refused(refusal) => refusal.reason,
            AttachFailure::Name(_) => "InterfaceNameConflict",
            _ => "InterfaceAttachFailed",
        }
    }

    /// A sentence for people with all causes, and with what the undo left behind.
    pub(crate) fn message(&self) -> String {
        let mut message = chain(self.failure.as_ref());
        for Quarantined { reason, .. } in &self.quarantined {
            message.push_str("; ");
            message.push_str(reason);
        }
        message
    }
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure.source()
    }
}

/// What failed in an attach.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachFailure {
    /// The pod has no network namespace of its own.
    #[error("the pod's network namespace is the node's own")]
    HomeNamespace,
    /// No socket in the node's or the pod's namespace.
    #[error("open a socket in the {place}'s network namespace")]
    Open {
        /// `node` or `pod`.
        place: &'static str,
        /// Why not.
        #[source]
        source: OpenSocketError,
    },
    /// The node's or the pod's links could not be read.
    #[error("read the {place}'s network")]
    Read {
        /// `node` or `pod`.
        place: &'static str,
        /// Why not.
        #[source]
        source: RequestError,
    },
    /// A device cannot be lent.
    #[error(transparent)]
    Refused(Refusal),
    /// A name cannot be given.
    #[error(transparent)]
    Name(NameConflict),
    /// The snapshots could not be kept.
    #[error("keep what the links look like")]
    State(#[source] StateError),
    /// A device that an earlier attach left away could not be brought home first.
    #[error("{0}")]
    NotHome(String),
    /// A link was not moved.
    #[error("move device {device} (interface {home_name}) into the pod as {name}")]
    Move {
        /// Which device.
        device: DeviceName,
        /// Its name at home.
        home_name: IfName,
        /// Its name in the pod.
        name: IfName,
        /// Why not.
        #[source]
        source: RequestError,
    },
    /// A link was moved and is not there.
    #[error("device {device} is not in the pod after its move")]
    Vanished {
        /// Which device.
        device: DeviceName,
    },
    /// An interface was not configured.
    #[error("configure interface {name} of device {device}")]
    Configure {
        /// Which device.
        device: DeviceName,
        /// Its name in the pod.
        name: IfName,
        /// Why not.
        #[source]
        source: ConfigureError,
    },
    /// An interface is not what it was made to be.
    #[error("interface {name} of device {device} {difference}")]
    Differs {
        /// Which device.
        device: DeviceName,
        /// Its name in the pod.
        name: IfName,
        /// In what, as a phrase that follows the name.
        difference: String,
    },
    /// The time the runtime gives is over.
    #[error("no time left to {step}")]
    Late {
        /// What was to be done next.
        step: String,
    },
}

/// What the two sides look like before anything moves.
pub(crate) struct Departure<'a> {
    driver: &'a DriverName,
    deadline: Instant,
    home: Home,
    home_socket: Socket,
    pod_socket: Socket,
}

impl<'a> Departure<'a> {
    /// Opens both namespaces and reads home.
    pub(crate) fn prepare(
        driver: &'a DriverName,
        home: &Netns,
        pod: &Netns,
        protected: &Protected,
        deadline: Instant,
    ) -> Result<Self, AttachFailure> {
        let open = |place, netns| {
            let mut socket =
                Socket::open_in(netns).map_err(|source| AttachFailure::Open { place, source })?;
            socket.set_deadline(Some(deadline));
            Ok(socket)
        };
        let mut home_socket = open("node", home)?;
        let pod_socket = open("pod", pod)?;
        let home = Home::read(&mut home_socket, protected).map_err(read("node"))?;
        Ok(Self {
            driver,
            deadline,
            home,
            home_socket,
            pod_socket,
        })
    }

    /// Checks everything that can be known before the first move.
    ///
    /// # Errors
    /// What the kernel or the user's wish would make fail; nothing was touched then.
    pub(crate) fn plan<'r>(
        &mut self,
        records: &'r [Record],
    ) -> Result<Vec<Trip<'r>>, AttachFailure> {
        let mut trips = Vec::new();
        for record in records {
            let links =
                check_record(&self.home, self.driver, record).map_err(AttachFailure::Refused)?;
            trips.extend(
                record
                    .attachments
                    .iter()
                    .zip(links)
                    .map(|(attachment, link)| Trip {
                        claim: &record.claim.uid,
                        attachment,
                        link: link.clone(),
                    }),
            );
        }
        let in_pod = self.pod_socket.links().map_err(read("pod"))?;
        let taken = in_pod.iter().flat_map(|link| {
            let altnames = link.altnames.iter().map(Vec::as_slice);
            altnames.chain([link.name.as_bytes()])
        });
        let names: Vec<_> = trips.iter().map(Trip::names).collect();
        plan::check_names(&names, taken).map_err(AttachFailure::Name)?;
        Ok(trips)
    }

    /// A record with its snapshots taken now.
    pub(crate) fn refreshed(&self, record: &Record, trips: &[Trip<'_>]) -> Record {
        let mut record = record.clone();
        for attachment in &mut record.attachments {
            let mut trips = trips.iter();
            let trip = trips.find(|trip| trip.attachment.device.name == attachment.device.name);
            attachment.snapshot = trip.map(|trip| self.home.snapshot(&trip.link));
        }
        record
    }

    /// Moves and configures, in this order: every link leaves before the first is configured.
    pub(crate) fn run(
        mut self,
        trips: &[Trip<'_>],
        pod: &Netns,
        configurators: &[Box<dyn Configurator>],
    ) -> Result<Vec<AttachedInterface>, AttachFailure> {
        for trip in trips {
            self.in_time(|| format!("move device {}", trip.attachment.device.name))?;
            let moved = self
                .home_socket
                .move_link(trip.link.index, pod, trip.name());
            moved.map_err(|source| AttachFailure::Move {
                device: trip.attachment.device.name.clone(),
                home_name: trip.link.name.clone(),
                name: trip.name().clone(),
                source,
            })?;
        }
        let interfaces = self.arrived(trips)?;
        for configurator in configurators {
            for interface in &interfaces {
                self.in_time(|| format!("configure interface {}", interface.name))?;
                let applied = configurator.apply(&mut self.pod_socket, interface);
                applied.map_err(|source| AttachFailure::Configure {
                    device: interface.attachment.device.name.clone(),
                    name: interface.name.clone(),
                    source,
                })?;
            }
        }
        self.verify(&interfaces, configurators)
    }

    fn in_time(&self, step: impl FnOnce() -> String) -> Result<(), AttachFailure> {
        if Instant::now() < self.deadline {
            Ok(())
        } else {
            Err(AttachFailure::Late { step: step() })
        }
    }

    /// The links as they are in the pod; their indexes may have changed.
    fn arrived<'t>(&mut self, trips: &'t [Trip<'_>]) -> Result<Vec<Interface<'t>>, AttachFailure>
    where
        'a: 't,
    {
        let links = self.pod_socket.links().map_err(read("pod"))?;
        trips
            .iter()
            .map(|trip| {
                let found = links.iter().find(|link| link.name == *trip.name());
                Ok(Interface {
                    driver: self.driver,
                    claim: trip.claim,
                    attachment: trip.attachment,
                    home_name: &trip.link.name,
                    name: trip.name(),
                    link: found.cloned().ok_or_else(|| trip.vanished())?,
                })
            })
            .collect()
    }

    /// Reads everything back and asks each configurator whether it is as wanted.
    fn verify(
        &mut self,
        interfaces: &[Interface<'_>],
        configurators: &[Box<dyn Configurator>],
    ) -> Result<Vec<AttachedInterface>, AttachFailure> {
        let links = self.pod_socket.links().map_err(read("pod"))?;
        let addresses = self.pod_socket.addresses(None).map_err(read("pod"))?;
        let routes = self.pod_socket.routes().map_err(read("pod"))?;
        interfaces
            .iter()
            .map(|interface| {
                let device = &interface.attachment.device.name;
                let index = interface.link.index;
                let Some(link) = links.iter().find(|link| link.index == index) else {
                    let device = device.clone();
                    return Err(AttachFailure::Vanished { device });
                };
                let seen = Seen::new(link.clone(), &addresses, &routes);
                let mut found = configurators
                    .iter()
                    .filter_map(|c| c.verify(interface, &seen));
                match found.next() {
                    None => Ok(report(interface, &seen)),
                    Some(difference) => Err(AttachFailure::Differs {
                        device: device.clone(),
                        name: interface.name.clone(),
                        difference,
                    }),
                }
            })
            .collect()
    }
}

/// A device's way into the pod.
#[derive(Debug)]
pub(crate) struct Trip<'r> {
    claim: &'r ClaimUid,
    attachment: &'r Attachment,
    /// The link at home.
    link: Link,
}

impl Trip<'_> {
    /// Name in the pod.
    fn name(&self) -> &IfName {
        wanted_name(self.attachment, &self.link.name)
    }

    fn names(&self) -> Names<'_> {
        Names {
            device: &self.attachment.device.name,
            name: self.name(),
            altnames: &self.link.altnames,
        }
    }

    fn vanished(&self) -> AttachFailure {
        let device = self.attachment.device.name.clone();
        AttachFailure::Vanished { device }
    }
}

fn read(place: &'static str) -> impl FnOnce(RequestError) -> AttachFailure {
    move |source| AttachFailure::Read { place, source }
}

fn report(interface: &Interface<'_>, seen: &Seen) -> AttachedInterface {
    AttachedInterface {
        device: interface.attachment.device.name.clone(),
        name: seen.link.name.clone(),
        hardware_address: seen.link.hardware_address.clone(),
        addresses: seen.networks().collect(),
        mtu: seen.link.mtu,
        home_name: interface.home_name.clone(),
    }
}
