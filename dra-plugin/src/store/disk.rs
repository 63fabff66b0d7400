//! The state database: sled in one folder, held by one process, and beside it the copies of what is in quarantine.
//!
//! | tree | key | value |
//! | --- | --- | --- |
//! | default | `schema` | number of the layout, big-endian `u32` |
//! | default | `incomplete` | nothing; there while records that were lost may be held by nri-hook alone |
//! | default | `copies-read` | nothing; there since the copies of what is in quarantine were asked |
//! | `claims` | claim UID | checksum and record |
//! | `devices` | device | UID of the claim that holds it |
//! | `quarantine` | device | checksum, why it could not be brought home, and the link behind it |
//! | `damaged` | as in `claims` | bytes that were no record |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use network_driver_common::error::sentence;
use network_driver_common::fail::{self, Point};
use network_driver_common::model::{DeviceName, Quarantine};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use sled::Transactional;
use sled::transaction::{
    ConflictableTransactionError, TransactionError, TransactionResult, TransactionalTree,
};
use tracing::{error, warn};

use super::codec::{decode, decode_quarantine, encode, encode_quarantine, unreadable};
use super::copies::{Copies, CopyError};
use super::{Change, CommitError, Contents, Store};

/// Number of the layout that this build writes.
const SCHEMA: u32 = 1;
const SCHEMA_KEY: &[u8] = b"schema";
const INCOMPLETE_KEY: &[u8] = b"incomplete";
const COPIES_READ_KEY: &[u8] = b"copies-read";
/// Folder of the database in the state directory.
const FOLDER: &str = "claims.sled";
/// Bytes that a disk must have room for before the database is opened again: two segments.
const ROOM: usize = 1 << 20;
/// Longest time that a closed database keeps its lock.
const CLOSING: Duration = Duration::from_secs(1);
/// Folder of the copies.
const COPIES: &str = "quarantine";

/// Why the state database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process has it.
    #[error(
        "the state database in {path} is in use by another process: only one dra-plugin may run on a node"
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
    },
    /// A later release wrote it.
    #[error(
        "the state database in {path} has schema {found}, this build knows up to {known}: install the newer release again"
    )]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Schema of the database.
        found: u32,
        /// Schema of this build.
        known: u32,
    },
    /// The directory.
    #[error("use state directory {path} (--state-dir)")]
    Directory {
        /// The state directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The database in it.
    #[error("open the state database in {path}")]
    Database {
        /// The state directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: sled::Error,
    },
}

impl OpenError {
    /// The code that the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => 4,
            Self::Newer { .. } => 5,
            Self::Directory { .. } | Self::Database { .. } => 6,
        }
    }
}

/// The database of a state directory.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    /// `None` where a write has failed and it could not be opened again.
    tables: Option<Tables>,
    copies: Copies,
    /// Declared last: unlocked once the database is closed.
    _lock: Flock<File>,
}

/// The open database.
#[derive(Debug)]
struct Tables {
    db: sled::Db,
    claims: sled::Tree,
    devices: sled::Tree,
    quarantine: sled::Tree,
    /// The file that `sled` writes its log to.
    log: File,
}

/// Why one try to open the folder failed.
enum Failure {
    Newer(u32),
    /// What is in it makes no sense.
    Corrupt(String),
    Database(sled::Error),
    Log(io::Error),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        let corrupt = match &error {
            // What sled says of a damaged configuration file is that it is of an older release.
            sled::Error::Corruption { .. }
            | sled::Error::ReportableBug(_)
            | sled::Error::Unsupported(_) => true,
            sled::Error::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ),
            sled::Error::CollectionNotFound(_) => false,
        };
        if corrupt {
            Self::Corrupt(error.to_string())
        } else {
            Self::Database(error)
        }
    }
}

