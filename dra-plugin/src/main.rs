//! The binary: everything is in the library.

use std::process::ExitCode;

use clap::Parser;
use network_driver_common::runtime;
use network_driver_dra_plugin::{Args, run};

fn main() -> ExitCode {
    let args = Args::parse();
    runtime::block_on(|shutdown| run(args, shutdown))
}
