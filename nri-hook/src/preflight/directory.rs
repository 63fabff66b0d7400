//! Whether a directory of the node can be written, and lies on the right kind of file system.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::mounts::Mounts;
use super::{Finding, SELINUX, Verdict};

/// Written and synced to try a directory; runtimes and daemons take no notice of a file of this name.
const PROBE: &str = ".network-driver-preflight";

/// Bytes written: more than a nearly full disk has left over for a file of no size.
static PROBE_BYTES: [u8; 64 << 10] = [0; 64 << 10];

/// File systems in memory.
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// Where a directory must lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ground {
    /// Anywhere.
    Any,
    /// Where it survives a reboot.
    Disk,
    /// Where it does not.
    Memory,
}

/// A directory that a daemon writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) check: &'static str,
    pub(super) path: PathBuf,
    /// The chart's value for it.
    pub(super) setting: &'static str,
    pub(super) ground: Ground,
}

impl Directory {
    /// Tries it.
    pub(super) fn check(&self, mounts: &Mounts) -> Finding {
        let Self {
            check,
            path,
            setting,
            ground,
        } = self;
        let shown = path.display();
        if let Err(error) = try_out(path) {
            let cure = cure(error.kind());
            let text = format!("{shown} ({setting}) cannot be written: {error}; {cure}");
            return Finding::new(Verdict::Fail, check, text);
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let Some(mount) = mounts.holding(&real) else {
            let text = format!("{shown} can be written");
            return Finding::new(Verdict::Ok, check, text);
        };
        let noexec = if mount.noexec() { ", noexec" } else { "" };
        let text = format!("{shown} can be written ({}{noexec})", mount.kind);
        let in_memory = MEMORY.contains(&mount.kind.as_str());
        let wrong = match (ground, in_memory) {
            (Ground::Disk, true) => {
                "but a reboot empties it, and records must survive that: name a directory on a disk by"
            }
            (Ground::Memory, false) => {
                "but it survives a reboot, and links do not: name a directory on a tmpfs, such as below /run, by"
            }
            _ => return Finding::new(Verdict::Ok, check, text),
        };
        Finding::new(Verdict::Warn, check, format!("{text}, {wrong} {setting}"))
    }
}

/// Makes the directory as its daemon would, and writes a file to its disk.
fn try_out(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let probe = dir.join(PROBE);
    let written = fs::File::create(&probe).and_then(|mut file| {
        file.write_all(&PROBE_BYTES)?;
        file.sync_all()
    });
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

fn cure(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::ReadOnlyFilesystem => "name a directory on a writable file system".into(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room there".into(),
        io::ErrorKind::PermissionDenied => format!("it must belong to root; {SELINUX}"),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in its place: name another, or remove that".into()
        }
        _ => "is it the right directory?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: PathBuf, ground: Ground) -> Directory {
        Directory {
            check: "records",
            path,
            setting: "draPlugin.stateDir",
            ground,
        }
    }

    /// Mounts of which the directory's is of this kind.
    fn mounts(path: &Path, kind: &str) -> Mounts {
        let path = fs::canonicalize(path).unwrap();
        let line = format!("1 0 8:1 / {} rw,noexec - {kind} x rw\n", path.display());
        Mounts::parse(line.as_bytes())
    }

    #[test]
    fn a_directory_is_made_tried_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/records");
        let finding = directory(path.clone(), Ground::Disk).check(&mounts(dir.path(), "ext4"));
        assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
        assert!(finding.text.ends_with("(ext4, noexec)"), "{finding}");
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn the_wrong_kind_of_file_system_is_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        for (ground, kind, verdict, says) in [
            (
                Ground::Disk,
                "tmpfs",
                Verdict::Warn,
                "on a disk by draPlugin.stateDir",
            ),
            (Ground::Memory, "ext4", Verdict::Warn, "on a tmpfs"),
            (Ground::Memory, "tmpfs", Verdict::Ok, "(tmpfs"),
            (Ground::Any, "tmpfs", Verdict::Ok, "(tmpfs"),
        ] {
            let found = directory(dir.path().to_owned(), ground).check(&mounts(dir.path(), kind));
            assert_eq!(found.verdict, verdict, "{found}");
            assert!(found.text.contains(says), "{found}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_fails_with_a_cure() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        for (path, says) in [
            (file.clone(), "a file is in its place"),
            (file.join("below"), "a file is in its place"),
            // Nobody can make files in sysfs.
            ("/sys/kernel".into(), "cannot be written"),
        ] {
            let found = directory(path, Ground::Disk).check(&Mounts::default());
            assert_eq!(found.verdict, Verdict::Fail, "{found}");
            assert!(found.text.contains(says), "{found}");
            assert!(found.text.contains("(draPlugin.stateDir)"), "{found}");
        }
    }

    #[test]
    fn each_way_to_fail_has_its_cure() {
        for (kind, says) in [
            (io::ErrorKind::ReadOnlyFilesystem, "writable file system"),
            (io::ErrorKind::StorageFull, "make room"),
            (io::ErrorKind::PermissionDenied, "spc_t"),
            (io::ErrorKind::NotFound, "right directory"),
        ] {
            assert!(cure(kind).contains(says), "{kind}");
        }
    }
}
