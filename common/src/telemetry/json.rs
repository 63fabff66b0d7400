//! Log lines as JSON objects: `ts level msg target component node trace_id span_id`, then the fields of the spans
//! around and of the event itself.

use std::fmt;

use opentelemetry::trace::TraceContextExt;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::bus::Component;

/// Writes each event as one JSON object.
pub(super) struct JsonLines {
    component: &'static str,
    node: String,
}

/// How fields of spans are kept until an event inside them is written.
pub(super) fn fields() -> JsonFields {
    JsonFields::new()
}

impl JsonLines {
    pub(super) fn new(component: Component, node: &str) -> Self {
        Self {
            component: component.as_str(),
            node: node.to_owned(),
        }
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut put = |key: &str, value: &str| line.insert(key.to_owned(), value.into());
        put("ts", &time);
        put("level", &metadata.level().as_str().to_ascii_lowercase());
        put("msg", "");
        put("target", metadata.target());
        put("component", self.component);
        if !self.node.is_empty() {
            put("node", &self.node);
        }
        if let Some((trace, span)) = context.lookup_current().and_then(|span| ids(&span.id())) {
            put("trace_id", &trace);
            put("span_id", &span);
        }
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>();
            let fields = fields.and_then(|fields| serde_json::from_str(fields).ok());
            if let Some(Value::Object(fields)) = fields {
                // What tells a collector how to show the span tells a reader of logs nothing.
                let fields = fields.into_iter();
                line.extend(fields.filter(|(key, _)| !key.starts_with("otel.")));
            }
        }
        event.record(&mut Fields(&mut line));
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

/// Trace and span id, where the span is traced.
fn ids(span: &tracing::span::Id) -> Option<(String, String)> {
    let context = tracing::dispatcher::get_default(|dispatch| {
        tracing_opentelemetry::get_otel_context(span, dispatch)
    })?;
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        (
            context.trace_id().to_string(),
            context.span_id().to_string(),
        )
    })
}

/// Fields of an event; its message is called `msg`.
struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        let key = if field.name() == "message" {
            "msg"
        } else {
            field.name()
        };
        self.0.insert(key.to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_with_the_fields_of_its_spans() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = fmt::layer()
            .event_format(JsonLines::new(Component::NriHook, "node-1"))
            .fmt_fields(fields())
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("pod.attach", pod = "default/web", otel.kind = "server");
            span.in_scope(|| {
                tracing::warn!(durationMs = 12, quiet = false, "interface \"a\"\nattached");
            });
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        for (key, want) in [
            ("level", "warn".into()),
            ("msg", "interface \"a\"\nattached".into()),
            ("component", "nri-hook".into()),
            ("node", "node-1".into()),
            ("pod", "default/web".into()),
            ("durationMs", 12.into()),
            ("quiet", false.into()),
        ] as [(&str, Value); 7]
        {
            assert_eq!(line[key], want, "{key}");
        }
        assert!(line["ts"].as_str().unwrap().ends_with('Z'));
        assert!(line.get("otel.kind").is_none(), "{line}");
    }
}
