//! What the programs of the harness have in common: their privilege, their runtime, their end.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::privilege;

/// Does a program's work, in a user namespace when this is not root.
///
/// # Errors
/// Neither root nor user namespaces are there, or the work's own.
pub(crate) fn run(
    work: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    if let Some(code) = privilege::run_again_with_privilege()? {
        return Ok(code);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// The exit code of a program. What went wrong is said, with its causes.
pub fn end(name: &str, result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        // Nobody is there to be told when standard error is closed.
        drop(writeln!(io::stderr(), "{name}: {error:#}"));
        ExitCode::FAILURE
    })
}
