//! The way home: every link of a claim out of the pod, or from wherever it fell, to its old name and state.
//!
//! All moves first, then all that is quick. Carries on after what fails and tells all of it; what is home already is
//! left as it is, so that a repeated detach changes nothing. It is also the undo of an attach.

use std::time::{Duration, Instant};

use network_driver_common::fail::{self, Point};
use network_driver_common::model::{
    ClaimUid, Device, DeviceName, DriverName, IfName, LinkIdentity, Mark, Snapshot,
};
use network_driver_common::telemetry;
use network_driver_netlink::{Link, Netns, OpenSocketError, RequestError, Socket};
use tracing::{Span, info_span};

use super::identity;
use super::plan;
use super::restore::restore;
use crate::chain;

/// How long hardware may take from the end of its namespace until it is home: up to half a second was seen.
const FALL_TIME: Duration = Duration::from_secs(1);
const FALL_PERIOD: Duration = Duration::from_millis(50);

/// What came of a detach.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Detached {
    /// Devices that are not home as they were. Empty when all is well.
    pub(crate) quarantined: Vec<Quarantined>,
}

/// A device that is not home as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quarantined {
    /// The device.
    pub(crate) device: DeviceName,
    /// A sentence for people that names the device and the cause.
    pub(crate) reason: String,
    /// What is to be expected of it.
    pub(crate) plight: Plight,
}

/// How a device is that is not home as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plight {
    /// Still away: a later detach may bring it home.
    Away,
    /// At home, and as it is until somebody puts it right.
    Bent,
    /// Neither in the pod nor at home: gone, like a card that was pulled out.
    Lost,
}

impl Quarantined {
    /// Whether a later detach may bring it home.
    pub(crate) fn is_away(&self) -> bool {
        self.plight == Plight::Away
    }
}

/// A device that is to come home.
#[derive(Debug)]
pub(crate) struct Loan<'a> {
    pub(crate) claim: &'a ClaimUid,
    pub(crate) device: &'a Device,
    /// What home must look like; without it the link is brought home, but not called well.
    pub(crate) snapshot: Option<&'a Snapshot>,
    /// An attach began and no detach has ended yet: the link may be away, even if nothing on it says so.
    pub(crate) unfinished: bool,
}

impl Loan<'_> {
    fn home_name(&self) -> &IfName {
        let snapshot = self.snapshot.map(|snapshot| &snapshot.name);
        snapshot.unwrap_or(&self.device.interface)
    }

    /// The span of its way home, which other devices may share a while.
    fn span(&self) -> Span {
        let span = info_span!("interface.return");
        telemetry::set(&span, "dra.device.name", self.device.name.to_string());
        span
    }

    fn quarantined(&self, fault: &Fault) -> Quarantined {
        let device = self.device.name.clone();
        let reason = format!("device {device} {}", fault.phrase);
        Quarantined {
            device,
            reason,
            plight: fault.plight,
        }
    }
}

/// What keeps a device from being home as it was, as a phrase that follows its name.
struct Fault {
    phrase: String,
    plight: Plight,
}

impl Fault {
    fn away(phrase: impl Into<String>) -> Self {
        Self::new(phrase, Plight::Away)
    }

    fn new(phrase: impl Into<String>, plight: Plight) -> Self {
        Self {
            phrase: phrase.into(),
            plight,
        }
    }
}

/// A namespace and its links when it was looked at.
struct View {
    socket: Socket,
    links: Vec<Link>,
}

/// A namespace that could not be looked at.
#[derive(Debug, thiserror::Error)]
enum ViewError {
    #[error(transparent)]
    Open(OpenSocketError),
    #[error(transparent)]
    Read(RequestError),
}

impl View {
    fn of(netns: &Netns) -> Result<Self, ViewError> {
        let mut socket = Socket::open_in(netns).map_err(ViewError::Open)?;
        let links = socket.links().map_err(ViewError::Read)?;
        Ok(Self { socket, links })
    }

    /// Whether a link or an alternative name is called so.
    fn has_name(&self, name: &[u8]) -> bool {
        self.links
            .iter()
            .any(|link| link.name.as_bytes() == name || link.altnames.iter().any(|n| n == name))
    }
}

/// Where a device's link is.
enum Place {
    Pod(Link),
    Home(Link),
    Nowhere,
}

