//! The devices in quarantine once more, beside the database: a small file a device. Records that are lost come back from
//! the hook, which sees what is in pods; a device in quarantine is at home, where it looks like any other.
//!
//! Copies are changed before the database, and asked by one that is new or has lost something; else its word holds.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use network_driver_common::error::sentence;
use network_driver_common::model::{DeviceName, Quarantine};
use tracing::error;

use super::codec::{decode_quarantine, encode_quarantine, unreadable};

/// Most bytes that are read of one file. A reason has at most 500 characters.
const MAX_BYTES: u64 = 64 << 10;
/// Of a file that is not yet in its place. No device has a name with a dot.
const UNFINISHED: &str = ".new";

/// The folder of the files.
#[derive(Debug)]
pub(super) struct Copies {
    folder: PathBuf,
}

/// A copy that cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub(crate) struct CopyError {
    /// What was tried, as a verb.
    action: &'static str,
    /// With which file.
    path: PathBuf,
    /// Why not.
    #[source]
    source: io::Error,
}

impl CopyError {
    fn of(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self {
            action,
            path,
            source,
        }
    }
}

impl Copies {
    /// Makes the folder if it is not there.
    pub(super) fn open(folder: PathBuf) -> Result<Self, CopyError> {
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&folder);
        made.map_err(CopyError::of("make", &folder))?;
        Ok(Self { folder })
    }

    /// All copies. Of one that cannot be read the name is left, and the device stays in quarantine.
    pub(super) fn read(&self) -> Result<Vec<Quarantine>, CopyError> {
        let names = self.names()?.into_iter();
        let copies = names.map(|device| {
            let read = self.read_one(&device);
            read.unwrap_or_else(|reason| {
                error!(%device, err = reason, "copy of a device in quarantine cannot be read");
                unreadable(device)
            })
        });
        Ok(copies.collect())
    }

    fn read_one(&self, device: &DeviceName) -> Result<Quarantine, String> {
        let bytes = self.bytes(device).map_err(|failed| sentence(&failed))?;
        decode_quarantine(device, &bytes).map_err(|damaged| sentence(&damaged))
    }

    fn bytes(&self, device: &DeviceName) -> Result<Vec<u8>, CopyError> {
        let path = self.folder.join(device.as_str());
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
        read.map_err(CopyError::of("read", path))?;
        Ok(bytes)
    }

    /// Has the copies say what the database says. A copy too few costs nothing as long as the database is there, and one too
    /// many is not asked.
    pub(super) fn settle(&self, copied: &[Quarantine], wanted: &[Quarantine]) {
        let done = |device: &DeviceName, done: Result<(), CopyError>| {
            if let Err(failed) = done {
                error!(%device, err = sentence(&failed), "copy of a device in quarantine not as it should be");
            }
        };
        for quarantine in wanted.iter().filter(|wanted| !copied.contains(wanted)) {
            done(&quarantine.device, self.keep(quarantine));
        }
        for Quarantine { device, .. } in copied {
            if !wanted.iter().any(|wanted| wanted.device == *device) {
                done(device, self.remove(device));
            }
        }
    }

    /// Writes a copy in place of the former one.
    pub(super) fn keep(&self, quarantine: &Quarantine) -> Result<(), CopyError> {
        let path = self.folder.join(quarantine.device.as_str());
        let unfinished = self
            .folder
            .join(format!("{}{UNFINISHED}", quarantine.device));
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(&encode_quarantine(quarantine))?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            self.sync()
        };
        write().map_err(CopyError::of("write", &path))
    }

    /// Removes a copy. One that is not there is removed.
    pub(super) fn remove(&self, device: &DeviceName) -> Result<(), CopyError> {
        let path = self.folder.join(device.as_str());
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        // Also where nothing was: a removal whose sync failed is tried again.
        let removed = removed.and_then(|()| self.sync());
        removed.map_err(CopyError::of("remove", path))
    }

    fn names(&self) -> Result<Vec<DeviceName>, CopyError> {
        let failed = |error| CopyError::of("list", &self.folder)(error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        Ok(names)
    }

    /// So that a power cut does not undo what was made in the folder.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::quarantine;

    #[test]
    fn a_copy_is_there_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::open(dir.path().join("quarantine")).unwrap();
        assert_eq!(copies.read().unwrap(), []);
        let [eth1, mut eth2] = ["eth1", "eth2"].map(quarantine);
        copies.keep(&eth1).unwrap();
        copies.keep(&eth2).unwrap();
        eth2.reason = "it is still bent".into();
        copies.keep(&eth2).unwrap();
        let mut found = copies.read().unwrap();
        found.sort_by(|a, b| a.device.cmp(&b.device));
        assert_eq!(found, [eth1.clone(), eth2]);
        for _ in 0..2 {
            copies.remove(&eth1.device).unwrap();
        }
        assert_eq!(copies.read().unwrap().len(), 1);
    }

    #[test]
    fn a_copy_that_is_damaged_or_unfinished_loses_no_device() {
        let dir = tempfile::tempdir().unwrap();
        let copies = Copies::open(dir.path().to_owned()).unwrap();
        fs::write(dir.path().join("eth1"), "no copy").unwrap();
        fs::write(dir.path().join("eth2.new"), "half a co").unwrap();
        fs::create_dir(dir.path().join("eth3")).unwrap();
        let found = copies.read().unwrap();
        let mut devices: Vec<_> = found.iter().map(|found| found.device.as_str()).collect();
        devices.sort_unstable();
        assert_eq!(devices, ["eth1", "eth3"]);
        let failed = Copies::open(dir.path().join("eth1")).unwrap_err();
        let want = format!("make {}", dir.path().join("eth1").display());
        assert_eq!(failed.to_string(), want);
    }
}
