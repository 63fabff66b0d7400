//! Answers: JSON with a code, and refusals as the `Status` that clients understand.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::Fault;

/// A refusal: code, reason, message.
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str, pub(super) String);

/// What a request comes to.
pub(super) type Answer = Result<Response<Body>, Refusal>;

pub(super) fn invalid(fault: String) -> Refusal {
    Refusal(422, "Invalid", fault)
}

pub(super) fn not_found(path: &str) -> Refusal {
    Refusal(404, "NotFound", format!("the server could not find {path}"))
}

pub(super) fn fail(fault: Fault) -> Response<Body> {
    let (code, reason) = fault.status();
    let mut response = refuse(Refusal(code, reason, "told to fail".into()));
    if let Fault::TooManyRequests(seconds) = fault {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub(super) fn refuse(Refusal(code, reason, message): Refusal) -> Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    json_body(code, &status)
}

pub(super) fn json_body(code: u16, value: &Value) -> Response<Body> {
    answer(code, Body::from(value.to_string()))
}

pub(super) fn answer(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