/// Brings the devices home. Returns those that are not home as they were.
pub(crate) fn bring_home(
    driver: &DriverName,
    home: &Netns,
    pod: Option<&Netns>,
    loans: &[Loan<'_>],
) -> Vec<Quarantined> {
    let view = match View::of(home) {
        Ok(view) => view,
        Err(error) => {
            let fault = Fault::away(format!("cannot be brought home: {}", chain(&error)));
            return loans.iter().map(|loan| loan.quarantined(&fault)).collect();
        }
    };
    let mut journey = Journey {
        driver,
        home,
        view,
        pod: pod.map(View::of).transpose(),
    };
    let arrived: Vec<_> = loans
        .iter()
        .map(|loan| {
            let span = loan.span();
            let link = span.in_scope(|| journey.fetch(loan));
            (loan, link, span)
        })
        .collect();
    arrived
        .into_iter()
        .filter_map(|(loan, link, span)| {
            let _in_span = span.enter();
            let settled = link.and_then(|link| match link {
                Some(link) => journey.settle(loan, &link),
                None => Ok(()),
            });
            let fault = settled.err()?;
            telemetry::fail(&span, "DeviceQuarantined");
            Some(loan.quarantined(&fault))
        })
        .collect()
}

struct Journey<'a> {
    driver: &'a DriverName,
    home: &'a Netns,
    view: View,
    /// The pod's namespace, if it is known; an error when it cannot be looked at.
    pod: Result<Option<View>, ViewError>,
}

