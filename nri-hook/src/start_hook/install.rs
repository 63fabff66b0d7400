//! Putting the start hook where the OCI runtime of the node finds it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::FILE_NAME;

/// Why the start hook is not in place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file could not be written.
    #[error("put the start hook in place: {action} {path}")]
    File {
        /// What failed.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is in place and does not run.
    #[error(
        "the start hook {path} cannot be run: is its file system mounted with noexec? Another directory or gate.startHook=false helps"
    )]
    Run {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Copies the program into a directory of the node, whole or not at all, and runs it once to see that it can be run.
/// Returns where it lies. One that is there already is replaced: containers that start meanwhile find one of both.
///
/// # Errors
/// A file that cannot be written, or a file system that forbids to run it.
pub fn install(program: &Path, dir: &Path) -> Result<PathBuf, InstallError> {
    let path = dir.join(FILE_NAME);
    let unfinished = path.with_extension("tmp");
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::File {
            action,
            path,
            source,
        }
    };
    fs::create_dir_all(dir).map_err(failed("make", dir))?;
    fs::copy(program, &unfinished).map_err(failed("copy", program))?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o755))
        .map_err(failed("make executable", &unfinished))?;
    // As the node runs it: a file system that is mounted with noexec shows here.
    let ran = Command::new(&unfinished).arg("--version").output();
    ran.map_err(|source| InstallError::Run {
        path: path.clone(),
        source,
    })?;
    fs::rename(&unfinished, &path).map_err(failed("put in place", &path))?;
    Ok(path)
}
