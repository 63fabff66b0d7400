//! A span for each call that a gRPC server answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::telemetry::{self, Call, Side};

/// Which calls get a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traced {
    /// All; one without a parent begins a trace.
    All,
    /// Those that are part of a trace already.
    InTrace,
}

/// Puts each call into a span that is named by its full method, below the caller's, and notes how it was answered.
#[derive(Debug, Clone)]
pub struct TraceCalls {
    address: Arc<Path>,
    which: Traced,
}

impl TraceCalls {
    /// For a server on this socket.
    pub fn on(socket: impl Into<PathBuf>, which: Traced) -> Self {
        Self {
            address: socket.into().into(),
            which,
        }
    }

    fn span(&self, path: &str, headers: &HeaderMap) -> Span {
        let parent = headers.get("traceparent");
        let parent = parent.and_then(|value| value.to_str().ok());
        if self.which == Traced::InTrace && parent.is_none() {
            return Span::none();
        }
        let call = Call {
            system: "grpc",
            method: path.trim_start_matches('/'),
            message: None,
            address: Some(&self.address),
        };
        let span = call.span(Side::Server);
        telemetry::set_parent(&span, parent);
        span
    }
}

impl<S> Layer<S> for TraceCalls {
    type Service = TracedService<S>;

    fn layer(&self, inner: S) -> TracedService<S> {
        TracedService {
            inner,
            calls: self.clone(),
        }
    }
}

/// A server whose calls are traced.
#[derive(Debug, Clone)]
pub struct TracedService<S> {
    inner: S,
    calls: TraceCalls,
}

impl<S, B, R> Service<Request<B>> for TracedService<S>
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
        let span = self.calls.span(request.uri().path(), request.headers());
        let answer = span.in_scope(|| self.inner.call(request));
        let noted = span.clone();
        Box::pin(
            async move {
                let answer = answer.await;
                telemetry::answered(&noted, code(&answer));
                answer
            }
            .instrument(span),
        )
    }
}

/// An error without a message is an answer of headers alone; what has a message is answered well.
fn code<R, E>(answer: &Result<Response<R>, E>) -> Code {
    match answer {
        Ok(response) => {
            Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
        }
        Err(_) => Code::Internal,
    }
}
