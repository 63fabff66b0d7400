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
//! ```

mod fault;
mod parameters;
mod parse;
mod plan;
mod prepare;
mod reader;
mod refresh;
mod turn;
mod unprepare;

pub use fault::{PrepareError, UnprepareError};
pub use parse::{AllocatedClaim, ParseClaimError};
pub use prepare::Prepared;
pub use reader::{ClaimReader, ReadClaimError};
pub use refresh::{Refresher, refresh};
pub use turn::Turns;
