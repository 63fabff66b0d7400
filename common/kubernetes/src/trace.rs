//! A span for each request that is part of a trace already, as OpenTelemetry describes HTTP clients: watches, events and
//! whatever else nobody waits for leave none.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use network_driver_common::telemetry::{self, traceparent};
use tower::{Layer, Service};
use tracing::{Instrument, Span, info_span};

/// Traces the requests of a client.
#[derive(Debug, Clone)]
pub(crate) struct TraceRequests {
    host: Arc<str>,
    port: u16,
}

impl TraceRequests {
    /// For a client of this server.
    pub(crate) fn to(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    fn span<B>(&self, request: &Request<B>) -> Span {
        if traceparent().is_none() {
            return Span::none();
        }
        let (method, template) = (request.method().as_str(), template(request.uri().path()));
        let name = format!("{method} {template}");
        let span = info_span!("http", otel.name = name, otel.kind = "client");
        telemetry::set(&span, "http.request.method", method.to_owned());
        telemetry::set(&span, "url.template", template);
        telemetry::set(&span, "server.address", self.host.to_string());
        telemetry::set(&span, "server.port", i64::from(self.port));
        span
    }
}

impl<S> Layer<S> for TraceRequests {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced {
            inner,
            requests: self.clone(),
        }
    }
}

/// A client whose requests are traced.
#[derive(Debug, Clone)]
pub(crate) struct Traced<S> {
    inner: S,
    requests: TraceRequests,
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let span = self.requests.span(&request);
        let answer = span.in_scope(|| self.inner.call(request));
        let noted = span.clone();
        Box::pin(
            async move {
                let answer = answer.await;
                note(&noted, answer.as_ref().ok().map(Response::status));
                answer
            }
            .instrument(span),
        )
    }
}

/// Notes how a request was answered; `None` when it was not.
fn note(span: &Span, status: Option<http::StatusCode>) {
    match status {
        Some(status) => {
            let code = i64::from(status.as_u16());
            telemetry::set(span, "http.response.status_code", code);
            if status.is_client_error() || status.is_server_error() {
                telemetry::fail(span, code.to_string());
            }
        }
        None => telemetry::fail(span, "no_answer"),
    }
}

/// The path with placeholders for what names an object, so that a span's name is one of few.
fn template(path: &str) -> String {
    let mut parts = path.trim_matches('/').split('/').collect::<Vec<_>>();
    // /api/{version}/… or /apis/{group}/{version}/…
    let prefix = match parts.first() {
        Some(&"api") => 2,
        Some(&"apis") => 3,
        _ => parts.len(),
    };
    let mut rest = parts.split_off(prefix.min(parts.len()));
    if let [first, namespace, _, ..] = rest.as_mut_slice()
        && *first == "namespaces"
    {
        *namespace = "{namespace}";
        parts.extend(rest.drain(..2));
    }
    if let Some(name) = rest.get_mut(1) {
        *name = "{name}";
    }
    parts.append(&mut rest);
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_and_namespaces_are_left_out() {
        for (path, want) in [
            (
                "/apis/resource.k8s.io/v1/namespaces/a/resourceclaims/b",
                "/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}",
            ),
            (
                "/apis/resource.k8s.io/v1/namespaces/a/resourceclaims/b/status",
                "/apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}/status",
            ),
            (
                "/apis/resource.k8s.io/v1/resourceslices",
                "/apis/resource.k8s.io/v1/resourceslices",
            ),
            (
                "/apis/resource.k8s.io/v1/resourceslices/x",
                "/apis/resource.k8s.io/v1/resourceslices/{name}",
            ),
            ("/api/v1/nodes/n", "/api/v1/nodes/{name}"),
            ("/api/v1/namespaces/a", "/api/v1/namespaces/{name}"),
            ("/apis", "/apis"),
            ("/version", "/version"),
            ("/", "/"),
        ] {
            assert_eq!(template(path), want);
        }
    }
}
