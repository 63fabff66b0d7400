//! Looks for a claim's devices in a container's network namespace. Run by the OCI runtime, not by people.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use network_driver_common::error::sentence;
use network_driver_nri_hook::start_hook;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let refusal = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--version"), None) => {
            let version = env!("CARGO_PKG_VERSION");
            // Whoever asked and does not listen is no reason to fail.
            drop(writeln!(stdout(), "{} {version}", start_hook::FILE_NAME));
            return ExitCode::SUCCESS;
        }
        (Some(wanted), None) => match start_hook::check(wanted, std::io::stdin()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(refusal) => sentence(&refusal),
        },
        _ => "usage: start-hook WANTED <STATE, or start-hook --version".to_owned(),
    };
    // The runtime shows it in the container's state.
    drop(writeln!(stderr(), "network driver: {refusal}"));
    ExitCode::FAILURE
}
