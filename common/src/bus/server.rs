//! Serving a daemon's socket.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use nix::unistd::Uid;
use tokio::net::UnixStream;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tracing::warn;

use super::{Listener, TraceCalls, Traced};

/// Time that running calls get to end after the stop signal. Sessions never end by themselves.
const DRAIN: Duration = Duration::from_secs(2);

/// Serving failed; what was being served is in the source.
#[derive(Debug, thiserror::Error)]
#[error("serve the bus socket")]
pub struct ServeError(#[source] tonic::transport::Error);

/// Serves until the token is cancelled. Peers other than root and our own user are turned away.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: Listener,
    routes: Routes,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    // A session is a stream, not a trace: its messages carry their own context. Questions of people and probes are not
    // traced.
    let calls = TraceCalls::on(listener.path(), Traced::InTrace);
    let (accepting, _files) = listener.into_parts();
    let incoming = UnixListenerStream::new(accepting)
        .filter_map(|stream| std::future::ready(admit(stream).transpose()));
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .layer(calls)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.map_err(ServeError),
        () = shutdown.cancelled() => {}
    }
    match tokio::time::timeout(DRAIN, server).await {
        Ok(ended) => ended.map_err(ServeError),
        Err(_) => Ok(()),
    }
}

/// Lets root and our own user in; files in the volume already keep everyone else out.
fn admit(stream: io::Result<UnixStream>) -> io::Result<Option<UnixStream>> {
    let stream = stream?;
    let peer = stream.peer_cred()?.uid();
    if peer == 0 || peer == Uid::effective().as_raw() {
        return Ok(Some(stream));
    }
    warn!(peer.uid = peer, "bus peer turned away");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use network_driver_proto::bus::admin_client::AdminClient;
    use network_driver_proto::bus::{ReadinessRequest, VersionRequest};

    use super::*;
    use crate::bus::{Component, channel, listen};
    use crate::health::Health;
    use crate::telemetry::LogFilter;

    #[tokio::test]
    async fn a_daemon_answers_on_its_socket_and_stops_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let health = Health::default();
        let part = health.part("netlink");
        let admin = crate::admin::service(
            Component::Discovery,
            health.clone(),
            LogFilter::detached(),
            || serde_json::json!({"links": 3}),
        );
        let listener = listen(dir.path(), Component::Discovery).unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, Routes::new(admin), stop.clone()));

        let mut client = AdminClient::new(channel(dir.path(), Component::Discovery));
        let version = client
            .version(VersionRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(version.component, "discovery");
        let readiness = client
            .readiness(ReadinessRequest {})
            .await
            .unwrap()
            .into_inner();
        assert!(!readiness.ready);
        assert_eq!(readiness.parts[0].reason, "starting");
        part.ready();
        assert!(
            client
                .readiness(ReadinessRequest {})
                .await
                .unwrap()
                .into_inner()
                .ready
        );

        stop.cancel();
        served.await.unwrap().unwrap();
        assert!(client.version(VersionRequest {}).await.is_err());
    }
}
