//! The links of the node: lent to pods and brought home as they were. All that touches the kernel in this crate.
//!
//! Decides how a device gets into a pod and back. Which pod gets which claim, and when, is left to the hook; what a
//! device may be asked to look like is left to dra-plugin. Everything here blocks on the kernel, so it runs on a
//! blocking thread.

mod attach;
mod check;
mod configure;
mod detach;
mod home;
mod identity;
mod plan;
mod presence;
mod restore;
mod snapshot;
mod state;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{
    ClaimUid, DeviceName, DriverName, IfName, Mark, Protected, Record, SandboxId, Snapshot,
};
use network_driver_common::telemetry;
use network_driver_netlink::{
    Ethtool, Link, Netns, NetnsId, OpenSocketError, RequestError, Socket,
};

pub(crate) use attach::{AttachError, AttachFailure, AttachedClaim};
pub(crate) use check::{Refusal, wanted_name};
pub(crate) use detach::{Detached, Plight, Quarantined};
pub(crate) use identity::pci_address;
pub(crate) use presence::Presence;
pub(crate) use state::{StateError, snapshot_of, still_away};
pub(crate) use survey::{Survey, survey};

use crate::chain;
use attach::Departure;
use configure::Configurator;
use detach::{Loan, bring_home};
use home::Home;
use state::State;

/// Longest time that a check may wait for the kernel: half of what the order for it allows.
const CHECK_TIME: Duration = Duration::from_secs(5);

/// The links of the node.
///
/// One value for the life of the daemon; calls for different pods may run at once. Two calls about one claim must not.
pub(crate) struct Links {
    home: Netns,
    driver: DriverName,
    state: State,
    configurators: Vec<Box<dyn Configurator>>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { home, driver, .. } = self;
        f.debug_struct("Links")
            .field("home", home)
            .field("driver", driver)
            .finish_non_exhaustive()
    }
}

/// A link that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MarkedLink {
    /// Its name where it is.
    pub(crate) name: IfName,
    /// The claim that holds it.
    pub(crate) claim: ClaimUid,
    /// The device that it is.
    pub(crate) device: DeviceName,
    /// Its name at home.
    pub(crate) home_name: IfName,
}

