//! A network namespace: held by an open file, named by what it is rather than where it is bound.
//!
//! `setns` changes a thread, so whatever runs in a namespace runs on a thread of its own that ends afterwards:
//! there is no way back that could fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::fstatfs;

/// A live network namespace. It cannot die while this or a clone lives, nor do the links in it come home by themselves.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    id: NetnsId,
}

/// What tells network namespaces apart: the file the kernel gives for it. Unique while the namespace lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetnsId {
    /// Device of nsfs.
    pub device: u64,
    /// Inode in nsfs.
    pub inode: u64,
}

/// There is no network namespace to be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenNetnsError {
    /// The file cannot be opened or looked at.
    #[error("open network namespace {path:?}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no namespace: it was never mounted, or is not any more, or not in this mount namespace.
    #[error("{path:?} is no namespace: nothing is mounted there (any more)")]
    NotNamespace {
        /// Which file.
        path: PathBuf,
    },
    /// The file is a namespace of another kind.
    #[error("{path:?} is a namespace, but not a network namespace")]
    NotNetwork {
        /// Which file.
        path: PathBuf,
    },
    /// The namespace cannot be entered.
    #[error("check network namespace {path:?}")]
    Enter {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: EnterNetnsError,
    },
    /// No new namespace could be made.
    #[error("make a network namespace")]
    Create(#[source] io::Error),
}

impl OpenNetnsError {
    /// Whether it says that there is no such namespace (any more), and not merely that it could not be looked at: too many
    /// files, no memory, no thread.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::NotNamespace { .. } | Self::NotNetwork { .. } => true,
            Self::Enter { .. } | Self::Create(_) => false,
        }
    }
}

/// A network namespace was not entered, and nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum EnterNetnsError {
    /// No thread could be started.
    #[error("start a thread for it")]
    Thread(#[source] io::Error),
    /// The kernel refused; `CAP_SYS_ADMIN` is needed here and in the namespace's owner.
    #[error("enter the network namespace")]
    Enter(#[source] Errno),
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, OpenNetnsError> {
        // Not /proc/self: that is the main thread's.
        Self::of_file(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace bound at `path`, or that of `/proc/<pid>/ns/net`. It is entered once, to be sure of its kind.
    ///
    /// # Errors
    /// Whatever else may stand at the path is refused without opening it for reading.
    pub fn open(path: &Path) -> Result<Self, OpenNetnsError> {
        let netns = Self::of_file(path)?;
        match netns.run(|| ()) {
            Ok(()) => Ok(netns),
            Err(EnterNetnsError::Enter(Errno::EINVAL)) => {
                Err(OpenNetnsError::NotNetwork { path: path.into() })
            }
            Err(source) => Err(OpenNetnsError::Enter {
                path: path.into(),
                source,
            }),
        }
    }

    /// A new, empty namespace; its loopback link is down. It dies with the last clone unless something else holds it.
    pub fn create() -> Result<Self, OpenNetnsError> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| OpenNetnsError::Create(errno.into()))?;
            Self::current()
        })
        .map_err(OpenNetnsError::Create)?
    }

    fn of_file(path: &Path) -> Result<Self, OpenNetnsError> {
        let failed = |source: io::Error| OpenNetnsError::Open {
            path: path.into(),
            source,
        };
        // Opened as a place first, so that a device or a pipe at the path is never touched.
        let place = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)
            .map_err(failed)?;
        let kind = fstatfs(&place).map_err(|errno| failed(errno.into()))?;
        if i128::from(kind.filesystem_type().0) != i128::from(libc::NSFS_MAGIC) {
            return Err(OpenNetnsError::NotNamespace { path: path.into() });
        }
        let file = File::open(file_path(&place)).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        Ok(Self {
            file: Arc::new(file),
            id: NetnsId {
                device: facts.dev(),
                inode: facts.ino(),
            },
        })
    }

    /// What tells it from others.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    /// Runs `work` inside, on a thread of its own, and waits for it. A panic in `work` goes on in the caller.
    ///
    /// # Errors
    /// When the namespace was not entered; `work` did not run then.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EnterNetnsError> {
        let netns = self.clone();
        on_own_thread(move || {
            setns(&netns, CloneFlags::CLONE_NEWNET).map_err(EnterNetnsError::Enter)?;
            Ok(work())
        })
        .map_err(EnterNetnsError::Thread)?
    }

    /// A path that means this namespace in this process, while `self` or a clone lives.
    pub fn path(&self) -> PathBuf {
        file_path(&self.file)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn file_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let thread = std::thread::Builder::new()
        .name("netns".to_owned())
        .spawn(work)?;
    thread
        .join()
        .map_or_else(|panic| std::panic::resume_unwind(panic), Ok)
}
