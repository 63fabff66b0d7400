//! Which trace shows the last Prepare of a claim that failed, so that the next one can be linked to it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use network_driver_common::model::ClaimUid;
use network_driver_common::telemetry;

/// Claims that are remembered; more forget the oldest.
const MAX: usize = 256;

/// The failed attempts. They live as long as the process: a lost link costs nobody anything.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// A std mutex: no await is held.
    failed: Mutex<VecDeque<(ClaimUid, String)>>,
}

impl Attempts {
    /// The trace context of the last attempt, where that failed.
    pub(super) fn last(&self, uid: &ClaimUid) -> Option<String> {
        let failed = self.lock();
        let found = failed.iter().find(|(known, _)| known == uid)?;
        Some(found.1.clone())
    }

    /// An attempt ended, in the current span.
    pub(super) fn ended(&self, uid: &ClaimUid, well: bool) {
        let mut failed = self.lock();
        failed.retain(|(known, _)| known != uid);
        if let Some(context) = telemetry::traceparent().filter(|_| !well) {
            if failed.len() >= MAX {
                failed.pop_front();
            }
            failed.push_back((uid.clone(), context));
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(ClaimUid, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_last_failure_is_remembered_until_it_goes_well() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let attempts = Attempts::default();
        let uid: ClaimUid = "c".parse().unwrap();
        let fail = |uid: &ClaimUid| {
            let attempt = || {
                attempts.ended(uid, false);
                telemetry::traceparent()
            };
            tracing::info_span!("claim.prepare").in_scope(attempt)
        };
        let (first, second) = (fail(&uid), fail(&uid));
        assert_ne!(first, second);
        assert_eq!(attempts.last(&uid), second);
        attempts.ended(&uid, true);
        assert_eq!(attempts.last(&uid), None);
        for n in 0..=MAX {
            fail(&format!("c{n}").parse().unwrap());
        }
        assert_eq!(attempts.last(&"c0".parse().unwrap()), None);
        assert_eq!(attempts.lock().len(), MAX);
    }
}
