//! A pod's devices brought into it and configured: all or none.
//!
//! ```text
//! read home ─► check ─► names ─► snapshots on tmpfs ─► all moves ─► configure in one run ─► read back
//!                                                      └── any failure: the way home (detach) ──┘
//! ```
//! Moves come first and together because each holds the kernel's lock for milliseconds, and every request after one
//! waits anew for those of others; all the rest is quick and waits once.

mod failure;

use std::collections::BTreeSet;
use std::time::Instant;

use network_driver_common::model::{Attachment, ClaimUid, DriverName, IfName, Protected, Record};
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::{Link, Netns, RequestError, Socket};
use tracing::info_span;

pub(crate) use failure::{AttachError, AttachFailure};

use super::check::{check_record, wanted_name};
use super::configure::{Configurator, Interface, Seen};
use super::home::Home;
use super::plan::{self, Names};

/// A claim whose devices are in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttachedClaim {
    /// The claim.
    pub(crate) claim: ClaimUid,
    /// Its interfaces as they were read back, in the order of the record's attachments.
    pub(crate) interfaces: Vec<AttachedInterface>,
}

/// What the two sides look like before anything moves.
pub(crate) struct Departure<'a> {
    driver: &'a DriverName,
    deadline: Instant,
    home: Home,
    home_socket: Socket,
    pod_socket: Socket,
    /// Indexes that links of the pod have before the first move.
    pod_indexes: BTreeSet<u32>,
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
            pod_indexes: BTreeSet::new(),
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
        self.pod_indexes = in_pod.iter().map(|link| link.index).collect();
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
            self.depart(trip, pod)?;
        }
        let interfaces = self.arrived(trips)?;
        self.configure(&interfaces, configurators)?;
        self.verify(&interfaces, configurators)
    }

    fn depart(&mut self, trip: &Trip<'_>, pod: &Netns) -> Result<(), AttachFailure> {
        let (device, name) = (&trip.attachment.device.name, trip.name());
        self.in_time(|| format!("move device {device}"))?;
        let _span = info_span!("interface.move", network.interface.name = %name).entered();
        let moved = self.home_socket.move_link(trip.link.index, pod, name);
        moved.map_err(|source| AttachFailure::Move {
            device: device.clone(),
            home_name: trip.link.name.clone(),
            name: name.clone(),
            source,
        })
    }

    fn configure(
        &mut self,
        interfaces: &[Interface<'_>],
        configurators: &[Box<dyn Configurator>],
    ) -> Result<(), AttachFailure> {
        let _span = info_span!("interface.configure", count = interfaces.len()).entered();
        for configurator in configurators {
            for interface in interfaces {
                self.in_time(|| format!("configure interface {}", interface.name))?;
                let applied = configurator.apply(&mut self.pod_socket, interface);
                applied.map_err(|source| AttachFailure::Configure {
                    device: interface.attachment.device.name.clone(),
                    name: interface.name.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    fn in_time(&self, step: impl FnOnce() -> String) -> Result<(), AttachFailure> {
        if Instant::now() < self.deadline {
            Ok(())
        } else {
            Err(AttachFailure::Late { step: step() })
        }
    }

    /// The links in the pod. A move keeps the index where that is free, as it mostly is, and then the pod need not be
    /// asked: that would wait for the kernel's lock again.
    fn arrived<'t>(&mut self, trips: &'t [Trip<'_>]) -> Result<Vec<Interface<'t>>, AttachFailure>
    where
        'a: 't,
    {
        let is_taken = |trip: &Trip<'_>| self.pod_indexes.contains(&trip.link.index);
        let links = if trips.iter().any(is_taken) {
            self.pod_socket.links().map_err(read("pod"))?
        } else {
            Vec::new()
        };
        let index_of = |trip: &Trip<'_>| {
            let found = links.iter().find(|link| link.name == *trip.name());
            found.map(|link| link.index)
        };
        trips
            .iter()
            .map(|trip| {
                let index = if links.is_empty() {
                    Some(trip.link.index)
                } else {
                    index_of(trip)
                };
                Ok(Interface {
                    driver: self.driver,
                    claim: trip.claim,
                    attachment: trip.attachment,
                    home_name: &trip.link.name,
                    name: trip.name(),
                    link: Link {
                        index: index.ok_or_else(|| trip.vanished())?,
                        ..trip.link.clone()
                    },
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
        let _span = info_span!("interface.verify", count = interfaces.len()).entered();
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
