//! The container runtime's side: Node Resource Interface 0.3 to 0.12.
//!
//! | file | what |
//! | --- | --- |
//! | [`mux`] | frames of the one socket |
//! | [`ttrpc`] | messages of one stream |
//! | [`service`] | one connection's methods: which event is which, and an answer in time |
//! | [`session`] | connect, register, serve; for ever |
//! | [`event`] | what the rest of the hook sees of it: checked pods and the [`PodEvents`] trait |

mod deadline;
mod event;
mod mux;
mod service;
mod session;
#[cfg(test)]
mod testing;
mod ttrpc;

pub use deadline::Deadline;
pub use event::{Container, Pod, PodEvents, Request};
pub use service::{Event, Outcome};
pub use session::{Identity, InvalidIdentity, Observer, Phase, Session};
