//! `make bench`: how fast the driver is on this machine, as ratios to the least that the kernel allows.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use network_driver_tests::bench::{self, Options, What};
use network_driver_tests::program;

/// Measures the real daemons on a simulated node; each figure beside a floor measured in turns with it
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Args {
    /// Attaches and detaches to measure; slower things are measured less often
    #[arg(long, default_value_t = 40, value_name = "N")]
    rounds: u32,
    /// Only this
    #[arg(long, value_enum)]
    only: Option<What>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Directory of the binaries discovery, dra-plugin and nri-hook; by default where this one is
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Args {
        rounds,
        only,
        json,
        bin_dir,
    } = Args::parse();
    let options = Options {
        rounds,
        only,
        json,
        bin_dir,
    };
    program::end("bench", bench::main(&options))
}
