//! Failures on demand.

use std::collections::BTreeMap;
use std::collections::VecDeque;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 409 Conflict.
    Conflict,
    /// 429 Too Many Requests, with `Retry-After` in seconds.
    TooManyRequests(u32),
    /// 500 Internal Server Error.
    Internal,
    /// 403 Forbidden.
    Forbidden,
}

impl Fault {
    /// Code and reason of the Status that is answered.
    pub(super) fn status(self) -> (u16, &'static str) {
        match self {
            Self::Conflict => (409, "Conflict"),
            Self::TooManyRequests(_) => (429, "TooManyRequests"),
            Self::Internal => (500, "InternalError"),
            Self::Forbidden => (403, "Forbidden"),
        }
    }
}

/// Failures that are still to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Everything is answered 503.
    pub(super) down: bool,
    queued: BTreeMap<String, VecDeque<Fault>>,
}

impl Faults {
    pub(super) fn add(&mut self, request: String, times: usize, fault: Fault) {
        let queue = self.queued.entry(request).or_default();
        queue.extend(std::iter::repeat_n(fault, times));
    }

    /// The failure of this request, which is then spent.
    pub(super) fn take(&mut self, request: &str) -> Option<Fault> {
        self.queued.get_mut(request)?.pop_front()
    }
}
