//! Logs and traces of a daemon, and the trace context that joins the three.
//!
//! Logs go to standard error: text on a terminal, one JSON object a line elsewhere. Spans go to an OTLP collector
//! when an endpoint is given; without one nothing is collected and nothing costs.

mod attribute;
mod call;
mod context;
mod export;
mod filter;
mod json;
#[cfg(test)]
mod testing;
mod told;

use std::io::IsTerminal;
use std::time::Duration;

pub use attribute::{fail, set, set_number};
pub use call::{Call, Side, answered};
pub use context::{
    LinkTo, SAME_TRACE, follow, link, set_parent, trace_id, traceparent, traceparent_of,
};
pub use filter::{InvalidLogFilter, LogFilter};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
pub use told::{Stretch, Told};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use crate::bus::Component;

/// What a daemon tells of itself.
#[derive(Debug, Clone, clap::Args)]
pub struct TelemetryArgs {
    /// Level of the driver's own lines (error, warn, info, debug, trace), or directives as
    /// `info,network_driver_netlink=trace`
    #[arg(
        long,
        env = "NETWORK_DRIVER_LOG_LEVEL",
        value_name = "FILTER",
        default_value = "info",
        global = true
    )]
    log_level: String,
    /// Form of log lines: `auto` is text on a terminal and JSON elsewhere
    #[arg(
        long,
        env = "NETWORK_DRIVER_LOG_FORMAT",
        value_enum,
        value_name = "FORMAT",
        default_value_t = LogFormat::Auto,
        global = true
    )]
    log_format: LogFormat,
    /// Collector of traces (OTLP over gRPC), e.g. http://jaeger:4317; without one there are no traces
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        global = true
    )]
    otlp_endpoint: Option<String>,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One line of text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitTelemetryError {
    /// The log filter.
    #[error("--log-level")]
    Filter(#[source] InvalidLogFilter),
    /// The endpoint.
    #[error("--otlp-endpoint {endpoint}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// Why.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Something else of this process has done it before.
    #[error("install the log subscriber")]
    Install(#[source] TryInitError),
}

/// Logs and traces of this process, until [`Telemetry::shutdown`].
#[derive(Debug)]
pub struct Telemetry {
    filter: LogFilter,
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and traces of this process. `node` is the node's name; empty when unknown.
///
/// # Errors
/// A filter or endpoint that cannot be read, or a second call.
pub fn init(
    component: Component,
    node: &str,
    args: &TelemetryArgs,
) -> Result<Telemetry, InitTelemetryError> {
    let (filter, reloadable) =
        LogFilter::new(&args.log_level).map_err(InitTelemetryError::Filter)?;
    let provider = args
        .otlp_endpoint
        .as_deref()
        .filter(|endpoint| !endpoint.is_empty());
    let provider = provider
        .map(|endpoint| provider_for(component, node, endpoint))
        .transpose()?;
    let traces = provider.as_ref().map(|provider| {
        opentelemetry::global::set_tracer_provider(provider.clone());
        // Only our own operations: the exporter must not trace itself.
        layer(&provider.tracer(told::SCOPE)).with_filter(EnvFilter::new("off,network_driver=info"))
    });
    let json = match args.log_format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let logs: Box<dyn Layer<Registry> + Send + Sync> = if json {
        let format = json::JsonLines::new(component, node);
        let lines = fmt::layer().event_format(format).fmt_fields(json::fields());
        Box::new(lines.with_writer(std::io::stderr).with_filter(reloadable))
    } else {
        Box::new(
            fmt::layer()
                .compact()
                .with_writer(std::io::stderr)
                .with_filter(reloadable),
        )
    };
    tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .try_init()
        .map_err(InitTelemetryError::Install)?;
    Ok(Telemetry { filter, provider })
}

/// Makes spans for the collector, without what only a debugger wants to know.
fn layer<S>(tracer: &SdkTracer) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_opentelemetry::layer()
        .with_tracer(tracer.clone())
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
}

fn provider_for(
    component: Component,
    node: &str,
    endpoint: &str,
) -> Result<SdkTracerProvider, InitTelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|source| InitTelemetryError::Endpoint {
            endpoint: endpoint.to_owned(),
            source,
        })?;
    let attribute =
        |key: &'static str, value: &str| opentelemetry::KeyValue::new(key, value.to_owned());
    let resource = Resource::builder()
        .with_service_name(format!("network-driver-{component}"))
        .with_attributes([
            attribute("service.namespace", "network-driver"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("k8s.node.name", node),
            attribute("host.name", &host_name()),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(export::Patient::new(exporter, endpoint))
        .with_resource(resource)
        .build())
}

/// The host's name, which a pod on the host's network shares; empty when it cannot be read.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

impl Telemetry {
    /// What changes the log filter while the process runs.
    pub fn log_filter(&self) -> LogFilter {
        self.filter.clone()
    }

    /// Sends the spans that are still queued, for at most 5 s.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // The exporter's connection lives on this thread, so the wait must be on another.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown());
        drop(tokio::time::timeout(Duration::from_secs(5), flushed).await);
    }
}
