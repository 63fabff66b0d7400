//! All records, and the one thread that changes them.
//!
//! # Guarantees
//! A change is visible, and its caller answered, only once it is on disk. Changes are made in the order in which they
//! were handed over. No two records name one device, and no new record names one in quarantine.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{Instant, SystemTime};

use network_driver_common::error::sentence;
use network_driver_common::model::{ClaimRef, ClaimUid, Device, DeviceName, Quarantine, Record};
use network_driver_common::telemetry;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, Span, error, info, info_span};

use super::{Change, CommitError, Contents, State, Store};
use crate::metrics::Metrics;
use crate::quarantine::{Devices, Unwell};

/// Changes that may wait for the writer.
const QUEUE: usize = 256;
/// Most changes in one flush.
const BATCH: usize = 64;

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum BookError {
    /// Another claim has a device of the record.
    #[error("device {device} is in use by claim {holder}")]
    DeviceInUse {
        /// The device.
        device: DeviceName,
        /// Who has it.
        holder: ClaimRef,
    },
    /// A device of the record is in quarantine.
    #[error("device {} is in quarantine: {}", .0.device, .0.reason)]
    Quarantined(Arc<Quarantine>),
    /// A device to release is not in quarantine.
    #[error("device {0} is not in quarantine")]
    NotQuarantined(DeviceName),
    /// A device to release is in a record: it may be away, and whoever holds it may end it in quarantine again.
    #[error("device {device} is held by claim {holder}: end the pods that use the claim first")]
    StillHeld {
        /// The device.
        device: DeviceName,
        /// Who holds it.
        holder: ClaimRef,
    },
    /// The store refused.
    #[error("keep the change")]
    Commit(#[source] Arc<CommitError>),
    /// The writer is gone; the daemon is about to end.
    #[error("the state database is closed")]
    Closed,
}

impl BookError {
    /// As a word.
    fn kind(&self) -> &'static str {
        match self {
            Self::DeviceInUse { .. } | Self::StillHeld { .. } => "DeviceInUse",
            Self::Quarantined(_) => "DeviceQuarantined",
            Self::NotQuarantined(_) => "NotQuarantined",
            Self::Commit(_) => "DatabaseError",
            Self::Closed => "DatabaseClosed",
        }
    }
}

/// What becomes of a record with a device in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quarantined {
    Refused,
    /// The device is in a pod already: it has to come home from there.
    Kept,
}

/// The records. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Shared {
    /// A std lock: held for a map access, never over an await.
    state: RwLock<State>,
    /// Counts changes.
    changed: watch::Sender<u64>,
    /// Whether no record that was ever kept is lost, as far as the store can tell.
    is_whole: AtomicBool,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer = Result<Option<Arc<Record>>, BookError>;

struct Request {
    operation: Operation,
    answer: oneshot::Sender<Answer>,
    /// Shows how long the disk took.
    span: Span,
}

enum Operation {
    Read(ClaimUid),
    Put(Record, Quarantined),
    Update(ClaimUid, Box<dyn FnOnce(&mut Record) + Send>),
    Remove(ClaimUid, Devices),
    Quarantine(ClaimUid, Devices),
    Readmit(DeviceName),
    Whole,
}

