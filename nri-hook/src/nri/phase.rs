//! How far the connection to the runtime has come. Readiness follows from it: only a hook that is registered and
//! has worked through the runtime's list of sandboxes may let claims be prepared.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Where the connection to the runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none.
    Away {
        /// Why, as a sentence.
        reason: String,
    },
    /// Connected; the runtime has yet to accept us, or its list to be worked through.
    Joining,
    /// Registered and synchronised.
    Synchronised {
        /// Name and version of the runtime.
        runtime: String,
    },
}

/// One connection's say in the phase. Once closed it has none: work that it began may outlive it.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionPhase {
    shown: watch::Sender<Phase>,
    /// A std mutex: no await is held.
    steps: Arc<Mutex<Steps>>,
}

#[derive(Debug, Default)]
struct Steps {
    registered: bool,
    synchronised_with: Option<String>,
    closed: bool,
}

impl ConnectionPhase {
    /// A new connection.
    pub(crate) fn begin(shown: watch::Sender<Phase>) -> Self {
        shown.send_replace(Phase::Joining);
        Self {
            shown,
            steps: Arc::default(),
        }
    }

    /// The runtime has accepted the plugin.
    pub(crate) fn registered(&self) {
        let mut steps = self.steps();
        steps.registered = true;
        self.show(&steps);
    }

    /// The runtime's list is worked through.
    pub(crate) fn synchronised(&self, runtime: String) {
        let mut steps = self.steps();
        steps.synchronised_with = Some(runtime);
        self.show(&steps);
    }

    /// The connection has ended. Whether it had been synchronised.
    pub(crate) fn close(&self, reason: String) -> bool {
        let mut steps = self.steps();
        steps.closed = true;
        self.shown.send_replace(Phase::Away { reason });
        steps.registered && steps.synchronised_with.is_some()
    }

    fn show(&self, steps: &Steps) {
        if let Steps {
            registered: true,
            synchronised_with: Some(runtime),
            closed: false,
        } = steps
        {
            self.shown.send_replace(Phase::Synchronised {
                runtime: runtime.clone(),
            });
        }
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synchronised_takes_both_steps_in_either_order() {
        let (shown, seen) = watch::channel(Phase::Joining);
        let synchronised = || matches!(*seen.borrow(), Phase::Synchronised { .. });
        let first = ConnectionPhase::begin(shown.clone());
        first.registered();
        assert!(!synchronised());
        first.synchronised("r".into());
        assert!(synchronised());
        let second = ConnectionPhase::begin(shown);
        second.synchronised("r".into());
        assert!(!synchronised());
        second.registered();
        assert!(synchronised());
    }

    #[test]
    fn a_closed_connection_has_no_say() {
        let (shown, seen) = watch::channel(Phase::Joining);
        let phase = ConnectionPhase::begin(shown);
        phase.registered();
        assert!(!phase.close("gone".into()), "it never was synchronised");
        phase.synchronised("r".into());
        assert_eq!(
            *seen.borrow(),
            Phase::Away {
                reason: "gone".into()
            }
        );
    }
}
