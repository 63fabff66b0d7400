//! What the API server asks of those it turns away.

use std::time::Duration;

/// How long the server asks to wait before the next try, if its answer says so (`details.retryAfterSeconds`). The
/// `Retry-After` header of 429, 503 and 504 is obeyed by the client before it gives up (see [`crate::connect`]).
pub fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    match status.details.as_ref()?.retry_after_seconds {
        0 => None,
        seconds => Some(Duration::from_secs(seconds.into())),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::core::response::StatusDetails;

    use super::*;

    #[test]
    fn the_servers_wish_is_found_where_there_is_one() {
        let error = |seconds| {
            let details = StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: Vec::new(),
                retry_after_seconds: seconds,
            };
            let status = Status::failure("busy", "TooManyRequests").with_details(details);
            kube::Error::Api(Box::new(status))
        };
        assert_eq!(retry_after(&error(7)), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&error(0)), None);
        let other = kube::Error::LinesCodecMaxLineLengthExceeded;
        assert_eq!(retry_after(&other), None);
    }
}