impl Disk {
    /// Opens the database in the directory, made when it is not there, and reads all of it. Records that cannot be
    /// read are set aside; a database that cannot be read at all is moved aside and begun anew.
    ///
    /// # Errors
    /// Another process, a newer layout, a directory that cannot be used.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Contents), OpenError> {
        let lock = lock(dir)?;
        let copies = Copies::open(dir.join(COPIES)).map_err(|error| unusable(dir, error))?;
        let mut disk = Self {
            dir: dir.to_owned(),
            tables: None,
            copies,
            _lock: lock,
        };
        let contents = disk.read()?;
        Ok((disk, contents))
    }

    /// Opens the database, anew if it was open.
    fn read(&mut self) -> Result<Contents, OpenError> {
        self.tables = None;
        let (tables, contents) = Tables::open(&self.dir, &self.copies)?;
        self.tables = Some(tables);
        Ok(contents)
    }

    fn copy(&self, changes: &[Change]) -> Result<(), CopyError> {
        changes.iter().try_for_each(|change| match change {
            Change::Quarantine(quarantine) => self.copies.keep(quarantine),
            Change::Readmit(device) => self.copies.remove(device),
            Change::Put(_) | Change::Remove(_) | Change::Whole => Ok(()),
        })
    }
}

impl Tables {
    fn open(dir: &Path, copies: &Copies) -> Result<(Self, Contents), OpenError> {
        let folder = dir.join(FOLDER);
        let directory = |source| OpenError::Directory {
            path: dir.to_owned(),
            source,
        };
        let mut replaced = None;
        let opened = match Self::try_open(&folder) {
            Err(Failure::Corrupt(reason)) => {
                let aside = aside(&folder);
                error!(err = reason, path = %aside.display(), "state database cannot be read, moved aside");
                fs::rename(&folder, &aside).map_err(directory)?;
                replaced = Some(aside);
                Self::try_open(&folder)
            }
            opened => opened,
        };
        let (db, log) = opened.map_err(|failure| open_error(dir, failure))?;
        let database = |source| OpenError::Database {
            path: dir.to_owned(),
            source,
        };
        let tables = Self {
            claims: db.open_tree("claims").map_err(database)?,
            devices: db.open_tree("devices").map_err(database)?,
            quarantine: db.open_tree("quarantine").map_err(database)?,
            db,
            log,
        };
        let mut contents = tables.load().map_err(database)?;
        contents.replaced = replaced;
        let from_copies = copies.read().map_err(|error| unusable(dir, error))?;
        let quarantined = tables.quarantined(&from_copies, !contents.damaged.is_empty());
        contents.quarantined = quarantined.map_err(database)?;
        let is_whole = tables.db.was_recovered() && contents.damaged.is_empty();
        contents.incomplete = tables.note_lost(!is_whole).map_err(database)?;
        tables.sync().map_err(|error| unusable(dir, error))?;
        copies.settle(&from_copies, &contents.quarantined);
        Ok((tables, contents))
    }