impl Journey<'_> {
    /// The device's link, at home; `None` when there is nothing to do for it.
    fn fetch(&mut self, loan: &Loan<'_>) -> Result<Option<Link>, Fault> {
        match self.find_falling(loan)? {
            Place::Pod(link) => self.move_home(loan, &link).map(Some),
            Place::Home(link) if self.is_unfinished(loan, &link) => Ok(Some(link)),
            Place::Nowhere if loan.unfinished => Err(Fault::new(
                "is lost: its link is neither in the pod nor on the node",
                Plight::Lost,
            )),
            Place::Home(_) | Place::Nowhere => Ok(None),
        }
    }

    /// Where the link is. Hardware whose namespace ended may still be on its way home: that takes the kernel a moment.
    fn find_falling(&mut self, loan: &Loan<'_>) -> Result<Place, Fault> {
        let mut place = self.find(loan)?;
        let may_fall =
            loan.unfinished && self.pod.is_ok() && comes_home_by_itself(&loan.device.identity);
        if may_fall && matches!(place, Place::Nowhere) {
            let name = &loan.device.name;
            tracing::debug!(dra.device.name = %name, "waits for a card that may be on its way home");
            let begun = Instant::now();
            while matches!(place, Place::Nowhere) && begun.elapsed() < FALL_TIME {
                std::thread::sleep(FALL_PERIOD);
                self.view.links = self.view.socket.links().map_err(|error| away(&error))?;
                place = self.find(loan)?;
            }
        }
        Ok(place)
    }

    /// Where the link is. The mark is believed first, then the identity at home; a mere likeness only when the link
    /// is known to have left.
    fn find(&self, loan: &Loan<'_>) -> Result<Place, Fault> {
        let Loan { claim, device, .. } = *loan;
        let home = &self.view.links;
        let pod = match &self.pod {
            Ok(Some(pod)) => pod.links.as_slice(),
            Ok(None) | Err(_) => &[],
        };
        let alike = |links| {
            let found = identity::resembling(links, self.driver, &device.identity);
            found.filter(|_| loan.unfinished)
        };
        let at_home = |link: &Link| Place::Home(link.clone());
        let in_pod = |link: &Link| Place::Pod(link.clone());
        let found = identity::marked(pod, self.driver, claim, device)
            .map(in_pod)
            .or_else(|| identity::marked(home, self.driver, claim, device).map(at_home))
            .or_else(|| identity::at_home(home, &device.identity).map(at_home))
            .or_else(|| alike(pod).map(in_pod))
            .or_else(|| alike(home).map(at_home));
        match (found, &self.pod) {
            (Some(place), _) => Ok(place),
            (None, Ok(_)) => Ok(Place::Nowhere),
            (None, Err(error)) => Err(Fault::away(format!(
                "cannot be looked for in the pod: {}",
                chain(error)
            ))),
        }
    }

    fn is_unfinished(&self, loan: &Loan<'_>, link: &Link) -> bool {
        loan.unfinished
            || Mark::from_alias(self.driver, &link.alias).is_some_and(|m| m.claim == *loan.claim)
    }

    /// Moves a link home under its old name, or under a free one when that is taken.
    fn move_home(&mut self, loan: &Loan<'_>, link: &Link) -> Result<Link, Fault> {
        let Ok(Some(pod)) = &mut self.pod else {
            return Err(Fault::away("is not in the pod any more"));
        };
        let old = loan.home_name();
        let is_taken = |name: &IfName| self.view.has_name(name.as_bytes());
        let name = Some(old.clone())
            .filter(|name| !is_taken(name))
            .or_else(|| plan::free_name(link.index, is_taken))
            .unwrap_or_else(|| old.clone());
        // The kernel refuses a move whose alternative names are taken. What is lost by this, restore puts back or tells.
        for altname in &link.altnames {
            if self.view.has_name(altname) || altname == name.as_bytes() {
                let deleted = pod.socket.delete_altname(link.index, altname);
                deleted.map_err(|error| away(&error))?;
            }
        }
        let span = info_span!("interface.move");
        describe(&span, loan.device, link, &name);
        let moved = span.in_scope(|| pod.socket.move_link(link.index, self.home, &name));
        if moved.is_err() {
            telemetry::fail(&span, "KernelRequestFailed");
        }
        let found = self.look_home(loan, &name, moved)?;
        fail::pass(Point::DetachMoved);
        self.view.links.push(found.clone());
        Ok(found)
    }

    /// The link after a move, which may have moved it even when it answered an error.
    fn look_home(
        &mut self,
        loan: &Loan<'_>,
        name: &IfName,
        moved: Result<(), RequestError>,
    ) -> Result<Link, Fault> {
        let socket = &mut self.view.socket;
        let found = match &moved {
            Ok(()) => socket.link_by_name(name),
            Err(_) => socket.links().map(|links| {
                identity::marked(&links, self.driver, loan.claim, loan.device)
                    .or_else(|| identity::resembling(&links, self.driver, &loan.device.identity))
                    .cloned()
            }),
        };
        match (found, moved) {
            (Ok(Some(link)), _) => Ok(link),
            (_, Err(error)) | (Err(error), Ok(())) => Err(away(&error)),
            (Ok(None), Ok(())) => Err(Fault::away("is not to be seen at home after its move")),
        }
    }

    /// Makes a link at home look as it did.
    fn settle(&mut self, loan: &Loan<'_>, link: &Link) -> Result<(), Fault> {
        let Some(snapshot) = loan.snapshot else {
            let phrase = format!(
                "is home as {}, but nothing says what it looked like before",
                link.name
            );
            return Err(Fault::new(phrase, Plight::Bent));
        };
        let is_taken = link.name != snapshot.name
            && self.view.links.iter().any(|other| {
                other.index != link.index
                    && (other.name == snapshot.name
                        || other.altnames.iter().any(|n| n == snapshot.name.as_bytes()))
            });
        let name = if is_taken { &link.name } else { &snapshot.name };
        let span = info_span!("interface.restore");
        describe(&span, loan.device, link, name);
        let _in_span = span.enter();
        let restored = restore(self.home, &mut self.view.socket, link.index, name, snapshot);
        restored.map_err(|differences| {
            let taken = if is_taken {
                format!("{} is taken at home: ", snapshot.name)
            } else {
                String::new()
            };
            let alias = snapshot.alias.escape_ascii();
            let phrase = format!(
                "is home, but not as it was: {taken}it {differences}; when its link is right, take the mark away \
                 (ip link set {} alias \"{alias}\")",
                snapshot.name
            );
            Fault::new(phrase, Plight::Bent)
        })?;
        fail::pass(Point::DetachRestored);
        Ok(())
    }
}

/// Notes which link a span is about, and the name it is to have.
fn describe(span: &Span, device: &Device, link: &Link, name: &IfName) {
    telemetry::set(span, "dra.device.name", device.name.to_string());
    super::describe(span, link, name);
}

/// Hardware outlives the namespace it was in; a link of a kind is deleted with it.
fn comes_home_by_itself(identity: &LinkIdentity) -> bool {
    match identity {
        LinkIdentity::Pci { .. } => true,
        LinkIdentity::Other { kind, .. } => kind.is_empty(),
    }
}

fn away(error: &RequestError) -> Fault {
    Fault::away(format!("cannot be moved home: {}", chain(error)))
}
