//! What the kubelet asks for: preparing and unpreparing claims.
//!
//! ```text
//! parse       JSON of a ResourceClaim, any API version  → AllocatedClaim        pure
//! parameters  the user's NetworkConfig                  → PartialConfig         pure
//! plan        AllocatedClaim + devices of this node     → attachments           pure
//! prepare     read → plan → check by the hook → record on disk → commit
//! unprepare   release by the hook → record gone
//! refresh     pods of a prepared claim, read again
//! turn        one call at a time for each claim
//! attempts    traces of Prepares that failed
//! ```

mod attempts;
mod fault;
#[cfg(test)]
mod fuzzing;
mod object;
mod parameters;
mod parse;
mod plan;
mod prepare;
mod reader;
mod refresh;
mod turn;
mod unprepare;

pub(crate) use attempts::Attempts;
pub(crate) use fault::{PrepareError, UnprepareError};
pub(crate) use parse::{AllocatedClaim, ParseClaimError};
pub(crate) use prepare::{Prepared, PreparedDevice};
pub(crate) use reader::{ClaimReader, ReadClaimError};
pub(crate) use refresh::{Refresher, ask_again, refresh};
pub(crate) use turn::Turns;
