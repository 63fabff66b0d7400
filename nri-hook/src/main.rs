//! The NRI hook daemon.

use std::process::ExitCode;

use clap::Parser;
use network_driver_common::runtime::block_on;
use network_driver_nri_hook::{Args, run};

fn main() -> ExitCode {
    let args = Args::parse();
    block_on(|shutdown| run(args, shutdown))
}
