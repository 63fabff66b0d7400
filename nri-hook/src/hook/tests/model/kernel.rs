//! A kernel that is only a table, with what tests need of one: it can fail and stop at any step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use network_driver_common::model::{
    Attachment, ClaimUid, Device, DeviceName, HardwareAddress, LinkIdentity, Protected, Record,
    SandboxId, Snapshot,
};
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::{Netns, NetnsId};

use super::{DEVICES, Kernel, NAMESPACES, Seen, home_name, identity};
use crate::devices::Devices;
use crate::links::{
    AttachError, AttachFailure, AttachedClaim, Detached, FindAttachedError, MarkedLink, Plight,
    Presence, Quarantined, Refusal, snapshot_of, still_away,
};
use crate::testing::bare_snapshot;

/// Network namespaces for pods: real ones, for the hook opens them, and the same in every life.
fn namespaces() -> &'static [Netns] {
    static MADE: OnceLock<Vec<Netns>> = OnceLock::new();
    MADE.get_or_init(|| (0..NAMESPACES).map(|_| Netns::create().unwrap()).collect())
}

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Home,
    Pod(NetnsId),
}

#[derive(Debug, Clone)]
struct Link {
    place: Place,
    mark: Option<ClaimUid>,
    /// It does not look as it did at first.
    altered: bool,
}

impl Link {
    fn new() -> Self {
        Self {
            place: Place::Home,
            mark: None,
            altered: false,
        }
    }
}

/// What the kernel, and the tmpfs beside it, hold.
#[derive(Debug)]
struct State {
    /// By number of the device; `None` where it is unplugged or has died.
    links: Vec<Option<Link>>,
    /// Records of claims that are away, as the hook keeps them on the tmpfs.
    kept: BTreeMap<ClaimUid, Record>,
    /// Namespaces in use.
    open: BTreeSet<usize>,
    /// The step from now that is refused.
    fails_at: Option<u32>,
    /// The step from now at which the hook is killed.
    dies_at: Option<u32>,
    died: bool,
}

/// The fake.
#[derive(Debug)]
pub(super) struct FakeKernel(Mutex<State>);

/// A step that did not happen.
struct Refused;

impl State {
    /// One thing that the hook does.
    fn step(&mut self) -> Result<(), Refused> {
        if count_down(&mut self.dies_at) {
            self.died = true;
            self.alive();
        }
        if count_down(&mut self.fails_at) {
            return Err(Refused);
        }
        Ok(())
    }

    /// A hook that was killed does nothing more, whatever else it had begun.
    fn alive(&self) {
        if self.died {
            std::panic::resume_unwind(Box::new("killed")); // without a message
        }
    }

    fn link(&mut self, device: &Device) -> Option<&mut Link> {
        self.links.get_mut(number(device))?.as_mut()
    }

    fn place(&self, device: &Device) -> Option<Place> {
        let link = self.links.get(number(device))?.as_ref();
        link.map(|link| link.place)
    }

    fn untouched(failure: AttachFailure) -> AttachError {
        AttachError::new(failure, Vec::new())
    }

    fn attach(
        &mut self,
        records: &[Record],
        pod: NetnsId,
    ) -> Result<Vec<AttachedClaim>, AttachError> {
        for record in records {
            if !self.kept.contains_key(&record.claim.uid) {
                continue;
            }
            let quarantined = self.detach(record, Some(pod)).quarantined;
            if let Some(first) = quarantined.first() {
                let failure = AttachFailure::NotHome(first.reason.clone());
                return Err(AttachError::new(failure, quarantined));
            }
        }
        for record in records {
            let refused = |refusal| Self::untouched(AttachFailure::Refused(refusal));
            self.check(record).map_err(refused)?;
        }
        if let Err((failure, begun)) = self.bring(records, pod) {
            let undone = begun.iter().map(|record| self.detach(record, Some(pod)));
            let quarantined = undone.flat_map(|detached| detached.quarantined).collect();
            return Err(AttachError::new(failure, quarantined));
        }
        Ok(records.iter().map(attached).collect())
    }