impl Book {
    /// Starts the writer on what the store held.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(
        store: Box<dyn Store>,
        contents: Contents,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let is_whole = contents.is_whole();
        let state = State::from(contents);
        let shared = Arc::new(Shared {
            state: RwLock::new(state.clone()),
            changed: watch::Sender::new(0),
            is_whole: AtomicBool::new(is_whole),
        });
        let (requests, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            store,
            state,
            stale: false,
            shared: Arc::clone(&shared),
            metrics,
        };
        writer.observe();
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(queue))?;
        Ok(Self { shared, requests })
    }

    /// Whether the store has all records. Otherwise a claim without one may have its devices in a pod.
    pub(crate) fn is_whole(&self) -> bool {
        self.shared.is_whole.load(Ordering::Acquire)
    }

    /// Notes that all records that were lost are back.
    pub(crate) async fn note_whole(&self) -> Result<(), BookError> {
        if !self.is_whole() {
            self.write(Operation::Whole).await?;
            self.shared.is_whole.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// All records, by claim UID.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.shared.read().records.values().cloned().collect()
    }

    /// The record of a claim.
    pub(crate) fn record(&self, uid: &ClaimUid) -> Option<Arc<Record>> {
        self.shared.read().records.get(uid).cloned()
    }

    /// The claim that holds a device.
    pub(crate) fn holder(&self, device: &DeviceName) -> Option<ClaimRef> {
        let state = self.shared.read();
        let uid = state.devices.get(device)?;
        state.records.get(uid).map(|record| record.claim.clone())
    }

    /// A device that a record holds, as it was when its claim was prepared.
    pub(crate) fn device(&self, device: &DeviceName) -> Option<Arc<Device>> {
        let state = self.shared.read();
        let record = state.records.get(state.devices.get(device)?)?;
        let mut attachments = record.attachments.iter();
        let attachment = attachments.find(|attachment| attachment.device.name == *device)?;
        Some(Arc::clone(&attachment.device))
    }

    /// Devices that could not be brought home as they were.
    pub(crate) fn quarantined(&self) -> BTreeMap<DeviceName, Arc<Quarantine>> {
        self.shared.read().quarantined.clone()
    }

    /// Why a device is in quarantine, if it is.
    pub(crate) fn quarantine_of(&self, device: &DeviceName) -> Option<Arc<Quarantine>> {
        self.shared.read().quarantined.get(device).cloned()
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The record as it is once everything that was handed over before is made.
    pub(crate) async fn settled(&self, uid: &ClaimUid) -> Answer {
        self.ask(Operation::Read(uid.clone()), Span::none()).await
    }

    /// Keeps a record, new or instead of the claim's former one.
    ///
    /// # Errors
    /// Also when another record holds one of its devices, or one is in quarantine.
    ///
    /// # Cancel safety
    /// The change is made even if the caller goes away while it waits.
    pub(crate) async fn put(&self, record: Record) -> Result<(), BookError> {
        let operation = Operation::Put(record, Quarantined::Refused);
        self.write(operation).await.map(drop)
    }

    /// Keeps a record that was lost while its devices are in a pod.
    ///
    /// # Errors
    /// Also when another record holds one of its devices.
    pub(crate) async fn put_back(&self, record: Record) -> Result<(), BookError> {
        let operation = Operation::Put(record, Quarantined::Kept);
        self.write(operation).await.map(drop)
    }

    /// Changes a record, if there is one, and returns it. The claim and the devices must stay what they are.
    pub(crate) async fn update(
        &self,
        uid: &ClaimUid,
        change: impl FnOnce(&mut Record) + Send + 'static,
    ) -> Answer {
        self.write(Operation::Update(uid.clone(), Box::new(change)))
            .await
    }

    /// Removes a record, if there is one, and notes which of its devices are quarantined.
    pub(crate) async fn remove(
        &self,
        uid: &ClaimUid,
        quarantined: Devices,
    ) -> Result<(), BookError> {
        let operation = Operation::Remove(uid.clone(), quarantined);
        self.write(operation).await.map(drop)
    }

    /// Notes that devices of a claim are quarantined.
    pub(crate) async fn quarantine(
        &self,
        uid: &ClaimUid,
        devices: Devices,
    ) -> Result<(), BookError> {
        let operation = Operation::Quarantine(uid.clone(), devices);
        self.write(operation).await.map(drop)
    }

    /// Takes a device out of quarantine.
    ///
    /// # Errors
    /// Also when it is not in quarantine, or a record holds it.
    pub(crate) async fn readmit(&self, device: &DeviceName) -> Result<(), BookError> {
        let operation = Operation::Readmit(device.clone());
        self.write(operation).await.map(drop)
    }

    /// Returns when the writer has ended, which it does only by a defect.
    pub(crate) async fn closed(&self) {
        self.requests.closed().await;
    }

    /// Has a change made, as a step of the present trace.
    async fn write(&self, operation: Operation) -> Answer {
        let span = info_span!("claim.store");
        let answer = self.ask(operation, span.clone()).instrument(span.clone());
        let answer = answer.await;
        if let Err(error) = &answer {
            telemetry::fail(&span, error.kind());
        }
        answer
    }

    async fn ask(&self, operation: Operation, span: Span) -> Answer {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            operation,
            answer,
            span,
        };
        if self.requests.send(request).await.is_err() {
            return Err(BookError::Closed);
        }
        answered.await.unwrap_or(Err(BookError::Closed))
    }
}

/// The thread that changes the records.
struct Writer {
    store: Box<dyn Store>,
    /// What the records will be once the running batch is on disk.
    state: State,
    /// A write has failed, and what is on the disk since is not known yet.
    stale: bool,
    shared: Arc<Shared>,
    metrics: Metrics,
}

