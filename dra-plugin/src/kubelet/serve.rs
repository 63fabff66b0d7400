//! Serving gRPC on a socket that may be removed at any time.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use network_driver_common::bus::{Backoff, TraceCalls, Traced};
use network_driver_common::error::sentence;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tracing::{info, warn};

use super::watch::{FileId, Watch};

/// Time that running calls get to end when the socket goes.
const DRAIN: Duration = Duration::from_secs(6);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A socket of the kubelet's cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// Something that is no socket has its name.
    #[error("{path} exists and is not a socket: remove it")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("make socket {path}")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server failed.
    #[error("serve socket {path}")]
    Serve {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Serves on the path until the token is cancelled, and makes the socket again whenever it is removed. `bound` is told
/// each time. The first time the socket has to be made; later tries are repeated.
pub(super) async fn serve_socket(
    path: &Path,
    routes: Routes,
    mut bound: impl FnMut(),
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let mut servers = JoinSet::new();
    let mut present = bind(path)?;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let (listener, watch) = present;
        info!(path = %path.display(), "socket served");
        let stop = shutdown.child_token();
        servers.spawn(serve(
            listener,
            routes.clone(),
            stop.clone(),
            path.to_owned(),
        ));
        bound();
        tokio::select! {
            () = watch.gone() => {}
            ended = next_failure(&mut servers) => return Err(ended),
            () = shutdown.cancelled() => {
                remove(path, watch.id());
                drain(servers).await;
                return Ok(());
            }
        }
        // Running calls end on the old socket, new ones come on the new one.
        stop.cancel();
        warn!(path = %path.display(), "socket was removed, making it again");
        present = loop {
            match bind(path) {
                Ok(present) => {
                    backoff.reset();
                    break present;
                }
                Err(error) => warn!(err = sentence(&error), "socket not made; will retry"),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait()) => {}
                () = shutdown.cancelled() => {
                    drain(servers).await;
                    return Ok(());
                }
            }
        };
    }
}

/// Makes the socket (0600) and its directory. One process at most runs on a node, by the lock of its database, so a
/// socket that is there is a stale one.
fn bind(path: &Path) -> Result<(UnixListener, Watch), ServeError> {
    let error = |source| ServeError::Bind {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(error)?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).map_err(error)?,
        Ok(_) => {
            return Err(ServeError::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(error(source)),
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(error)?;
    let watch = Watch::new(path).map_err(error)?;
    Ok((listener, watch))
}

async fn serve(
    listener: UnixListener,
    routes: Routes,
    stop: CancellationToken,
    path: PathBuf,
) -> Result<(), ServeError> {
    let server = Server::builder()
        .layer(TraceCalls::on(&path, Traced::All))
        .add_routes(routes)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled());
    tokio::pin!(server);
    let failed = |source| ServeError::Serve {
        path: path.clone(),
        source,
    };
    tokio::select! {
        ended = &mut server => return ended.map_err(failed),
        () = stop.cancelled() => {}
    }
    match tokio::time::timeout(DRAIN, server).await {
        Ok(ended) => ended.map_err(failed),
        Err(_) => Ok(()),
    }
}

/// Returns only when a server fails: those that were told to stop end well.
async fn next_failure(servers: &mut JoinSet<Result<(), ServeError>>) -> ServeError {
    loop {
        match servers.join_next().await {
            Some(Ok(Err(error))) => return error,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

async fn drain(mut servers: JoinSet<Result<(), ServeError>>) {
    while servers.join_next().await.is_some() {}
}

/// Removes the socket if it is still ours.
fn remove(path: &Path, ours: FileId) {
    if FileId::of(path).is_ok_and(|id| id == ours)
        && let Err(error) = fs::remove_file(path)
    {
        warn!(path = %path.display(), err = %error, "socket not removed");
    }
}

#[cfg(test)]
mod tests;
