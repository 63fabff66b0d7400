//! The container runtime's side: Node Resource Interface 0.3 to 0.12.
//!
//! | file | what |
//! | --- | --- |
//! | `mux` | frames of the one socket |
//! | `ttrpc` | messages of one stream |
//! | `call` | which call is which event |
//! | `service` | one connection's answers, in time |
//! | `session` | connect, register, serve; for ever |
//! | `inquiry` | asks which runtime it is, without becoming its plugin |
//! | `phase` | how far it has come |
//! | `event`, `deadline` | what the rest of the hook sees: checked pods, limits, the [`PodEvents`] trait |

mod call;
mod deadline;
mod event;
#[cfg(test)]
mod fuzzing;
mod inquiry;
mod mux;
mod phase;
mod service;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod ttrpc;

pub(crate) use call::{Event, SERVICE};
pub(crate) use deadline::Deadline;
pub(crate) use event::{Container, Pod, PodEvents, Request};
pub(crate) use inquiry::{RuntimeInfo, ask};
pub(crate) use phase::Phase;
pub(crate) use service::{Observer, Outcome};
pub(crate) use session::{Identity, InFlight, Session, SessionError};
