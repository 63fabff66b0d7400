//! How far the connection to the runtime has come. Readiness follows from it: only a hook that is registered and
//! has worked through the runtime's list may let claims be prepared.

use std::sync::Arc;

use tokio::sync::watch;

/// Where the connection to the runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Away {
        /// Why, as a sentence.
        reason: String,
    },
    /// Connected; the runtime has yet to accept us or to tell us its sandboxes.
    Joining,
    /// Registered, and the runtime's sandboxes are worked through.
    Synchronised {
        /// Name and version of the runtime.
        runtime: String,
    },
}

/// The phases of successive connections.
#[derive(Debug)]
pub struct PhaseSource {
    sender: Arc<watch::Sender<State>>,
    shown: watch::Receiver<State>,
}

#[derive(Debug, Clone)]
struct State {
    connection: u64,
    registered: bool,
    /// The runtime whose list is worked through.
    synchronised: Option<String>,
    away: Option<String>,
}
