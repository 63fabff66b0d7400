//! `make demo`: the main job of the driver on any Linux machine, without Kubernetes and, where user namespaces are
//! allowed, without root.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use network_driver_tests::{demo, program};

/// Shows a pod being given a network interface and giving it back, with the real daemons on a simulated node
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Args {
    /// Directory of the binaries discovery, dra-plugin and nri-hook; by default where this one is
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::end("demo", demo::main(args.bin_dir))
}
