//! Spans of calls between processes, as OpenTelemetry describes RPCs (semantic conventions, `rpc`). A session of the bus
//! is a stream and no call, but each of its messages that belongs to a pod's start is shown as one: named by the method
//! and the message.

use std::path::Path;

use tonic::Code;
use tracing::{Span, info_span};

use super::{fail, set};

/// Which side of a call a span shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that calls.
    Client,
    /// The one that answers.
    Server,
}

/// A call, or a message of a session.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `grpc` or `ttrpc`.
    pub system: &'static str,
    /// Full name of the method, `package.Service/Method`.
    pub method: &'a str,
    /// Which message, where the method is a session.
    pub message: Option<&'static str>,
    /// The server's socket; `None` when it is not known.
    pub address: Option<&'a Path>,
}

impl Call<'_> {
    /// Its span, not entered yet.
    pub fn span(&self, side: Side) -> Span {
        let name = match self.message {
            Some(message) => format!("{} {message}", self.method),
            None => self.method.to_owned(),
        };
        let kind = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        let span = info_span!("rpc", otel.name = name, otel.kind = kind);
        set(&span, "rpc.system.name", self.system);
        set(&span, "rpc.method", self.method.to_owned());
        if let Some(address) = self.address {
            set(&span, "server.address", address.display().to_string());
        }
        span
    }
}

/// Notes how a call was answered; anything but OK is a failure.
pub fn answered(span: &Span, code: Code) {
    let name = code_name(code);
    set(span, "rpc.status_code", name);
    if code != Code::Ok {
        fail(span, name);
    }
}

/// The name of a code, as gRPC's documents spell it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanKind, Status};

    use super::super::testing::{Recorded, attributes};
    use super::*;

    #[test]
    fn a_message_of_a_session_is_shown_as_a_call() {
        let recorded = Recorded::default();
        recorded.during(|| {
            let call = Call {
                system: "grpc",
                method: "a.B/Session",
                message: Some("check"),
                address: Some(Path::new("/run/b.sock")),
            };
            let span = call.span(Side::Server);
            span.in_scope(|| answered(&span, Code::Unavailable));
        });
        let span = recorded.span("a.B/Session check");
        assert_eq!(span.span_kind, SpanKind::Server);
        assert_eq!(span.status, Status::error(""));
        let want = [
            ("error.type", "UNAVAILABLE"),
            ("rpc.method", "a.B/Session"),
            ("rpc.status_code", "UNAVAILABLE"),
            ("rpc.system.name", "grpc"),
            ("server.address", "/run/b.sock"),
        ];
        assert_eq!(
            attributes(&span),
            want.map(|(k, v)| (k.into(), v.into())).into()
        );
    }

    #[test]
    fn a_call_that_went_well_has_no_error() {
        let recorded = Recorded::default();
        recorded.during(|| {
            let call = Call {
                system: "grpc",
                method: "a.B/C",
                message: None,
                address: None,
            };
            let span = call.span(Side::Client);
            span.in_scope(|| answered(&span, Code::Ok));
        });
        let span = recorded.span("a.B/C");
        assert_eq!(span.status, Status::Unset);
        assert_eq!(attributes(&span)["rpc.status_code"], "OK");
        assert!(!attributes(&span).contains_key("error.type"));
    }
}
