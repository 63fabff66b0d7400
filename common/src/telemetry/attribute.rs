//! Attributes and status of spans. They are set on the span itself and not as fields, so that log lines, which show the
//! fields of the spans around them, stay short.

use opentelemetry::trace::Status;
use opentelemetry::{Key, StringValue, Value};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Sets an attribute. A name has one meaning everywhere: `docs/observability.md` lists them.
pub fn set(span: &Span, key: &'static str, value: impl Into<Value>) {
    span.set_attribute(Key::from_static_str(key), value);
}

/// Gives the span a number as an attribute; one that is too large for it is the largest that it can hold.
pub fn set_number(span: &Span, key: &'static str, number: impl TryInto<i64>) {
    set(span, key, number.try_into().unwrap_or(i64::MAX));
}

/// Marks the span as failed; `kind` is a word of a closed list, the attribute `error.type`.
pub fn fail(span: &Span, kind: impl Into<StringValue>) {
    set(span, "error.type", kind.into());
    span.set_status(Status::error(""));
}
