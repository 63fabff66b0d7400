//! The daemon `discovery` and its debugging sub-commands.

use std::process::ExitCode;

use clap::Parser;
use network_driver_common::runtime;
use network_driver_discovery::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    runtime::block_on(|shutdown| network_driver_discovery::run(args, shutdown))
}
