//! Working through the runtime's list of sandboxes: which are alive, and which devices are in them. The marks on the
//! links say what an earlier life of this process attached; the CDI file says that it was whole.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use network_driver_common::model::{Attachment, ClaimUid, Mtu, Record, SandboxId};
use network_driver_common::wire::AttachedInterface;
use network_driver_netlink::Netns;
use tracing::{Instrument, debug, error, info, warn};

use super::{Hook, blocking, trace};
use crate::chain;
use crate::devices::Devices;
use crate::links::{Detached, MarkedLink, Presence, wanted_name};
use crate::nri::Pod;
use crate::records::Happened;
use crate::sandbox::{Holding, HoldingState};

/// How long sandboxes of a list that cannot be read are tried again, and how often.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(50);

/// A sandbox whose namespace is there.
struct Live {
    pod: Pod,
    /// `None` on the node's own network.
    netns: Option<Netns>,
    marked: BTreeMap<ClaimUid, Vec<MarkedLink>>,
}

impl Live {
    /// A claim whose devices are here.
    fn holding(
        &self,
        record: Arc<Record>,
        interfaces: Vec<AttachedInterface>,
        state: HoldingState,
    ) -> Holding {
        Holding {
            sandbox: self.pod.sandbox.clone(),
            pod: Some(self.pod.owner.clone()),
            netns: self.netns.clone(),
            path: self.pod.netns.clone(),
            record,
            interfaces,
            state,
            traceparent: None,
            watch: None,
        }
    }
}

/// What a sandbox looks like.
enum Look {
    Live(Live),
    /// Its namespace is gone.
    Stopped,
    /// Its links could not be read.
    Unreadable(SandboxId),
}

/// What an earlier life of this process left on the node.
struct Left<'a> {
    /// Claims whose records dra-plugin has lost.
    lost: HashSet<ClaimUid>,
    /// The sandbox that the node remembers as having had all devices of a claim.
    whole: HashMap<&'a ClaimUid, &'a SandboxId>,
    /// Claims whose id is defined; `None` where that cannot be read.
    defined: Option<BTreeSet<ClaimUid>>,
}

impl Left<'_> {
    /// Whether record or node say that this sandbox had all devices of a claim.
    fn is_known_whole(&self, record: &Record, sandbox: &SandboxId) -> bool {
        record.sandbox.as_ref() == Some(sandbox)
            || self.whole.get(&record.claim.uid) == Some(&sandbox)
    }

    /// Whether a claim whose marked links are in this sandbox was once whole there. The id is defined last and taken away
    /// first: with it, it was. It was also where record or node say so, should somebody have emptied the directory; and
    /// where the ids cannot be read, nothing is taken from a pod on a guess.
    fn was_whole(&self, record: &Record, sandbox: &SandboxId) -> bool {
        let defined = self.defined.as_ref();
        self.is_known_whole(record, sandbox)
            || defined.is_none_or(|defined| defined.contains(&record.claim.uid))
    }
}

impl<D: Devices> Hook<D> {
    /// Takes the runtime's list in place of what is known.
    pub(super) async fn adopt(&self, pods: Vec<Pod>) {
        let span = trace::synchronize_span(pods.len());
        self.work_through(pods).instrument(span).await;
    }

