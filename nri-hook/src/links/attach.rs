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

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{
    Attachment, ClaimUid, DriverName, IfName, Protected, Record, WantedFeatures,
};
use network_driver_common::telemetry;
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::{Ethtool, Link, Netns, RequestError, Socket};
use tracing::{Span, info_span};

pub(crate) use failure::{AttachError, AttachFailure};

use super::check::{check_record, wanted_name};
use super::configure::{Configurator, Interface, Seen, Stage};
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
    home_ethtool: Ethtool,
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
        let failed = |place| move |source| AttachFailure::Open { place, source };
        let mut home_socket = Socket::open_in(home).map_err(failed("node"))?;
        let mut home_ethtool = Ethtool::open_in(home).map_err(failed("node"))?;
        let mut pod_socket = Socket::open_in(pod).map_err(failed("pod"))?;
        home_socket.set_deadline(Some(deadline));
        home_ethtool.set_deadline(Some(deadline));
        pod_socket.set_deadline(Some(deadline));
        let home = Home::read(&mut home_socket, protected).map_err(read("node"))?;
        Ok(Self {
            driver,
            deadline,
            home,
            home_socket,
            home_ethtool,
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
            // One after the other: who has just had the kernel's lock mostly has it again before those who sleep for it.
            for (attachment, link) in record.attachments.iter().zip(links) {
                let features = self.home_ethtool.features(link.index);
                trips.push(Trip {
                    claim: &record.claim.uid,
                    attachment,
                    link: link.clone(),
                    features: features.map_err(read("node"))?.wanted.into(),
                });
            }
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
            let snapshot = |trip: &Trip<'_>| self.home.snapshot(&trip.link, trip.features.clone());
            attachment.snapshot = trip.map(snapshot);
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
        let span = info_span!("interface.move");
        telemetry::set(&span, "dra.request.name", trip.attachment.request.clone());
        telemetry::set(&span, "dra.pool.name", trip.attachment.pool.clone());
        telemetry::set(&span, "dra.device.name", device.to_string());
        super::describe(&span, &trip.link, name);
        noted(&span, || {
            let moved = self.home_socket.move_link(trip.link.index, pod, name);
            moved.map_err(|source| AttachFailure::Move {
                device: device.clone(),
                home_name: trip.link.name.clone(),
                name: name.clone(),
                source,
            })
        })?;
        fail::check(Point::AttachMoved).map_err(AttachFailure::Injected)
    }

    fn configure(
        &mut self,
        interfaces: &[Interface<'_>],
        configurators: &[Box<dyn Configurator>],
    ) -> Result<(), AttachFailure> {
        // Neighbours of one stage share a span.
        for configurators in configurators.chunk_by(|a, b| a.stage() == b.stage()) {
            let Some(stage) = configurators.first().map(|first| first.stage()) else {
                continue;
            };
            if stage == Stage::Routes && !interfaces.iter().any(Interface::has_routes) {
                continue;
            }
            noted(&stage_span(stage, interfaces), || {
                let mut steps = configurators
                    .iter()
                    .flat_map(|configurator| interfaces.iter().map(move |i| (configurator, i)));
                steps.try_for_each(|(configurator, i)| self.apply(&**configurator, i))
            })?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        configurator: &dyn Configurator,
        interface: &Interface<'_>,
    ) -> Result<(), AttachFailure> {
        self.in_time(|| format!("configure interface {}", interface.name))?;
        let applied = configurator.apply(&mut self.pod_socket, interface);
        applied.map_err(|source| AttachFailure::Configure {
            device: interface.attachment.device.name.clone(),
            name: interface.name.clone(),
            source,
        })
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
        let span = info_span!("interface.verify");
        name_them(&span, interfaces);
        noted(&span, || self.read_back(interfaces, configurators))
    }

    fn read_back(
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
    /// Its offload features there.
    features: WantedFeatures,
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

/// Does a step in its span, which shows whether it failed.
fn noted<T>(
    span: &Span,
    step: impl FnOnce() -> Result<T, AttachFailure>,
) -> Result<T, AttachFailure> {
    let done = span.in_scope(step);
    if let Err(failure) = &done {
        telemetry::fail(span, failure.reason());
    }
    done
}

fn stage_span(stage: Stage, interfaces: &[Interface<'_>]) -> Span {
    let span = match stage {
        Stage::Interface => info_span!("interface.configure"),
        Stage::Routes => info_span!("interface.routes"),
    };
    name_them(&span, interfaces);
    span
}

/// Notes which interfaces a span is about; a pod has a few.
fn name_them(span: &Span, interfaces: &[Interface<'_>]) {
    let names: Vec<_> = interfaces.iter().map(|i| i.name.to_string()).collect();
    telemetry::set(span, "network.interface.name", names.join(","));
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