    /// Opens the folder and walks through all of it. `sled` panics on some damage: that is damage too.
    fn try_open(folder: &Path) -> Result<(sled::Db, File), Failure> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let db = sled::Config::new()
                .path(folder)
                .cache_capacity(1 << 20)
                .mode(sled::Mode::LowSpace)
                .flush_every_ms(None)
                .open()?;
            let schema = schema(&db)?;
            for tree in db.tree_names() {
                for entry in &db.open_tree(tree)? {
                    entry?;
                }
            }
            Ok((db, schema))
        }));
        let (db, schema) = match opened {
            Ok(opened) => opened.map_err(|error: sled::Error| Failure::from(error))?,
            Err(_) => return Err(Failure::Corrupt("the database panicked".to_owned())),
        };
        if schema > SCHEMA {
            return Err(Failure::Newer(schema));
        }
        let log = File::open(folder.join("db")).map_err(Failure::Log)?;
        Ok((db, log))
    }

    fn load(&self) -> Result<Contents, sled::Error> {
        let mut contents = Contents::default();
        let damaged = self.db.open_tree("damaged")?;
        for entry in &self.claims {
            let (key, bytes) = entry?;
            match decode(&bytes) {
                Ok(record) if record.claim.uid.as_str().as_bytes() == &*key => {
                    contents.records.push(record);
                }
                other => {
                    let reason = other
                        .err()
                        .map_or_else(|| "it has the key of another".into(), |e| sentence(&e));
                    damaged.insert(&key, bytes)?;
                    self.claims.remove(&key)?;
                    let key = String::from_utf8_lossy(&key).into_owned();
                    contents.damaged.push((key, reason));
                }
            }
        }
        self.rebuild_index(&contents)?;
        Ok(contents)
    }

    /// The devices in quarantine. What the database lacks of them, being new or damaged, is put back from the copies.
    fn quarantined(
        &self,
        copied: &[Quarantine],
        has_lost: bool,
    ) -> Result<Vec<Quarantine>, sled::Error> {
        let (mut found, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in &self.quarantine {
            let (device, bytes) = entry?;
            let Ok(device) = String::from_utf8_lossy(&device).parse::<DeviceName>() else {
                continue;
            };
            match decode_quarantine(&device, &bytes) {
                Ok(quarantine) => drop(found.insert(device, quarantine)),
                Err(_) => damaged.push(device),
            }
        }
        let is_new = !self.db.contains_key(COPIES_READ_KEY)?;
        for copy in copied {
            let device = &copy.device;
            let lacks = is_new || has_lost || damaged.contains(device);
            if lacks && !found.contains_key(device) {
                warn!(%device, reason = copy.reason, "device in quarantine: the database had lost it");
                self.quarantine
                    .insert(device.as_str(), encode_quarantine(copy))?;
                found.insert(device.clone(), copy.clone());
            }
        }
        if is_new {
            self.db.insert(COPIES_READ_KEY, &[])?;
        }
        for device in damaged {
            found.entry(device.clone()).or_insert_with(|| {
                error!(%device, "why a device is in quarantine cannot be read any more");
                unreadable(device)
            });
        }
        Ok(found.into_values().collect())
    }

    /// Notes that records are lost, if any are; whether that was noted and not taken back.
    fn note_lost(&self, lost: bool) -> Result<bool, sled::Error> {
        if lost {
            self.db.insert(INCOMPLETE_KEY, &[])?;
        }
        self.db.contains_key(INCOMPLETE_KEY)
    }

    /// The index follows from the records: one that differs is written anew.
    fn rebuild_index(&self, contents: &Contents) -> Result<(), sled::Error> {
        let mut wanted = BTreeMap::new();
        for record in &contents.records {
            for attachment in &record.attachments {
                let device = attachment.device.name.to_string().into_bytes();
                wanted.insert(device, record.claim.uid.to_string().into_bytes());
            }
        }
        let found = self
            .devices
            .iter()
            .map(|entry| entry.map(|(device, uid)| (device.to_vec(), uid.to_vec())))
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if found != wanted {
            self.devices.clear()?;
            for (device, uid) in wanted {
                self.devices.insert(device, uid)?;
            }
        }
        Ok(())
    }

    /// `flush` hands everything to the kernel, but on Linux leaves the disk's own cache and the file's length alone
    /// (`sync_file_range`): only `fsync` makes it last through a power cut.
    fn sync(&self) -> Result<(), CommitError> {
        self.db.flush().map_err(CommitError::Write)?;
        self.log.sync_all().map_err(CommitError::Sync)
    }

    /// Makes all changes or none.
    fn commit(&self, changes: &[Change]) -> Result<(), CommitError> {
        if changes.contains(&Change::Whole) {
            let removed = self.db.remove(INCOMPLETE_KEY);
            removed.map_err(CommitError::Write)?;
        }
        let trees = (&self.claims, &self.devices, &self.quarantine);
        let done: TransactionResult<(), CommitError> =
            trees.transaction(|(claims, devices, quarantine)| {
                changes
                    .iter()
                    .try_for_each(|change| stage(change, claims, devices, quarantine))
            });
        fail::pass(staged(changes));
        match done {
            Ok(()) => self.sync(),
            Err(TransactionError::Abort(error)) => Err(error),
            Err(TransactionError::Storage(error)) => Err(CommitError::Write(error)),
        }
    }
}