    async fn work_through(&self, pods: Vec<Pod>) {
        let _adopting = self.adopting.lock().await;
        let (devices, cdi) = (Arc::clone(&self.devices), self.cdi.clone());
        let found = blocking(move || {
            // First, so that an id defined meanwhile is not taken for a stale one.
            let defined = cdi.defined();
            let begun = Instant::now();
            let looks = pods.iter().map(|pod| look_until(&*devices, pod, begun));
            (defined, devices.kept(), looks.collect::<Vec<_>>())
        });
        let (defined, kept, looks) = match found.await {
            Ok(found) => found,
            Err(panicked) => {
                error!(err = %panicked, "looking into the runtime's sandboxes panicked");
                return;
            }
        };
        let defined = defined
            .inspect_err(|failed| error!(err = chain(failed), "defined CDI ids unknown"))
            .ok();
        let (mut live, mut unreadable) = (Vec::new(), HashSet::new());
        for look in looks {
            match look {
                Look::Live(sandbox) => live.push(sandbox),
                Look::Unreadable(sandbox) => {
                    unreadable.insert(sandbox);
                }
                Look::Stopped => {}
            }
        }
        let lost = self.restore_lost(&kept).await;
        let listed: HashSet<_> = live.iter().map(|live| live.pod.sandbox.clone()).collect();
        let left = Left {
            lost: lost.iter().map(|record| record.claim.uid.clone()).collect(),
            whole: kept
                .iter()
                .filter_map(|kept| Some((&kept.claim.uid, kept.sandbox.as_ref()?)))
                .collect(),
            defined,
        };
        for live in &live {
            self.adopt_sandbox(live, &left);
        }
        if unreadable.is_empty() {
            self.leave_what_is_unmarked(&live, &kept, &left).await;
        }
        // Last: what is in a known sandbox must not be taken for missing there.
        self.sandboxes
            .replace(live.into_iter().map(|live| live.pod).collect());
        self.leave_what_is_over(&listed).await;
        self.leave_what_is_unseen(&unreadable, &left.lost);
        if unreadable.is_empty() {
            self.leave_what_is_lost(&lost).await;
        } else {
            self.give_back_unseen(&lost);
        }
        self.adopted.store(true, Ordering::Release);
        self.look_for_left_behind().await;
        if unreadable.is_empty() {
            self.remove_stale_ids(&left.defined.unwrap_or_default());
        }
        self.count_interfaces();
        self.changed.notify_one();
        // Their ids are put in their present form, and their health is told.
        for (claim, _) in self.sandboxes.holdings() {
            self.doubts.add(&claim);
        }
    }

    /// Holds the records again that dra-plugin has lost, and returns them.
    async fn restore_lost(&self, kept: &[Record]) -> Vec<Record> {
        let mut lost = Vec::new();
        for record in kept.iter().filter(|kept| self.is_lost(kept)) {
            let claim = &record.claim.uid;
            let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
            // It may have come home and been released since it was read.
            if self.is_lost(record) && self.is_kept(claim).await {
                warn!(claim = %record.claim, claimUID = %claim, "dra-plugin has lost the record of a claim that is away");
                self.records.restore(record.clone());
                lost.push(record.clone());
            }
        }
        lost
    }

    /// Whether this node remembers that the claim is away. A panic below says nothing of it.
    pub(super) async fn is_kept(&self, claim: &ClaimUid) -> bool {
        let (devices, claim) = (Arc::clone(&self.devices), claim.clone());
        let kept = move || devices.kept().iter().any(|kept| kept.claim.uid == claim);
        blocking(kept).await.unwrap_or(true)
    }

    /// Whether dra-plugin knows nothing of a claim that this node remembers to be away.
    fn is_lost(&self, kept: &Record) -> bool {
        let claim = &kept.claim.uid;
        self.records.committed(claim).is_none() && self.sandboxes.holding(claim).is_none()
    }

    /// Gives the records of lost claims back whose devices may be in a sandbox that cannot be read.
    fn give_back_unseen(&self, lost: &[Record]) {
        for record in lost {
            if self.sandboxes.holding(&record.claim.uid).is_none() {
                self.give_back(&Arc::new(record.clone()), record.sandbox.as_ref());
            }
        }
    }

    /// Brings home the devices of lost claims that no sandbox has. Nobody will ask for them.
    async fn leave_what_is_lost(&self, lost: &[Record]) {
        for record in lost {
            let claim = &record.claim.uid;
            let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
            if self.sandboxes.holding(claim).is_some() {
                continue;
            }
            let record = Arc::new(record.clone());
            let Some(Detached { quarantined }) = self.bring_home(&record, None).await else {
                continue;
            };
            if !quarantined.is_empty() {
                let what = Happened::LeftBehind { quarantined };
                self.reports.add(claim, None, None, what);
            }
            self.records.forget(claim);
        }
    }

