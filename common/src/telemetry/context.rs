//! W3C trace context, which crosses the bus, the database and the kubelet's and the runtime's calls as text.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the current span; `None` when nothing is traced.
pub fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Puts the span below the one that the text names. To be called before the span is entered. Text that is no trace
/// context leaves the span a root.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        // Fails only where no traces are collected.
        drop(span.set_parent(context));
    }
}

/// Links the span to the one that the text names: for work that comes long after it, or again.
pub fn link(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        span.add_link(context.span().span_context().clone());
    }
}

fn parse(traceparent: &str) -> Option<opentelemetry::Context> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    context.span().span_context().is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_span_goes_below_the_parent_that_the_text_names() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for (parent, joined) in [
                (Some(PARENT), true),
                (Some("nonsense"), false),
                (None, false),
            ] {
                let span = info_span!("claim.prepare");
                set_parent(&span, parent);
                let own = span.in_scope(traceparent).unwrap();
                assert_eq!(
                    own.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
                    joined,
                    "{own}"
                );
                assert_ne!(own, PARENT);
            }
        });
    }

    #[test]
    fn without_a_collector_there_is_no_context() {
        assert_eq!(info_span!("claim.prepare").in_scope(traceparent), None);
    }
}
