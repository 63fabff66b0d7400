//! Objects as another version shows them, or a server without a feature keeps them.

use serde_json::Value;

/// v1 `exactly{…}` as the flat request of older versions.
pub(super) fn flatten_requests(claim: &mut Value) {
    let requests = claim
        .pointer_mut("/spec/devices/requests")
        .and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        let exactly = request.as_object_mut().and_then(|r| r.remove("exactly"));
        if let (Some(Value::Object(exactly)), Some(request)) = (exactly, request.as_object_mut()) {
            request.extend(exactly);
        }
    }
}

/// Removes a field wherever it stands below.
pub(super) fn drop_field(value: &mut Value, field: &str) {
    match value {
        Value::Object(map) => {
            map.remove(field);
            map.values_mut().for_each(|inner| drop_field(inner, field));
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| drop_field(inner, field)),
        _ => {}
    }
}