    fn adopt_sandbox(&self, live: &Live, left: &Left<'_>) {
        let Live { pod, marked, .. } = live;
        for (claim, links) in marked {
            if let Some(holding) = self.sandboxes.holding(claim) {
                if holding.sandbox != pod.sandbox {
                    warn!(claimUID = %claim, sandbox = %pod.sandbox, other = %holding.sandbox,
                        "links of one claim are in two sandboxes");
                }
                continue;
            }
            let record = self.records.committed(claim);
            let Some(record) = record.filter(|record| may_hold(pod, record)) else {
                warn!(claimUID = %claim, pod = %pod.owner, sandbox = %pod.sandbox,
                    "a link carries the mark of a claim that is not this pod's, or unknown: ignored");
                continue;
            };
            let was_whole = left.was_whole(&record, &pod.sandbox);
            let whole = was_whole && links.len() == record.attachments.len();
            let state = match (whole, was_whole) {
                (true, _) => HoldingState::Attached,
                // A device is gone, and the pod keeps the others.
                (false, true) => HoldingState::Incomplete,
                (false, false) => HoldingState::Leaving,
            };
            info!(claimUID = %claim, pod = %pod.owner, sandbox = %pod.sandbox, whole, "claim adopted");
            let interfaces = interfaces(&record, links);
            if left.lost.contains(claim) {
                self.give_back(&record, Some(&pod.sandbox));
            }
            if whole && record.sandbox.as_ref() != Some(&pod.sandbox) {
                let took = Duration::ZERO;
                let what = Happened::Attached {
                    interfaces: interfaces.clone(),
                    took,
                };
                self.reports
                    .add(claim, Some(&pod.owner), &pod.sandbox, what);
            }
            let holding = live.holding(record, interfaces, state);
            self.sandboxes.hold(claim, holding);
        }
    }

    /// An earlier life of this process may have ended between a link's move and its mark, or the pod has taken the marks
    /// away. What is away and seen nowhere is looked for in its pod's sandbox.
    async fn leave_what_is_unmarked(&self, live: &[Live], kept: &[Record], left: &Left<'_>) {
        for kept in kept {
            let claim = &kept.claim.uid;
            let (record, holding) = (self.records.committed(claim), self.sandboxes.holding(claim));
            let (Some(record), None) = (record, holding) else {
                continue;
            };
            let is_its = |live: &&Live| live.netns.is_some() && may_hold(&live.pod, &record);
            let mut sandboxes: Vec<_> = live.iter().filter(is_its).collect();
            if sandboxes.len() > 1 {
                sandboxes = self.with_any_device(&record, sandboxes).await;
            }
            if let [live] = sandboxes[..] {
                debug!(claimUID = %claim, sandbox = %live.pod.sandbox, "its links may be there without a mark");
                if left.lost.contains(claim) {
                    self.give_back(&record, Some(&live.pod.sandbox));
                }
                // Nothing is taken from a pod that had all of it: a look at the links tells what it has. An id alone may
                // have been defined for an earlier sandbox.
                let state = if left.is_known_whole(&record, &live.pod.sandbox) {
                    HoldingState::Incomplete
                } else {
                    HoldingState::Leaving
                };
                let interfaces = interfaces(&record, &[]);
                let holding = live.holding(record, interfaces, state);
                self.sandboxes.hold(claim, holding);
            }
        }
    }

    /// Of several sandboxes, such as those of one pod, those in which a device of the record is.
    async fn with_any_device<'a>(
        &self,
        record: &Arc<Record>,
        sandboxes: Vec<&'a Live>,
    ) -> Vec<&'a Live> {
        let mut found = Vec::new();
        for sandbox in sandboxes {
            let Some(netns) = sandbox.netns.clone() else {
                continue;
            };
            let (devices, record) = (Arc::clone(&self.devices), Arc::clone(record));
            let looked = blocking(move || devices.presence(&record, &netns)).await;
            let is_here = |presence: &Presence| matches!(presence, Presence::Here { .. });
            if matches!(looked, Ok(Ok(devices)) if devices.iter().any(is_here)) {
                found.push(sandbox);
            }
        }
        found
    }

    /// Holdings of sandboxes that are not in the list go home once their namespace is gone from its place: absence
    /// alone proves nothing, for a sandbox may be younger than the list.
    async fn leave_what_is_over(&self, listed: &HashSet<SandboxId>) {
        for (claim, holding) in self.sandboxes.holdings() {
            if !listed.contains(&holding.sandbox) && self.is_over(&holding).await {
                debug!(claimUID = %claim, sandbox = %holding.sandbox, "its sandbox is over");
                self.sandboxes.leave(&claim);
            }
        }
    }

    /// A record of dra-plugin's says that its claim is attached, and no sandbox has it: its links fell home by themselves,
    /// or on the way of an earlier life of this process.
    fn leave_what_is_unseen(&self, unreadable: &HashSet<SandboxId>, lost: &HashSet<ClaimUid>) {
        for shown in self.records.all() {
            let claim = &shown.record.claim.uid;
            let Some(sandbox) = &shown.record.sandbox else {
                continue;
            };
            let unseen = shown.committed && !unreadable.contains(sandbox) && !lost.contains(claim);
            if unseen && self.sandboxes.holding(claim).is_none() {
                let holding = Holding {
                    sandbox: sandbox.clone(),
                    pod: None,
                    netns: None,
                    path: None,
                    record: Arc::clone(&shown.record),
                    interfaces: Vec::new(),
                    state: HoldingState::Leaving,
                    traceparent: None,
                    watch: None,
                };
                self.sandboxes.hold(claim, holding);
            }
        }
    }

    fn remove_stale_ids(&self, defined: &BTreeSet<ClaimUid>) {
        for claim in defined {
            let holding = self.sandboxes.holding(claim);
            if holding.is_some_and(|holding| holding.state == HoldingState::Attached) {
                continue;
            }
            match self.cdi.remove(claim) {
                Ok(()) => info!(claimUID = %claim, "stale CDI id removed"),
                Err(failed) => {
                    error!(claimUID = %claim, err = chain(&failed), "stale CDI id stays");
                }
            }
        }
    }
}