impl Store for Disk {
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        self.copy(changes).map_err(CommitError::Copy)?;
        self.tables
            .as_ref()
            .ok_or(CommitError::Closed)?
            .commit(changes)
    }

    fn reload(&mut self) -> Result<Option<Contents>, CommitError> {
        // sled keeps the lock of a database that it could not open, so it must not be tried too early.
        has_room(&self.dir).map_err(CommitError::Sync)?;
        let begun = Instant::now();
        let mut read = self.read();
        while read.is_err() && begun.elapsed() < CLOSING {
            // Its threads let go of the one that was closed a moment later.
            thread::sleep(Duration::from_millis(10));
            read = self.read();
        }
        read.map(Some)
            .map_err(|failed| CommitError::Reopen(failed.into()))
    }

    fn size_bytes(&self) -> u64 {
        let size = self.tables.as_ref().map(|tables| tables.db.size_on_disk());
        size.and_then(Result::ok).unwrap_or_default()
    }
}

/// The fail point of changes that are in the log and not flushed.
fn staged(changes: &[Change]) -> Point {
    let removes = |change: &Change| matches!(change, Change::Remove(_));
    if changes.iter().any(removes) {
        Point::UnprepareStaged
    } else {
        Point::PrepareStaged
    }
}

fn stage(
    change: &Change,
    claims: &TransactionalTree,
    devices: &TransactionalTree,
    quarantine: &TransactionalTree,
) -> Result<(), ConflictableTransactionError<CommitError>> {
    match change {
        Change::Put(record) => {
            let uid = record.claim.uid.as_str();
            for attachment in &record.attachments {
                let device = attachment.device.name.as_str();
                let before = devices.insert(device, uid)?;
                if let Some(holder) = before.filter(|holder| &**holder != uid.as_bytes()) {
                    let (device, holder) = (
                        attachment.device.name.clone(),
                        String::from_utf8_lossy(&holder).into_owned(),
                    );
                    let held = CommitError::DeviceHeld { device, holder };
                    return Err(ConflictableTransactionError::Abort(held));
                }
            }
            claims.insert(uid, encode(record))?;
        }
        Change::Remove(record) => {
            claims.remove(record.claim.uid.as_str())?;
            for attachment in &record.attachments {
                devices.remove(attachment.device.name.as_str())?;
            }
        }
        Change::Quarantine(quarantined) => {
            let device = quarantined.device.as_str();
            quarantine.insert(device, encode_quarantine(quarantined))?;
        }
        Change::Readmit(device) => {
            quarantine.remove(device.as_str())?;
        }
        // Before, for its place is not in these trees.
        Change::Whole => {}
    }
    Ok(())
}

/// The layout's number; a fresh database gets ours.
fn schema(db: &sled::Db) -> Result<u32, sled::Error> {
    let Some(bytes) = db.get(SCHEMA_KEY)? else {
        db.insert(SCHEMA_KEY, &SCHEMA.to_be_bytes())?;
        return Ok(SCHEMA);
    };
    // A number of another width can only come from a later release.
    Ok(bytes
        .as_ref()
        .try_into()
        .map_or(u32::MAX, u32::from_be_bytes))
}

/// Whether the disk takes what sled writes as it opens a database.
fn has_room(dir: &Path) -> io::Result<()> {
    let path = dir.join("room");
    let written = fs::write(&path, vec![0; ROOM]);
    fs::remove_file(&path).and(written)
}

fn unusable(dir: &Path, error: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Directory {
        path: dir.to_owned(),
        source: io::Error::other(error),
    }
}

fn lock(dir: &Path) -> Result<Flock<File>, OpenError> {
    let directory = |source| OpenError::Directory {
        path: dir.to_owned(),
        source,
    };
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(directory)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(directory)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(OpenError::Locked {
            path: dir.to_owned(),
        }),
        Err((_, errno)) => Err(directory(errno.into())),
    }
}

fn aside(folder: &Path) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    folder.with_extension(format!("corrupt-{millis}"))
}

fn open_error(dir: &Path, failure: Failure) -> OpenError {
    let path = dir.to_owned();
    match failure {
        Failure::Newer(found) => OpenError::Newer {
            path,
            found,
            known: SCHEMA,
        },
        Failure::Corrupt(reason) => OpenError::Directory {
            path,
            source: io::Error::other(reason),
        },
        Failure::Database(source) => OpenError::Database { path, source },
        Failure::Log(source) => OpenError::Directory { path, source },
    }
}

#[cfg(test)]
mod tests;
