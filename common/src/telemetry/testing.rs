//! Spans for assertions.

use std::collections::BTreeMap;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing_subscriber::layer::SubscriberExt;

/// The spans that some code made.
pub(super) struct Recorded {
    exporter: InMemorySpanExporter,
    pub(super) provider: SdkTracerProvider,
}

impl Default for Recorded {
    fn default() -> Self {
        Self::sampled_by(Sampler::AlwaysOn)
    }
}

impl Recorded {
    pub(super) fn sampled_by(sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .with_sampler(sampler)
            .build();
        Self { exporter, provider }
    }

    /// Runs code whose spans are recorded, on this thread.
    pub(super) fn during<T>(&self, code: impl FnOnce() -> T) -> T {
        let layer = super::layer(&self.provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), code)
    }

    pub(super) fn spans(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }

    pub(super) fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let found = spans.iter().find(|span| span.name == name);
        found
            .unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
            .clone()
    }
}

pub(super) fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    let pairs = span.attributes.iter();
    let text = |pair: &opentelemetry::KeyValue| (pair.key.to_string(), pair.value.to_string());
    pairs.map(text).collect()
}
