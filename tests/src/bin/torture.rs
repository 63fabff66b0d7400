//! `make torture`: the driver under faults, thousands of them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use network_driver_tests::program;
use network_driver_tests::torture::{self, Options, Rounds, What};

/// Kills the real daemons at every fail point and worse while pods live on a simulated node, and checks that nothing is
/// lost
#[derive(Debug, Parser)]
#[command(name = "torture", version)]
struct Args {
    /// A few of each, for CI: what is given besides holds
    #[arg(long)]
    short: bool,
    /// Only this
    #[arg(long, value_enum)]
    only: Option<What>,
    /// Runs at each fail point [default: 40, short: 1]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Pods that live while daemons die [default: 10000, short: 40]
    #[arg(long, value_name = "N")]
    soak: Option<u64>,
    /// Losses of the database [default: 100, short: 2]
    #[arg(long, value_name = "N")]
    database: Option<u64>,
    /// Restarts of the kubelet [default: 50, short: 2]
    #[arg(long, value_name = "N")]
    kubelet: Option<u64>,
    /// Restarts of the container runtime [default: 50, short: 2]
    #[arg(long, value_name = "N")]
    runtime: Option<u64>,
    /// Times that the API server is away [default: 3, short: 1]
    #[arg(long, value_name = "N")]
    api: Option<u64>,
    /// Seconds that it is away each time [default: 120, short: 20]
    #[arg(long, value_name = "SECONDS")]
    api_away: Option<u64>,
    /// Changes to the daemons of --previous and back [default: 100, short: 2]
    #[arg(long, value_name = "N")]
    upgrade: Option<u64>,
    /// Pods whose sandbox is made again [default: 400, short: 10]
    #[arg(long, value_name = "N")]
    sandboxes: Option<u64>,
    /// Pods after which daemons must hold no more than before [default: 10000, short: 0]
    #[arg(long, value_name = "N")]
    leaks: Option<u64>,
    /// Runs at each fail point of attach and detach with cards of the emulated machine, by turns a whole card, a function
    /// of another, and both [default: 2 where nothing else is done, else 0]
    #[arg(long, value_name = "N")]
    real_cards: Option<u64>,
    /// Only at this fail point
    #[arg(long, value_name = "NAME")]
    point: Option<String>,
    /// Only with this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Directory of the binaries discovery, dra-plugin and nri-hook, built with fail points; by default where this one is
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Directory of the binaries of an earlier release
    #[arg(long, value_name = "DIR")]
    previous: Option<PathBuf>,
}

impl Args {
    fn rounds(&self) -> Rounds {
        let or = |given: Option<u64>, long, short| {
            given.unwrap_or(if self.short { short } else { long })
        };
        let alone = self.only == Some(What::RealCards);
        Rounds {
            kills: or(self.seeds, 40, 1),
            soak: or(self.soak, 10_000, 40),
            database: or(self.database, 100, 2),
            kubelet: or(self.kubelet, 50, 2),
            runtime: or(self.runtime, 50, 2),
            api: or(self.api, 3, 1),
            api_away: Duration::from_secs(or(self.api_away, 120, 20)),
            upgrade: or(self.upgrade, 100, 2),
            sandboxes: or(self.sandboxes, 400, 10),
            leaks: or(self.leaks, 10_000, 0),
            real_cards: self.real_cards.unwrap_or(if alone { 2 } else { 0 }),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let options = Options {
        rounds: args.rounds(),
        only: args.only,
        point: args.point,
        seed: args.seed,
        bin_dir: args.bin_dir,
        previous: args.previous,
    };
    program::end("torture", torture::main(&options))
}