    /// Every link leaves before the first is marked.
    fn bring<'r>(
        &mut self,
        records: &'r [Record],
        pod: NetnsId,
    ) -> Result<(), (AttachFailure, &'r [Record])> {
        let failed = |at: &str| (AttachFailure::NotHome(at.into()), records);
        for record in records {
            self.step().map_err(|_| failed("keep"))?;
            self.kept.insert(record.claim.uid.clone(), record.clone());
        }
        for attachment in records.iter().flat_map(|record| &record.attachments) {
            self.step().map_err(|_| failed("move"))?;
            if let Some(link) = self.link(&attachment.device) {
                link.place = Place::Pod(pod);
                link.altered = true;
            }
        }
        for record in records {
            for attachment in &record.attachments {
                self.step().map_err(|_| failed("mark"))?;
                if let Some(link) = self.link(&attachment.device) {
                    link.mark = Some(record.claim.uid.clone());
                }
            }
        }
        self.step().map_err(|_| failed("verify"))
    }

    /// The links there that carry a mark.
    fn marked(&self, place: Place) -> Vec<MarkedLink> {
        let links = self.links.iter().enumerate();
        let marked = links.filter_map(|(number, link)| {
            let link = link.as_ref().filter(|link| link.place == place)?;
            let name = match place {
                Place::Home => home_name(number),
                Place::Pod(_) => format!("net{number}").parse().unwrap(),
            };
            Some(MarkedLink {
                name,
                claim: link.mark.clone()?,
                device: DeviceName::of(&identity(number)),
                home_name: home_name(number),
            })
        });
        marked.collect()
    }

    fn check(&mut self, record: &Record) -> Result<(), Refusal> {
        for Attachment { device, .. } in &record.attachments {
            let link = self.link(device);
            let free = link.is_some_and(|link| link.place == Place::Home && link.mark.is_none());
            if !free {
                return Err(Refusal::retry("DeviceNotFound", device.name.to_string()));
            }
        }
        Ok(())
    }

    fn detach(&mut self, record: &Record, pod: Option<NetnsId>) -> Detached {
        let claim = &record.claim.uid;
        let kept = self.kept.get(claim).cloned();
        let mut quarantined = Vec::new();
        for Attachment { device, .. } in &record.attachments {
            let unfinished = kept
                .as_ref()
                .is_some_and(|kept| snapshot_of(kept, &device.name).is_some());
            if let Some((phrase, plight)) = self.fetch(claim, device, pod, unfinished).err() {
                quarantined.push(Quarantined {
                    device: device.name.clone(),
                    reason: format!("device {} {phrase}", device.name),
                    plight,
                });
            }
        }
        if let Some(kept) = kept.and_then(|kept| still_away(kept, &quarantined)) {
            self.kept.insert(claim.clone(), kept);
        } else {
            self.kept.remove(claim);
        }
        Detached { quarantined }
    }

    /// Brings a device home and makes it look as it did. The error says why not, and how it is.
    fn fetch(
        &mut self,
        claim: &ClaimUid,
        device: &Device,
        pod: Option<NetnsId>,
        unfinished: bool,
    ) -> Result<(), (&'static str, Plight)> {
        let Some(link) = self.link(device) else {
            let lost = ("is lost", Plight::Lost);
            return if unfinished { Err(lost) } else { Ok(()) };
        };
        let ours = unfinished || link.mark.as_ref() == Some(claim);
        let here = match link.place {
            Place::Home => true,
            Place::Pod(at) => Some(at) == pod,
        };
        match (here, ours) {
            (_, false) => return Ok(()),
            // In a namespace that is not looked into.
            (false, true) => {
                return if unfinished {
                    Err(("is lost", Plight::Lost))
                } else {
                    Ok(())
                };
            }
            (true, true) => {}
        }
        if link.place != Place::Home {
            self.step()
                .map_err(|_| ("cannot be moved home", Plight::Away))?;
            if let Some(link) = self.link(device) {
                link.place = Place::Home;
            }
        }
        self.step()
            .map_err(|_| ("is not as it was", Plight::Bent))?;
        if let Some(link) = self.link(device) {
            (link.mark, link.altered) = (None, false);
        }
        Ok(())
    }
}

fn count_down(steps: &mut Option<u32>) -> bool {
    *steps = match *steps {
        Some(0) => return steps.take().is_some(),
        other => other.map(|steps| steps.saturating_sub(1)),
    };
    false
}

fn number(device: &Device) -> usize {
    let numbers = (0..DEVICES).find(|number| home_name(*number) == device.interface);
    numbers.unwrap()
}

fn attached(record: &Record) -> AttachedClaim {
    let interfaces = record.attachments.iter().map(|a| AttachedInterface {
        device: a.device.name.clone(),
        name: a.config.name.clone().unwrap(),
        hardware_address: HardwareAddress::default(),
        addresses: Vec::new(),
        mtu: 1400,
        home_name: a.device.interface.clone(),
    });
    AttachedClaim {
        claim: record.claim.uid.clone(),
        interfaces: interfaces.collect(),
    }
}

impl FakeKernel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Devices for FakeKernel {
    fn home_id(&self) -> NetnsId {
        NetnsId {
            device: 0,
            inode: 0,
        }
    }

