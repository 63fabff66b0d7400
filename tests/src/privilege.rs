//! Namespaces need privilege: root's, or that of a user namespace of our own.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use nix::unistd::Uid;

/// What `unshare` is asked for.
const UNSHARE: [&str; 5] = ["--user", "--map-root-user", "--net", "--mount", "--fork"];

/// Runs this program again in a user namespace, unless it is root already; its exit code then.
///
/// # Errors
/// There are no user namespaces for this user.
pub(crate) fn run_again_with_privilege() -> anyhow::Result<Option<ExitCode>> {
    if Uid::effective().is_root() {
        return Ok(None);
    }
    let probe = Command::new("unshare")
        .args(UNSHARE)
        .arg("true")
        .stderr(Stdio::null())
        .status();
    ensure!(
        probe.is_ok_and(|status| status.success()),
        "needs root, or `unshare` and user namespaces that this user may make; neither is there"
    );
    let own = std::env::current_exe().context("where is this executable?")?;
    let status = Command::new("unshare")
        .args(UNSHARE)
        .arg(own)
        .args(std::env::args_os().skip(1))
        .status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.map_or(ExitCode::FAILURE, ExitCode::from)))
}
