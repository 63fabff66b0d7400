//! Calling another daemon.

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Component, socket_path};
use crate::telemetry;

/// A connection to the component, made when it is first used and again whenever it is lost. A call while the
/// component is away fails at once with `Unavailable`.
pub fn channel(dir: &Path, component: Component) -> Channel {
    let path = socket_path(dir, component);
    // The authority is a fixed word: the path of a socket is none that HTTP/2 takes.
    Endpoint::from_static("http://bus")
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
}

/// The request with a deadline that the server learns too, and with the trace context of the current span.
pub fn with_trace<T>(message: T, deadline: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline);
    if let Some(value) = telemetry::traceparent().and_then(|text| text.parse().ok()) {
        request.metadata_mut().insert("traceparent", value);
    }
    request
}