/// Whether the claim can be in this sandbox. A pod with `CAP_NET_ADMIN` may write any mark, so a mark is believed only
/// where the record says the same: the pod is one of the claim's, or was when its sandbox was reported.
fn may_hold(pod: &Pod, record: &Record) -> bool {
    record.pods.contains(&pod.owner.uid) || record.sandbox.as_ref() == Some(&pod.sandbox)
}

/// Looks into a sandbox, again for a while after the list was begun if it cannot be read: too many files pass.
fn look_until<D: Devices>(devices: &D, pod: &Pod, begun: Instant) -> Look {
    loop {
        let look = look_into(devices, pod);
        if !matches!(look, Look::Unreadable(_)) || begun.elapsed() > PATIENCE {
            return look;
        }
        thread::sleep(PAUSE);
    }
}

/// Opens the namespace of a sandbox and reads the marks in it. Runtimes list stopped sandboxes too.
fn look_into<D: Devices>(devices: &D, pod: &Pod) -> Look {
    let mut live = Live {
        pod: pod.clone(),
        netns: None,
        marked: BTreeMap::new(),
    };
    let sandbox = &live.pod.sandbox;
    let Some(path) = &live.pod.netns else {
        return Look::Live(live);
    };
    let netns = match Netns::open(path) {
        Ok(netns) if netns.id() == devices.home_id() => return Look::Live(live),
        Ok(netns) => netns,
        Err(error) if error.is_gone() => {
            debug!(%sandbox, err = chain(&error), "sandbox has no namespace: stopped");
            return Look::Stopped;
        }
        Err(error) => {
            error!(%sandbox, err = chain(&error), "namespace of a sandbox unknown: it is left alone");
            return Look::Unreadable(sandbox.clone());
        }
    };
    let links = match devices.find_attached(&netns) {
        Ok(links) => links,
        Err(error) => {
            error!(%sandbox, err = chain(&error), "links of a sandbox unknown: it is left alone");
            return Look::Unreadable(sandbox.clone());
        }
    };
    for link in links {
        let links = live.marked.entry(link.claim.clone()).or_default();
        links.push(link);
    }
    live.netns = Some(netns);
    Look::Live(live)
}

/// The interfaces of a claim: as their marked links are, and what the record says of them, which was verified when they
/// were attached.
fn interfaces(record: &Record, links: &[MarkedLink]) -> Vec<AttachedInterface> {
    let interface = |attachment: &Attachment| {
        let Attachment {
            device,
            config,
            snapshot,
            ..
        } = attachment;
        let link = links.iter().find(|link| link.device == device.name);
        let snapshot = snapshot.as_ref();
        let home_name = link.map_or(&device.interface, |link| &link.home_name);
        let name = link.map_or_else(|| wanted_name(attachment, home_name), |link| &link.name);
        AttachedInterface {
            device: device.name.clone(),
            name: name.clone(),
            hardware_address: snapshot
                .map(|s| s.hardware_address.clone())
                .unwrap_or_default(),
            addresses: config.addresses.clone(),
            mtu: config
                .mtu
                .map(Mtu::get)
                .or(snapshot.map(|s| s.mtu))
                .unwrap_or_default(),
            home_name: home_name.clone(),
        }
    };
    record.attachments.iter().map(interface).collect()
}
