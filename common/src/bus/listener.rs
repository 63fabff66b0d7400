//! Making a socket safely: a stale one is replaced, a live one never.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;

use super::{Component, socket_path};

/// A socket of the bus that nobody else serves. Dropping it removes the socket's file.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    files: SocketFiles,
}

/// What a served socket has on disk; dropping it takes the socket's file away.
#[derive(Debug)]
pub(super) struct SocketFiles {
    path: PathBuf,
    /// Held as long as we serve: it tells a live daemon's socket from a stale one.
    _lock: Flock<File>,
}

impl Listener {
    /// The socket.
    pub(super) fn path(&self) -> &Path {
        &self.files.path
    }

    /// The accepting socket, and its files, to be kept as long as it accepts.
    pub(super) fn into_parts(self) -> (UnixListener, SocketFiles) {
        (self.listener, self.files)
    }
}

/// Why a daemon cannot serve its socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Its directory.
    #[error("make directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its lock file.
    #[error("lock {path}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process of this component is alive.
    #[error("{path} is served by another process: one {component} per bus directory")]
    Served {
        /// The socket.
        path: PathBuf,
        /// The component.
        component: Component,
    },
    /// Something that is no socket has its name.
    #[error("{path} exists and is not a socket: remove it")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The socket itself.
    #[error("bind {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes the component's directory (2750) and socket (0660). The group of both is that of the bus directory where it
/// has the set-group-ID bit, as a volume with an `fsGroup` does.
///
/// # Errors
/// When another process serves the socket or the file system refuses.
pub fn listen(dir: &Path, component: Component) -> Result<Listener, ListenError> {
    let path = socket_path(dir, component);
    let own = dir.join(component.as_str());
    let directory = |source| ListenError::Directory {
        path: own.clone(),
        source,
    };
    fs::create_dir_all(&own).map_err(directory)?;
    fs::set_permissions(&own, Permissions::from_mode(0o2750)).map_err(directory)?;
    let lock = lock(&own.join("bus.lock"), &path, component)?;
    remove_stale(&path, component)?;
    let bind = |source| ListenError::Bind {
        path: path.clone(),
        source,
    };
    let listener = UnixListener::bind(&path).map_err(bind)?;
    fs::set_permissions(&path, Permissions::from_mode(0o660)).map_err(bind)?;
    Ok(Listener {
        listener,
        files: SocketFiles { path, _lock: lock },
    })
}

fn lock(file: &Path, socket: &Path, component: Component) -> Result<Flock<File>, ListenError> {
    let error = |source| ListenError::Lock {
        path: file.to_owned(),
        source,
    };
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(file);
    match Flock::lock(opened.map_err(error)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(ListenError::Served {
            path: socket.to_owned(),
            component,
        }),
        Err((_, errno)) => Err(error(errno.into())),
    }
}

/// Removes what a dead process left. Under the lock nobody of ours serves it; a stranger's live socket still answers.
fn remove_stale(path: &Path, component: Component) -> Result<(), ListenError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(meta) if !meta.file_type().is_socket() => Err(ListenError::NotASocket {
            path: path.to_owned(),
        }),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(ListenError::Served {
            path: path.to_owned(),
            component,
        }),
        Ok(_) => fs::remove_file(path).map_err(|source| ListenError::Bind {
            path: path.to_owned(),
            source,
        }),
    }
}

impl Drop for SocketFiles {
    fn drop(&mut self) {
        // Nothing can be done about a file that will not go: the next start takes it for stale.
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let first = listen(dir.path(), Component::Discovery).unwrap();
        let second = listen(dir.path(), Component::Discovery).unwrap_err();
        assert!(matches!(second, ListenError::Served { .. }), "{second}");
        drop(first);
        let path = socket_path(dir.path(), Component::Discovery);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a closed listener leaves its file");
        let third = listen(dir.path(), Component::Discovery).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        let own = fs::metadata(path.parent().unwrap())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(own & 0o7777, 0o2750);
        drop(third);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_strangers_live_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket_path(dir.path(), Component::NriHook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _stranger = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(
            listen(dir.path(), Component::NriHook),
            Err(ListenError::Served { .. })
        ));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket_path(dir.path(), Component::NriHook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = listen(dir.path(), Component::NriHook).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
