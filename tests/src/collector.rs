//! A stand-in for an OpenTelemetry collector: takes spans over OTLP/gRPC and keeps them.
//!
//! It decides nothing about them; [`Trace`] puts those of one trace in order for people and for assertions.

mod trace;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

pub use trace::Trace;

use crate::wait::until;

/// A finished span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of the process that made it.
    pub service: String,
    /// Trace id in hexadecimal.
    pub trace: String,
    /// Span id in hexadecimal.
    pub id: String,
    /// Span id of the parent; `None` for a root.
    pub parent: Option<String>,
    /// Name.
    pub name: String,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    /// Nanoseconds since the Unix epoch.
    pub end: u64,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// Text of the status, when that is ERROR.
    pub error: Option<String>,
    /// What it is linked to.
    pub links: Vec<Link>,
}

/// A link from one span to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Trace id in hexadecimal.
    pub trace: String,
    /// Span id in hexadecimal.
    pub span: String,
    /// Attributes as text.
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    /// Whether this is its name, or the method of its full gRPC name.
    pub fn is_called(&self, name: &str) -> bool {
        let method = self.name.rsplit('/').next();
        self.name == name || method == Some(name)
    }
}

/// The collector, serving until it is dropped.
#[derive(Debug)]
pub struct Collector {
    spans: Spans,
    endpoint: String,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Serves on a socket that is bound already.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn serve(listener: std::net::TcpListener) -> anyhow::Result<Self> {
        let address: SocketAddr = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener)?);
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let server = tokio::spawn(async move {
            let router = tonic::transport::Server::builder().add_service(service);
            // It ends with the test; a fault of the socket shows as spans that never come.
            drop(router.serve_with_incoming(incoming).await);
        });
        Ok(Self {
            spans,
            endpoint: format!("http://{address}"),
            server,
        })
    }

    /// What a daemon is given as its OTLP endpoint.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All spans so far, in the order of their start.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.spans.lock().clone();
        spans.sort_by_key(|span| span.start);
        spans
    }

    /// The newest trace that has a span of this name, or of a gRPC method called so.
    pub fn trace_with(&self, name: &str) -> Option<Trace> {
        let spans = self.spans();
        let id = spans
            .iter()
            .rfind(|span| span.is_called(name))?
            .trace
            .clone();
        let of_trace = spans.into_iter().filter(|span| span.trace == id);
        Some(Trace::new(of_trace.collect()))
    }

    /// Waits for a trace with a span of this name that satisfies a condition; spans come late, in batches.
    ///
    /// # Errors
    /// None did within 20 s.
    pub async fn wait_for_trace(
        &self,
        name: &str,
        accept: impl Fn(&Trace) -> bool,
    ) -> anyhow::Result<Trace> {
        let what = format!("the trace of {name}");
        until(&what, Duration::from_secs(20), async || {
            self.trace_with(name).filter(|trace| accept(trace))
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Spans {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let service = attributes(resource.attributes).remove("service.name");
            let service = service.unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|s| s.spans);
            self.lock()
                .extend(spans.map(|span| read_span(&service, span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read_span(service: &str, span: otlp::Span) -> Span {
    let status = span.status.unwrap_or_default();
    let is_error = status.code == otlp::status::StatusCode::Error as i32;
    let links = span.links.into_iter();
    Span {
        service: service.to_owned(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        name: span.name,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        error: is_error.then_some(status.message),
        links: links
            .map(|link| Link {
                trace: hex(&link.trace_id),
                span: hex(&link.span_id),
                attributes: attributes(link.attributes),
            })
            .collect(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|v| v.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(yes)) => yes.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = pairs.into_iter();
    pairs.map(|pair| (pair.key, text(pair.value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};

    use super::*;

    #[tokio::test]
    async fn spans_sent_over_otlp_are_kept_with_their_service() {
        let collector =
            Collector::serve(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        let name = KeyValue {
            key: "service.name".into(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue("nri-hook".into())),
            }),
            ..KeyValue::default()
        };
        let span = otlp::Span {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "sandbox.attach".into(),
            start_time_unix_nano: 5,
            end_time_unix_nano: 9,
            ..otlp::Span::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: vec![name],
                    ..Resource::default()
                }),
                scope_spans: vec![ScopeSpans {
                    spans: vec![span],
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let endpoint = collector.endpoint().to_owned();
        let mut client = TraceServiceClient::connect(endpoint).await.unwrap();
        client.export(request).await.unwrap();

        let spans = collector.spans();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].service, "nri-hook");
        assert_eq!(spans[0].trace, "ab".repeat(16));
        assert_eq!(spans[0].parent, None);
        let trace = collector.trace_with("sandbox.attach").unwrap();
        assert_eq!(trace.services(), ["nri-hook"].map(String::from).into());
    }
}
