//! Spans that are told afterwards. Whether a cycle is worth a trace shows only when its work is done, for one that
//! changes nothing leaves none; so its steps are timed, and made into spans when it turns out to matter.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, Value, global};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Name of everything that makes spans.
pub(super) const SCOPE: &str = "network-driver";

/// When something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its begin.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
}

impl Stretch {
    /// From then until now.
    pub fn since(began: SystemTime) -> Self {
        Self {
            began,
            took: began.elapsed().unwrap_or_default(),
        }
    }

    fn end(self) -> SystemTime {
        self.began.checked_add(self.took).unwrap_or(self.began)
    }
}

/// The root of a trace, begun in the past and still going on. Ends when dropped.
#[derive(Debug)]
pub struct Told(Context);

/// Attributes by name.
type Attributes<'a> = &'a [(&'static str, Value)];

impl Told {
    /// A root that began then.
    pub fn root(name: &'static str, began: SystemTime, attributes: Attributes<'_>) -> Self {
        let tracer = global::tracer(SCOPE);
        let builder = tracer
            .span_builder(name)
            .with_start_time(began)
            .with_attributes(pairs(attributes));
        let span = tracer.build_with_context(builder, &Context::new());
        Self(Context::new().with_span(span))
    }

    /// A step of it that is over.
    pub fn step(&self, name: &'static str, when: Stretch, attributes: Attributes<'_>) {
        let tracer = global::tracer(SCOPE);
        let builder = tracer
            .span_builder(name)
            .with_start_time(when.began)
            .with_attributes(pairs(attributes));
        let mut span = tracer.build_with_context(builder, &self.0);
        span.end_with_timestamp(when.end());
    }

    /// Puts a span of what still goes on below it.
    pub fn adopt(&self, span: &Span) {
        if self.0.span().span_context().is_valid() {
            // Fails only where no traces are collected.
            drop(span.set_parent(self.0.clone()));
        }
    }

    /// Marks it as failed, as [`super::fail`] does.
    pub fn fail(&self, kind: &'static str) {
        let span = self.0.span();
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(""));
    }
}

fn pairs(attributes: Attributes<'_>) -> impl IntoIterator<Item = KeyValue> + use<> {
    let pairs = attributes.iter().cloned();
    let pairs = pairs.map(|(key, value)| KeyValue::new(key, value));
    pairs.collect::<Vec<_>>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Recorded, attributes};
    use super::*;

    /// The only test that sets the process's provider.
    #[test]
    fn a_trace_told_afterwards_has_the_times_of_what_was_done() {
        let recorded = Recorded::default();
        global::set_tracer_provider(recorded.provider.clone());
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let scan = Stretch {
            began,
            took: Duration::from_millis(3),
        };
        recorded.during(|| {
            let cycle = Told::root("cycle", began, &[("trigger", "event".into())]);
            cycle.step("scan", scan, &[("links.total", 7.into())]);
            let publish = tracing::info_span!("publish");
            cycle.adopt(&publish);
            publish.in_scope(|| {});
            cycle.fail("Late");
        });
        let (root, step) = (recorded.span("cycle"), recorded.span("scan"));
        assert_eq!((root.start_time, step.start_time), (began, began));
        assert_eq!(step.end_time, scan.end());
        assert!(root.end_time > step.end_time);
        assert_eq!(root.status, Status::error(""));
        assert_eq!(attributes(&root)["trigger"], "event");
        assert_eq!(attributes(&step)["links.total"], "7");
        for child in [step, recorded.span("publish")] {
            assert_eq!(child.parent_span_id, root.span_context.span_id());
        }
    }
}
