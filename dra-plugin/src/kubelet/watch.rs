//! Noticing that a socket's file was removed or replaced. The kubelet empties its directories at times, and finds a
//! driver again only by a new file.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

/// Which file it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    /// An inode's number may be used again at once. Not all file systems know this.
    made: Option<SystemTime>,
}

/// How often a file is looked at that cannot be watched.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            made: meta.created().ok(),
        })
    }
}

/// Watches the directory of a file, and the directory above that.
#[derive(Debug)]
pub(super) struct Watch {
    events: Option<AsyncFd<Events>>,
    path: PathBuf,
    id: FileId,
}

/// An inotify descriptor in the form that tokio takes.
#[derive(Debug)]
struct Events(Inotify);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    /// Watches a file that exists. Where the node has no inotify instance left, the file is looked at now and then.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let events = events(path).map_err(|error| {
            warn!(path = %path.display(), err = %error, "socket cannot be watched, it is looked at every 5 s");
        });
        Ok(Self {
            events: events.ok(),
            path: path.to_owned(),
            id: FileId::of(path)?,
        })
    }

    /// The file that is watched.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// Returns when the path no longer leads to the file.
    pub(super) async fn gone(&self) {
        while FileId::of(&self.path).is_ok_and(|id| id == self.id) {
            let event = match &self.events {
                Some(events) => next(events).await,
                None => Err(Errno::ENOSYS.into()),
            };
            if event.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }
}

fn events(path: &Path) -> io::Result<AsyncFd<Events>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    for directory in path.ancestors().skip(1).take(2) {
        inotify.add_watch(directory, flags)?;
    }
    #[expect(
        deprecated,
        reason = "its successor is unsafe; ours owns its descriptor and never changes it, as both ask"
    )]
    AsyncFd::with_interest(Events(inotify), Interest::READABLE)
}

/// Waits until something has happened in the watched directories.
async fn next(events: &AsyncFd<Events>) -> io::Result<()> {
    loop {
        let mut ready = events.readable().await?;
        match events.get_ref().0.read_events() {
            Ok(_) => return Ok(()),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn noticed(watch: &Watch) -> bool {
        let gone = tokio::time::timeout(Duration::from_secs(5), watch.gone());
        gone.await.is_ok()
    }

    #[tokio::test]
    async fn a_removed_file_and_a_removed_directory_are_noticed() {
        type Remove = fn(&Path);
        let removals: [Remove; 3] = [
            |dir| fs::remove_file(dir.join("plugins/a.sock")).unwrap(),
            |dir| fs::remove_dir_all(dir.join("plugins")).unwrap(),
            |dir| fs::rename(dir.join("plugins"), dir.join("old")).unwrap(),
        ];
        for (index, remove) in removals.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("plugins")).unwrap();
            let file = dir.path().join("plugins/a.sock");
            fs::write(&file, "").unwrap();
            let watch = Watch::new(&file).unwrap();
            remove(dir.path());
            assert!(noticed(&watch).await, "removal {index}");
        }
    }

    #[tokio::test]
    async fn a_file_that_was_replaced_before_anyone_looked_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        let file = dir.path().join("plugins/a.sock");
        fs::write(&file, "").unwrap();
        let watch = Watch::new(&file).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, "").unwrap();
        assert!(noticed(&watch).await);
    }

    #[tokio::test]
    async fn other_files_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("plugins")).unwrap();
        let file = dir.path().join("plugins/a.sock");
        fs::write(&file, "").unwrap();
        let watch = Watch::new(&file).unwrap();
        fs::write(dir.path().join("plugins/b.sock"), "").unwrap();
        let gone = tokio::time::timeout(Duration::from_millis(50), watch.gone());
        assert!(gone.await.is_err());
    }
}
