//! `/metrics`, `/livez` and `/readyz` of a daemon.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
pub use prometheus_client;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::bus::Component;
use crate::health::Health;

/// Where a daemon serves its metrics and probes.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpArgs {
    /// Address of /metrics, /livez and /readyz; port 0 takes a free one [default: 127.0.0.1 and the daemon's own
    /// port: discovery 9411, dra-plugin 9412, nri-hook 9413]
    #[arg(long, env = "NETWORK_DRIVER_HTTP_ADDRESS", value_name = "IP:PORT")]
    http_address: Option<SocketAddr>,
}

impl HttpArgs {
    fn address(&self, component: Component) -> SocketAddr {
        let port = match component {
            Component::Discovery => 9411,
            Component::DraPlugin => 9412,
            Component::NriHook => 9413,
        };
        self.http_address
            .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, port).into())
    }
}

/// The HTTP server failed.
#[derive(Debug, thiserror::Error)]
#[error("serve metrics and probes on {address} (--http-address)")]
pub struct ServeHttpError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// A registry whose metrics begin with `network_driver_`, with `network_driver_build_info` in it.
pub fn registry(component: Component) -> Registry {
    let mut registry = Registry::with_prefix("network_driver");
    let build = Info::new([
        ("component", component.as_str()),
        ("version", env!("CARGO_PKG_VERSION")),
    ]);
    registry.register("build", "Release of this process", build);
    registry
}

#[derive(Clone)]
struct Served {
    registry: Arc<Registry>,
    health: Health,
}

/// Serves `/metrics`, `/livez`, `/readyz` (with `?verbose` a line per part) and `/healthz` until the token is
/// cancelled. The server shares its one thread with the daemon's work, so that a daemon that hangs does not answer.
///
/// # Errors
/// When the address cannot be had or the server fails.
pub async fn serve(
    component: Component,
    args: &HttpArgs,
    registry: Arc<Registry>,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), ServeHttpError> {
    let address = args.address(component);
    let error = |source| ServeHttpError { address, source };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    tracing::info!(address = %bound, "metrics and probes served");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(Served { registry, health });
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(error)
}

async fn metrics(State(served): State<Served>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &served.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(served): State<Served>, RawQuery(query): RawQuery) -> Response {
    let parts = served.health.parts();
    let ready = parts.iter().all(|part| part.reason.is_none());
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = query.is_some_and(|query| query.split('&').any(|key| key.starts_with("verbose")));
    let mut text = String::new();
    for part in &parts {
        match &part.reason {
            Some(reason) => text.push_str(&format!("[-]{} not ready: {reason}\n", part.name)),
            None if verbose => text.push_str(&format!("[+]{} ok\n", part.name)),
            None => {}
        }
    }
    text.push_str(if ready { "ok\n" } else { "not ready\n" });
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn text(response: Response) -> (StatusCode, String) {
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readyz_names_what_is_not_ready() {
        let health = Health::default();
        let (hook, store) = (health.part("hook"), health.part("store"));
        store.ready();
        let served = State(Served {
            registry: Arc::new(registry(Component::DraPlugin)),
            health: health.clone(),
        });
        hook.not_ready("no session");
        let (status, body) = text(readyz(served.clone(), RawQuery(None)).await).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "[-]hook not ready: no session\nnot ready\n");
        hook.ready();
        let (status, body) = text(readyz(served, RawQuery(Some("verbose".into()))).await).await;
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::OK, "[+]hook ok\n[+]store ok\nok\n")
        );
    }

    #[tokio::test]
    async fn metrics_carry_the_prefix_and_the_build() {
        let registry = Arc::new(registry(Component::NriHook));
        let served = State(Served {
            registry,
            health: Health::default(),
        });
        let (_, body) = text(metrics(served).await).await;
        assert!(
            body.contains("network_driver_build_info{component=\"nri-hook\""),
            "{body}"
        );
    }
}