impl Writer {
    /// Ends when all books are dropped; or when only a daemon that begins anew can tell what there is.
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH {
                let Ok(next) = queue.try_recv() else { break };
                batch.push(next);
            }
            match self.reload() {
                Ok(Known::All) => self.write(batch),
                Ok(Known::Lost) => return,
                Err(failed) => refuse(batch, &failed),
            }
            // At once, so that nobody goes by what was before; if it is in vain, with the next change.
            if matches!(self.reload(), Ok(Known::Lost)) {
                return;
            }
        }
    }

    /// Has what is known agree with the disk again after a write that failed: it may have been made all the same.
    fn reload(&mut self) -> Result<Known, Arc<CommitError>> {
        if !self.stale {
            return Ok(Known::All);
        }
        let reloaded = match self.store.reload() {
            Err(failed @ CommitError::Reopen(_)) => {
                error!(err = sentence(&failed), "the daemon begins anew");
                self.metrics.database_error("open");
                return Ok(Known::Lost);
            }
            Err(failed) => {
                error!(
                    err = sentence(&failed),
                    "state database not opened again yet"
                );
                return Err(Arc::new(failed));
            }
            Ok(reloaded) => reloaded,
        };
        self.stale = false;
        let Some(contents) = reloaded else {
            return Ok(Known::All);
        };
        if !contents.is_whole() && self.shared.is_whole.load(Ordering::Acquire) {
            error!("records were lost with a write that failed: the daemon begins anew");
            return Ok(Known::Lost);
        }
        info!("state database opened again");
        self.state = State::from(contents);
        self.show(|state, now| now.clone_into(state));
        Ok(Known::All)
    }

    fn write(&mut self, batch: Vec<Request>) {
        let mut changes = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        let mut spans = Vec::new();
        for request in batch {
            let staged = self.stage(request.operation);
            if let Ok(Staged { changes: new, .. }) = &staged {
                changes.extend(new.iter().cloned());
                spans.extend(Some(request.span).filter(|_| !new.is_empty()));
            }
            answers.push((request.answer, staged));
        }
        let committed = self.commit(&changes, &spans);
        for (answer, staged) in answers {
            // Also what changed nothing has seen what others of the batch would have changed.
            let result = match (staged, &committed) {
                (Ok(_), Err(error)) => Err(BookError::Commit(Arc::clone(error))),
                (staged, _) => staged.map(|staged| staged.record),
            };
            // The caller may have gone: the change stands all the same.
            drop(answer.send(result));
        }
    }

    /// What an operation changes, made in `self.state` for the operations that follow.
    fn stage(&mut self, operation: Operation) -> Result<Staged, BookError> {
        let staged = match operation {
            Operation::Read(uid) => Staged::record(self.state.records.get(&uid).cloned()),
            Operation::Put(record, quarantined) => self.put(record, quarantined)?,
            Operation::Update(uid, change) => self.update(&uid, change),
            Operation::Remove(uid, quarantined) => {
                let record = self.state.records.get(&uid).cloned();
                let quarantined = self.quarantine(record.as_deref(), quarantined);
                let remove = record.clone().map(Change::Remove);
                let changes = remove.into_iter().chain(quarantined).collect();
                Staged { changes, record }
            }
            Operation::Quarantine(uid, devices) => {
                let record = self.state.records.get(&uid).cloned();
                let changes = self.quarantine(record.as_deref(), devices);
                Staged { changes, record }
            }
            Operation::Readmit(device) => self.readmit(device)?,
            Operation::Whole => Staged {
                changes: vec![Change::Whole],
                record: None,
            },
        };
        for change in &staged.changes {
            self.state.apply(change);
        }
        Ok(staged)
    }

    fn put(&self, record: Record, quarantined: Quarantined) -> Result<Staged, BookError> {
        for attachment in &record.attachments {
            let device = &attachment.device.name;
            let holder = self.state.devices.get(device);
            let holder = holder.filter(|uid| **uid != record.claim.uid);
            if let Some(other) = holder.and_then(|uid| self.state.records.get(uid)) {
                return Err(BookError::DeviceInUse {
                    device: device.clone(),
                    holder: other.claim.clone(),
                });
            }
            let quarantine = self.state.quarantined.get(device);
            let refused = quarantine.filter(|_| quarantined == Quarantined::Refused);
            if let Some(quarantine) = refused {
                return Err(BookError::Quarantined(Arc::clone(quarantine)));
            }
        }
        let record = Arc::new(record);
        Ok(Staged {
            changes: vec![Change::Put(Arc::clone(&record))],
            record: Some(record),
        })
    }

    /// What is new of a list of quarantined devices. The time stays that of the first news, and what is said again
    /// changes nothing.
    fn quarantine(&self, record: Option<&Record>, devices: Devices) -> Vec<Change> {
        let attachment = |device: &DeviceName| {
            let mut attachments = record.into_iter().flat_map(|r| &r.attachments);
            attachments.find(|attachment| attachment.device.name == *device)
        };
        let news = devices.into_iter().filter_map(|unwell| {
            let Unwell {
                device,
                reason,
                lost,
            } = unwell;
            let before = self.state.quarantined.get(&device);
            let identity = attachment(&device).map(|a| a.device.identity.clone());
            let quarantine = Quarantine {
                identity: identity.or_else(|| before.and_then(|b| b.identity.clone())),
                since: before.map_or_else(|| Some(SystemTime::now()), |before| before.since),
                claim: record
                    .map(|record| record.claim.clone())
                    .or_else(|| before.and_then(|before| before.claim.clone())),
                device,
                reason,
                lost,
            };
            let is_news = before.is_none_or(|before| **before != quarantine);
            is_news.then(|| Change::Quarantine(Arc::new(quarantine)))
        });
        news.collect()
    }

    fn readmit(&self, device: DeviceName) -> Result<Staged, BookError> {
        if !self.state.quarantined.contains_key(&device) {
            return Err(BookError::NotQuarantined(device));
        }
        let holder = self.state.devices.get(&device);
        if let Some(record) = holder.and_then(|uid| self.state.records.get(uid)) {
            let holder = record.claim.clone();
            return Err(BookError::StillHeld { device, holder });
        }
        Ok(Staged {
            changes: vec![Change::Readmit(device)],
            record: None,
        })
    }

    fn update(&self, uid: &ClaimUid, change: Box<dyn FnOnce(&mut Record) + Send>) -> Staged {
        let Some(present) = self.state.records.get(uid) else {
            return Staged::record(None);
        };
        let mut record = Record::clone(present);
        change(&mut record);
        if record == **present {
            return Staged::record(Some(Arc::clone(present)));
        }
        let record = Arc::new(record);
        Staged {
            changes: vec![Change::Put(Arc::clone(&record))],
            record: Some(record),
        }
    }

    /// Writes a batch; the spans of its requests learn how long that took.
    fn commit(&mut self, changes: &[Change], spans: &[Span]) -> Result<(), Arc<CommitError>> {
        if changes.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        if let Err(failed) = self.store.commit(changes) {
            error!(err = sentence(&failed), "state not written");
            self.metrics.database_error("commit");
            self.state = self.shared.read().clone();
            self.stale = failed.needs_reload();
            return Err(Arc::new(failed));
        }
        let took = start.elapsed();
        self.metrics.flushed(took);
        for span in spans {
            telemetry::set(span, "db.flush_ms", took.as_secs_f64() * 1000.0);
        }
        self.show(|state, _| changes.iter().for_each(|change| state.apply(change)));
        Ok(())
    }

    /// Lets others see what is on the disk now.
    fn show(&self, change: impl FnOnce(&mut State, &State)) {
        let shown = self.shared.state.write();
        change(
            &mut shown.unwrap_or_else(PoisonError::into_inner),
            &self.state,
        );
        self.observe();
        self.shared
            .changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn observe(&self) {
        self.metrics.state(&self.state, self.store.size_bytes());
    }
}

/// What is known after a look at the disk.
enum Known {
    All,
    /// Records that were there are not, or nothing can be read.
    Lost,
}

fn refuse(batch: Vec<Request>, failed: &Arc<CommitError>) {
    for request in batch {
        let refused = Err(BookError::Commit(Arc::clone(failed)));
        drop(request.answer.send(refused));
    }
}

struct Staged {
    changes: Vec<Change>,
    record: Option<Arc<Record>>,
}

impl Staged {
    /// Nothing changes.
    fn record(record: Option<Arc<Record>>) -> Self {
        Self {
            changes: Vec::new(),
            record,
        }
    }
}

#[cfg(test)]
mod tests;
