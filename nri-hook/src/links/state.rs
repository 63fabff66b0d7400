//! Snapshots of the links that are away, for a hook that was restarted: one small file a claim in a tmpfs, which
//! outlives the process but not the boot, as the links' being away does. So nothing is synced to a disk.
//!
//! A file stands from before a claim's first link moves until its last one is home. It holds the claim's record as on
//! the bus, with the refreshed snapshots of those devices that are away.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use network_driver_common::model::{ClaimUid, DeviceName, Record, Snapshot};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus;
use prost::Message;

use super::Quarantined;

/// Most bytes that are read of one file. A claim has at most 32 devices, each with some kilobytes of snapshot.
const MAX_BYTES: u64 = 4 << 20;

/// The directory of the files.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
}

/// A file of the directory that cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The kernel refused.
    #[error("{action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file holds no record.
    #[error("{} holds no record", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: prost::DecodeError,
    },
    /// The file holds a record that says what it must not.
    #[error("{} holds an invalid record", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: InvalidMessage,
    },
}

impl State {
    /// Makes the directory if it is not there.
    pub(crate) fn open(dir: PathBuf) -> Result<Self, StateError> {
        fs::create_dir_all(&dir).map_err(io_error("make", &dir))?;
        Ok(Self { dir })
    }

    fn path(&self, claim: &ClaimUid) -> PathBuf {
        self.dir.join(format!("{claim}.record"))
    }

    /// Writes a record and puts it in the place of the former one at once.
    pub(crate) fn write(&self, record: &Record) -> Result<(), StateError> {
        let path = self.path(&record.claim.uid);
        let new = self.dir.join(format!(".{}.new", record.claim.uid));
        let bytes = bus::Record::from(record).encode_to_vec();
        fs::write(&new, bytes).map_err(io_error("write", &new))?;
        fs::rename(&new, &path).map_err(io_error("put in place", &path))
    }

    /// The record of a claim that has links away; `None` when there is none.
    pub(crate) fn read(&self, claim: &ClaimUid) -> Result<Option<Record>, StateError> {
        let path = self.path(claim);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        let mut limited = file.take(MAX_BYTES);
        limited
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &path))?;
        let message =
            bus::Record::decode(bytes.as_slice()).map_err(|source| StateError::Malformed {
                path: path.clone(),
                source,
            })?;
        let record = Record::try_from(&message);
        record
            .map(Some)
            .map_err(|source| StateError::Invalid { path, source })
    }

    /// The claims that have links away.
    pub(crate) fn claims(&self) -> Result<Vec<ClaimUid>, StateError> {
        let failed = |error| io_error("list", &self.dir)(error);
        let mut claims = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let uid = name.to_str().and_then(|name| name.strip_suffix(".record"));
            claims.extend(uid.and_then(|uid| uid.parse().ok()));
        }
        Ok(claims)
    }

    /// Forgets a claim. One that is not there is forgotten.
    pub(crate) fn remove(&self, claim: &ClaimUid) -> Result<(), StateError> {
        let path = self.path(claim);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

/// The snapshot that a record holds of a device.
pub(crate) fn snapshot_of<'a>(record: &'a Record, device: &DeviceName) -> Option<&'a Snapshot> {
    let attachments = &mut record.attachments.iter();
    let attachment = attachments.find(|attachment| attachment.device.name == *device)?;
    attachment.snapshot.as_ref()
}

/// What stays of a kept record after a detach: a snapshot of each device that is away yet, `None` when that is none. All
/// devices stay named: after a loss of the database this may be the last that knows which the claim has.
pub(crate) fn still_away(mut kept: Record, quarantined: &[Quarantined]) -> Option<Record> {
    for attachment in &mut kept.attachments {
        let mut away = quarantined.iter().filter(|device| device.is_away());
        if !away.any(|device| device.device == attachment.device.name) {
            attachment.snapshot = None;
        }
    }
    let is_away = kept.attachments.iter().any(|a| a.snapshot.is_some());
    is_away.then_some(kept)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io {
        action,
        path,
        source,
    }
}
