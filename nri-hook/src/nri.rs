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

pub(crate) use call::Event;
pub(crate) use deadline::Deadline;
pub(crate) use event::{Container, Pod, PodEvents, Request};
pub(crate) use phase::Phase;
pub(crate) use service::{Observer, Outcome};
pub(crate) use session::{Identity, InFlight, Session};
