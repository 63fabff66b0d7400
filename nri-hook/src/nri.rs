//! The container runtime's side: Node Resource Interface 0.3 to 0.12.
//!
//! | file | what |
//! | --- | --- |
//! | `mux` | frames of the one socket |
//! | `ttrpc` | messages of one stream |
//! | `call` | which call is which event |
//! | `service` | one connection's answers, in time |
//! | `session` | connect, register, serve; for ever |
//! | `phase` | how far it has come |
//! | `event`, `deadline` | what the rest of the hook sees: checked pods, limits, the [`PodEvents`] trait |

mod call;
mod deadline;
mod event;
mod mux;
mod phase;
mod service;
mod session;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod ttrpc;

pub use call::Event;
pub use deadline::Deadline;
pub use event::{Container, Pod, PodEvents, Request};
pub use phase::Phase;
pub use service::{Observer, Outcome};
pub use session::{Identity, InvalidIdentity, Session};