    fn check(&self, record: &Record, _: &Protected) -> Result<Vec<Snapshot>, Refusal> {
        let mut state = self.state();
        let kept = state.kept.get(&record.claim.uid);
        let mut devices = record.attachments.iter().map(|a| &a.device.name);
        if !kept.is_some_and(|kept| devices.all(|device| snapshot_of(kept, device).is_some())) {
            state.check(record)?;
        }
        let snapshot = |attachment: &Attachment| bare_snapshot(&attachment.device.interface);
        Ok(record.attachments.iter().map(snapshot).collect())
    }

    fn attach(
        &self,
        records: &[Record],
        netns: &Netns,
        _: &Protected,
        _: Instant,
    ) -> Result<Vec<AttachedClaim>, AttachError> {
        let mut state = self.state();
        state.alive();
        state.attach(records, netns.id())
    }

    fn detach(&self, record: &Record, netns: Option<&Netns>) -> Detached {
        let mut state = self.state();
        state.alive();
        state.detach(record, netns.map(Netns::id))
    }

    fn find_attached(&self, netns: &Netns) -> Result<Vec<MarkedLink>, FindAttachedError> {
        Ok(self.state().marked(Place::Pod(netns.id())))
    }

    fn marked_at_home(&self) -> Result<Vec<MarkedLink>, FindAttachedError> {
        Ok(self.state().marked(Place::Home))
    }

    fn kept(&self) -> Vec<Record> {
        self.state().kept.values().cloned().collect()
    }

    fn remember_whole(&self, claim: &ClaimUid, sandbox: &SandboxId) {
        let mut state = self.state();
        state.alive();
        if let Some(kept) = state.kept.get_mut(claim) {
            kept.sandbox = Some(sandbox.clone());
        }
    }

    fn presence(&self, record: &Record, netns: &Netns) -> Result<Vec<Presence>, FindAttachedError> {
        let state = self.state();
        let presence = |attachment: &Attachment| {
            if state.place(&attachment.device) == Some(Place::Pod(netns.id())) {
                Presence::Here { carrier: true }
            } else {
                Presence::Gone
            }
        };
        Ok(record.attachments.iter().map(presence).collect())
    }
}

/// A node with the fake.
pub(super) struct Fake {
    devices: Arc<FakeKernel>,
    /// Devices that are hardware, which comes home when its namespace dies; others die with it.
    hardware: fn(usize) -> bool,
}

impl Fake {
    pub(super) fn new(hardware: fn(usize) -> bool) -> Self {
        let state = State {
            links: vec![Some(Link::new()); DEVICES],
            kept: BTreeMap::new(),
            open: BTreeSet::new(),
            fails_at: None,
            dies_at: None,
            died: false,
        };
        Self {
            devices: Arc::new(FakeKernel(Mutex::new(state))),
            hardware,
        }
    }
}

impl Kernel for Fake {
    type Devices = FakeKernel;

    fn devices(&self) -> Arc<FakeKernel> {
        Arc::clone(&self.devices)
    }

    fn identity(&self, number: usize) -> LinkIdentity {
        identity(number)
    }

    fn look(&self, number: usize) -> Seen {
        let state = self.devices.state();
        let Some(link) = &state.links[number] else {
            return Seen::Nowhere;
        };
        match link.place {
            Place::Home => Seen::Home {
                as_before: !link.altered && link.mark.is_none(),
            },
            Place::Pod(id) => {
                let slot = namespaces().iter().position(|netns| netns.id() == id);
                Seen::Pod(slot.unwrap())
            }
        }
    }

    fn open(&mut self) -> Option<usize> {
        let mut state = self.devices.state();
        let free = (0..namespaces().len()).find(|slot| !state.open.contains(slot))?;
        state.open.insert(free);
        Some(free)
    }

    fn path(&self, slot: usize) -> PathBuf {
        namespaces()[slot].path()
    }

    fn id(&self, slot: usize) -> NetnsId {
        namespaces()[slot].id()
    }

    fn die(&mut self, slot: usize) {
        let (id, mut state) = (self.id(slot), self.devices.state());
        for (number, link) in state.links.iter_mut().enumerate() {
            if link
                .as_ref()
                .is_some_and(|link| link.place == Place::Pod(id))
            {
                if (self.hardware)(number) {
                    link.as_mut().unwrap().place = Place::Home;
                } else {
                    *link = None;
                }
            }
        }
        state.open.remove(&slot);
    }

    fn unplug(&mut self, number: usize) {
        self.devices.state().links[number] = None;
    }

    fn plug(&mut self, number: usize) {
        self.devices.state().links[number] = Some(Link::new());
    }

    fn forget_kept(&mut self) {
        self.devices.state().kept.clear();
    }

    fn trouble(&mut self, fails_at: Option<u32>, dies_at: Option<u32>) {
        let mut state = self.devices.state();
        (state.fails_at, state.dies_at) = (fails_at, dies_at);
    }

    fn took_the_hook(&mut self) -> bool {
        std::mem::take(&mut self.devices.state().died)
    }
}
