//! What is durably known of prepared claims.
//!
//! [`Book`] is what the rest of the daemon sees: all records in memory, changed only after the change is on disk. One
//! thread writes; changes that come while it writes share the next flush. [`Store`] is what is below it: the database
//! ([`Disk`]), or a fake in tests.

mod book;
mod codec;
mod copies;
mod disk;
#[cfg(test)]
mod fuzzing;
#[cfg(test)]
pub(crate) mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use book::{Book, BookError};
use copies::CopyError;
pub(crate) use disk::Disk;
use disk::OpenError;
use network_driver_common::model::{ClaimUid, DeviceName, Quarantine, Record};

/// A change of what is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// The record of a claim, new or instead of the one before. Its devices are in no other record.
    Put(Arc<Record>),
    /// The claim's record goes.
    Remove(Arc<Record>),
    /// A device could not be brought home as it was.
    Quarantine(Arc<Quarantine>),
    /// An operator has put a quarantined device right.
    Readmit(DeviceName),
    /// Records that were lost are back.
    Whole,
}

/// Keeps changes for good.
pub(crate) trait Store: Send {
    /// Makes all changes or none. When it returns, they survive a kill and a power cut.
    ///
    /// # Errors
    /// None of the changes is to be counted on; making them again later is safe.
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError>;

    /// Opens the store anew after a commit that could not be written: it says then what is there. `None` where that is
    /// what was there before the commit.
    ///
    /// # Errors
    /// The disk takes nothing yet; or the store could not be opened ([`CommitError::Reopen`]), and cannot be any more.
    fn reload(&mut self) -> Result<Option<Contents>, CommitError>;

    /// Bytes that the store takes up.
    fn size_bytes(&self) -> u64;
}

/// Why changes were not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Two records would name one device.
    #[error("device {device} is in the record of claim UID {holder} already")]
    DeviceHeld {
        /// The device.
        device: DeviceName,
        /// UID of the claim that has it.
        holder: String,
    },
    /// The database refuses.
    #[error("write to the state database")]
    Write(#[source] sled::Error),
    /// The copy of a device in quarantine.
    #[error(transparent)]
    Copy(CopyError),
    /// It was closed after a write that failed.
    #[error("the state database is closed")]
    Closed,
    /// After a write that failed it cannot be opened.
    #[error("open the state database again")]
    Reopen(#[source] Box<OpenError>),
    /// The disk refuses.
    #[error("sync the state database to disk")]
    Sync(#[source] std::io::Error),
}

/// What a store held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Records.
    pub records: Vec<Record>,
    /// Quarantined devices.
    pub quarantined: Vec<Quarantine>,
    /// Records that could not be read and were set aside: key and reason.
    pub damaged: Vec<(String, String)>,
    /// Where a database that could not be read at all was moved to, before a new one was made.
    pub replaced: Option<std::path::PathBuf>,
    /// There was no database, when this process or an earlier one opened it: nothing was ever stored, or it was deleted.
    /// Or a part of it was lost. Nobody has noted since that all is back.
    pub incomplete: bool,
}

impl CommitError {
    /// Whether the store may be another than before: it has to be opened anew.
    fn needs_reload(&self) -> bool {
        match self {
            Self::Write(_) | Self::Sync(_) | Self::Closed | Self::Reopen(_) => true,
            Self::DeviceHeld { .. } | Self::Copy(_) => false,
        }
    }
}

impl Contents {
    /// Whether all that was ever stored is there.
    fn is_whole(&self) -> bool {
        !self.incomplete
    }
}

/// Everything stored, as it is in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) records: BTreeMap<ClaimUid, Arc<Record>>,
    /// Device → claim that holds it.
    pub(crate) devices: BTreeMap<DeviceName, ClaimUid>,
    pub(crate) quarantined: BTreeMap<DeviceName, Arc<Quarantine>>,
}

impl From<Contents> for State {
    fn from(contents: Contents) -> Self {
        let mut state = Self::default();
        for record in contents.records {
            state.apply(&Change::Put(Arc::new(record)));
        }
        for quarantine in contents.quarantined {
            state.apply(&Change::Quarantine(Arc::new(quarantine)));
        }
        state
    }
}

impl State {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(record) => {
                let uid = &record.claim.uid;
                self.forget(uid);
                for attachment in &record.attachments {
                    let device = &attachment.device.name;
                    self.devices.insert(device.clone(), uid.clone());
                }
                self.records.insert(uid.clone(), Arc::clone(record));
            }
            Change::Remove(record) => self.forget(&record.claim.uid),
            Change::Quarantine(quarantine) => {
                let device = quarantine.device.clone();
                self.quarantined.insert(device, Arc::clone(quarantine));
            }
            Change::Readmit(device) => {
                self.quarantined.remove(device);
            }
            Change::Whole => {}
        }
    }

    fn forget(&mut self, uid: &ClaimUid) {
        if let Some(record) = self.records.remove(uid) {
            for attachment in &record.attachments {
                self.devices.remove(&attachment.device.name);
            }
        }
    }
}
