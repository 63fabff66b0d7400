//! W3C trace context, which crosses the bus, the database and the kubelet's and the runtime's calls as text.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// How long work still belongs to the trace that led to it. What comes later is a trace of its own with a link: a
/// trace must not last a day, and collectors look for traces by their start.
pub const SAME_TRACE: Duration = Duration::from_mins(5);

/// What a link points at: the value of its attribute `dra.link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkTo {
    /// The Prepare of the claim.
    Prepare,
    /// What attached the claim, or tried to.
    Attach,
    /// The caller's own trace, where the span is part of another one.
    Caller,
}

impl LinkTo {
    fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Attach => "attach",
            Self::Caller => "caller",
        }
    }
}

/// The `traceparent` of the current span; `None` when nothing is traced.
pub fn traceparent() -> Option<String> {
    traceparent_of(&Span::current())
}

/// The `traceparent` of a span; `None` when it is not traced.
pub fn traceparent_of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// The id by which people find the trace of the current span; `None` when nobody will keep it.
pub fn trace_id() -> Option<String> {
    let context = Span::current().context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then(|| context.trace_id().to_string())
}

/// Puts the span below the one that the text names. To be called before the span is entered. Text that is no trace
/// context leaves the span as it is.
pub fn set_parent(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        // Fails only where no traces are collected.
        drop(span.set_parent(context));
    }
}

/// Links the span to the one that the text names: for work that comes long after it, or again. To be called before the
/// span is entered, so that samplers see it.
pub fn link(span: &Span, to: LinkTo, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        let attribute = opentelemetry::KeyValue::new("dra.link", to.as_str());
        let context: SpanContext = context.span().span_context().clone();
        span.add_link_with_attributes(context, vec![attribute]);
    }
}

/// Puts the span below the one that the text names when that is at most [`SAME_TRACE`] ago, else links it.
pub fn follow(span: &Span, to: LinkTo, traceparent: Option<&str>, age: Duration) {
    if age <= SAME_TRACE {
        set_parent(span, traceparent);
    } else {
        link(span, to, traceparent);
    }
}

fn parse(traceparent: &str) -> Option<opentelemetry::Context> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&carrier);
    context.span().span_context().is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::Sampler;
    use tracing::info_span;

    use super::super::testing::Recorded;
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const DROPPED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    #[test]
    fn a_span_goes_below_the_parent_that_the_text_names() {
        Recorded::default().during(|| {
            for (parent, joined) in [
                (Some(PARENT), true),
                (Some("nonsense"), false),
                (None, false),
            ] {
                let span = info_span!("claim.prepare");
                set_parent(&span, parent);
                let own = span.in_scope(traceparent).unwrap();
                assert_eq!(own.starts_with(&format!("00-{TRACE}-")), joined, "{own}");
                assert_ne!(own, PARENT);
            }
        });
    }

    #[test]
    fn what_follows_soon_is_of_the_same_trace_and_what_follows_late_is_linked() {
        let recorded = Recorded::default();
        recorded.during(|| {
            for (name, age) in [("soon", 300), ("late", 301)] {
                let span = info_span!("sandbox.attach", otel.name = name);
                follow(
                    &span,
                    LinkTo::Attach,
                    Some(PARENT),
                    Duration::from_secs(age),
                );
                span.in_scope(|| {});
            }
        });
        let soon = recorded.span("soon");
        assert_eq!(soon.span_context.trace_id().to_string(), TRACE);
        assert!(soon.links.links.is_empty());
        let late = recorded.span("late");
        assert_ne!(late.span_context.trace_id().to_string(), TRACE);
        let [link] = late.links.links.as_slice() else {
            panic!("{:?}", late.links)
        };
        assert_eq!(link.span_context.trace_id().to_string(), TRACE);
        let attributes: Vec<_> = link
            .attributes
            .iter()
            .map(|a| (a.key.as_str(), a.value.as_str()))
            .collect();
        assert_eq!(attributes, [("dra.link", "attach".into())]);
    }

    #[test]
    fn a_start_that_is_not_sampled_stays_so_and_has_no_id_for_people() {
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        let recorded = Recorded::sampled_by(sampler);
        recorded.during(|| {
            for (parent, kept) in [(PARENT, true), (DROPPED, false)] {
                let span = info_span!("claim.prepare");
                set_parent(&span, Some(parent));
                span.in_scope(|| {
                    assert_eq!(trace_id().as_deref(), kept.then_some(TRACE));
                    let own = traceparent().unwrap();
                    assert!(own.ends_with(if kept { "-01" } else { "-00" }), "{own}");
                });
            }
        });
        assert_eq!(recorded.spans().len(), 1);
    }

    #[test]
    fn without_a_collector_there_is_no_context() {
        assert_eq!(info_span!("claim.prepare").in_scope(traceparent), None);
        assert_eq!(info_span!("claim.prepare").in_scope(trace_id), None);
    }
}
