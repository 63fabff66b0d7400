//! Attach and detach on real links, in namespaces made for it.

mod attach;
mod check;
mod detach;
mod identity;
mod node;
mod snapshot;
mod state;
mod survey;
mod travels;