/// A namespace that could not be searched for marks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindAttachedError {
    /// No socket there.
    #[error("look for links with the driver's mark")]
    Open(#[source] OpenSocketError),
    /// Its links could not be read.
    #[error("look for links with the driver's mark")]
    Read(#[source] RequestError),
}

/// Notes in a span which link it is about, and the name it is to have.
fn describe(span: &tracing::Span, link: &Link, name: &IfName) {
    telemetry::set(span, "network.interface.name", name.to_string());
    telemetry::set(span, "link.ifindex", i64::from(link.index));
    telemetry::set(span, "link.kind", link.kind.clone().unwrap_or_default());
    telemetry::set(span, "link.mtu", i64::from(link.mtu));
}

impl Links {
    /// `home` is where free links live, `state_dir` a directory in a tmpfs of the host, made if it is not there.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub(crate) fn new(
        home: Netns,
        driver: DriverName,
        state_dir: PathBuf,
    ) -> Result<Self, StateError> {
        Ok(Self {
            home,
            driver,
            state: State::open(state_dir)?,
            configurators: configure::all(),
        })
    }

    /// What tells the home namespace from others.
    pub(crate) fn home_id(&self) -> NetnsId {
        self.home.id()
    }

    /// Checks that the devices of a record can be lent, and takes their snapshots, in the order of the record's
    /// attachments. Changes nothing. A claim that is away keeps the snapshots from when it left.
    ///
    /// # Errors
    /// The first attachment that cannot be served, or a node that cannot be read.
    pub(crate) fn check(
        &self,
        record: &Record,
        protected: &Protected,
    ) -> Result<Vec<Snapshot>, Refusal> {
        if let Some(snapshots) = self.away(record) {
            return Ok(snapshots);
        }
        let failed = |error: &(dyn std::error::Error + 'static)| {
            let message = format!("read the node's network: {}", chain(error));
            Refusal::retry("KernelRequestFailed", message)
        };
        let mut socket = Socket::open_in(&self.home).map_err(|error| failed(&error))?;
        let deadline = Instant::now().checked_add(CHECK_TIME);
        socket.set_deadline(deadline);
        let home = Home::read(&mut socket, protected).map_err(|error| failed(&error))?;
        let links = check::check_record(&home, &self.driver, record)?;
        let mut ethtool = Ethtool::open_in(&self.home).map_err(|error| failed(&error))?;
        ethtool.set_deadline(deadline);
        let snapshot = |link: &Link| {
            let features = ethtool.features(link.index);
            let features = features.map_err(|error| failed(&error))?;
            Ok(home.snapshot(link, features.wanted.into()))
        };
        links.into_iter().map(snapshot).collect()
    }

    /// The snapshots of a claim whose devices are all away.
    fn away(&self, record: &Record) -> Option<Vec<Snapshot>> {
        let kept = self.kept(&record.claim.uid)?;
        let devices = record.attachments.iter().map(|a| &a.device.name);
        devices
            .map(|device| snapshot_of(&kept, device).cloned())
            .collect()
    }

    /// The record of a claim that has links away. An unreadable one is as good as lost: the marks on the links and the
    /// record itself are what is left then.
    fn kept(&self, claim: &ClaimUid) -> Option<Record> {
        self.state.read(claim).unwrap_or_else(|error| {
            tracing::warn!(claim.uid = %claim, error = chain(&error), "the snapshots of a claim are lost");
            None
        })
    }

    /// Writes into the kept record of a claim which sandbox had all its devices.
    pub(crate) fn remember_whole(&self, claim: &ClaimUid, sandbox: &SandboxId) {
        let Some(mut kept) = self.kept(claim) else {
            return;
        };
        kept.sandbox = Some(sandbox.clone());
        if let Err(error) = self.state.write(&kept) {
            tracing::warn!(claim.uid = %claim, error = chain(&error), "not kept which sandbox has the claim");
        }
    }

    /// The records of all claims that have links away, for a life that was told of none.
    pub(crate) fn all_kept(&self) -> Vec<Record> {
        let claims = self.state.claims().unwrap_or_else(|error| {
            tracing::warn!(
                error = chain(&error),
                "claims that have links away are unknown"
            );
            Vec::new()
        });
        claims.iter().filter_map(|claim| self.kept(claim)).collect()
    }

    /// Brings the devices of all records into a pod and configures them: all or none.
    ///
    /// What an earlier attach of these claims left unfinished is brought home first.
    ///
    /// # Errors
    /// When any step fails or `deadline` passes. Then everything is at home again as it was, except what the error
    /// calls quarantined. The undo is not cut off by the deadline.
    pub(crate) fn attach(
        &self,
        records: &[Record],
        netns: &Netns,
        protected: &Protected,
        deadline: Instant,
    ) -> Result<Vec<AttachedClaim>, AttachError> {
        self.finish_earlier(records, netns)?;
        let untouched = |failure| AttachError::new(failure, Vec::new());
        if netns.id() == self.home_id() {
            return Err(untouched(AttachFailure::HomeNamespace));
        }
        let mut departure =
            Departure::prepare(&self.driver, &self.home, netns, protected, deadline)
                .map_err(untouched)?;
        let trips = departure.plan(records).map_err(untouched)?;
        let kept = records.iter().try_for_each(|record| {
            let refreshed = departure.refreshed(record, &trips);
            self.state.write(&refreshed)
        });
        let attached = kept
            .map_err(AttachFailure::State)
            .and_then(|()| fail::check(Point::AttachKept).map_err(AttachFailure::Injected))
            .and_then(|()| departure.run(&trips, netns, &self.configurators));
        let mut interfaces = attached
            .map_err(|failure| AttachError::new(failure, self.undo(records, netns)))?
            .into_iter();
        Ok(records
            .iter()
            .map(|record| AttachedClaim {
                claim: record.claim.uid.clone(),
                interfaces: interfaces.by_ref().take(record.attachments.len()).collect(),
            })
            .collect())
    }

    fn finish_earlier(&self, records: &[Record], netns: &Netns) -> Result<(), AttachError> {
        for record in records {
            if self.kept(&record.claim.uid).is_none() {
                continue;
            }
            let quarantined = self.detach(record, Some(netns)).quarantined;
            if let Some(first) = quarantined.first() {
                let failure = AttachFailure::NotHome(first.reason.clone());
                return Err(AttachError::new(failure, quarantined));
            }
        }
        Ok(())
    }

    fn undo(&self, records: &[Record], netns: &Netns) -> Vec<Quarantined> {
        let _span = tracing::info_span!("sandbox.undo").entered();
        let detached = records
            .iter()
            .map(|record| self.detach(record, Some(netns)));
        detached.flat_map(|detached| detached.quarantined).collect()
    }

    /// Brings the devices of a record home from a pod, or from wherever they fell, and makes them look as they did.
    ///
    /// `netns` is the pod's namespace, `None` when it is gone. Repeating it changes nothing: what is home stays as it
    /// is. Never stops at a failure; everything that is not well in the end is in the answer.
    pub(crate) fn detach(&self, record: &Record, netns: Option<&Netns>) -> Detached {
        let claim = &record.claim.uid;
        let kept = self.kept(claim);
        let loans: Vec<_> = record
            .attachments
            .iter()
            .map(|attachment| {
                let device = &attachment.device;
                let refreshed = kept
                    .as_ref()
                    .and_then(|kept| snapshot_of(kept, &device.name));
                Loan {
                    claim,
                    device,
                    snapshot: refreshed.or(attachment.snapshot.as_ref()),
                    unfinished: refreshed.is_some(),
                }
            })
            .collect();
        let pod = netns.filter(|netns| netns.id() != self.home_id());
        let quarantined = bring_home(&self.driver, &self.home, pod, &loans);
        if let Some(kept) = kept {
            self.keep_what_is_away(kept, &quarantined);
        }
        Detached { quarantined }
    }

    /// Forgets the snapshots of what is home or lost.
    fn keep_what_is_away(&self, kept: Record, quarantined: &[Quarantined]) {
        let claim = kept.claim.uid.clone();
        let done = match still_away(kept, quarantined) {
            Some(kept) => self.state.write(&kept),
            None => self.state.remove(&claim),
        };
        if let Err(error) = done {
            // A snapshot too many costs a comparison at the next detach, nothing else.
            tracing::warn!(claim.uid = %claim, error = chain(&error), "the snapshots of a claim stay");
        }
    }

    /// The links at home that carry this driver's mark, in the kernel's order.
    ///
    /// # Errors
    /// When the namespace cannot be read.
    pub(crate) fn marked_at_home(&self) -> Result<Vec<MarkedLink>, FindAttachedError> {
        self.find_attached(&self.home)
    }

    /// The links in a pod that carry this driver's mark, in the kernel's order. A pod with `CAP_NET_ADMIN` can write
    /// such marks too: believe one only of a claim whose record names that pod.
    ///
    /// # Errors
    /// When the namespace cannot be read.
    pub(crate) fn find_attached(
        &self,
        netns: &Netns,
    ) -> Result<Vec<MarkedLink>, FindAttachedError> {
        let mut socket = Socket::open_in(netns).map_err(FindAttachedError::Open)?;
        let links = socket.links().map_err(FindAttachedError::Read)?;
        let marked = links.into_iter().filter_map(|link| {
            let mark = Mark::from_alias(&self.driver, &link.alias)?;
            Some(MarkedLink {
                name: link.name,
                claim: mark.claim,
                device: mark.device,
                home_name: mark.home_name,
            })
        });
        Ok(marked.collect())
    }
}
