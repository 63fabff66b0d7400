//! `make torture`: faults by the thousand over the real daemons and the real kernel, and what must hold after each.
//!
//! Each kind of fault gives one line, `what: N of N …`; a failed run is told with the command that repeats it.

mod bed;
mod cards;
mod kill;
mod leaks;
mod life;
mod random;
mod rounds;
mod sandboxes;
mod soak;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use network_driver_common::fail::{self, Point};

use crate::cluster::Setup;
use crate::daemon::{ALL, Binaries};
use crate::program;
use kill::{On, Runs};
use rounds::Fault;
use tally::{Tally, tell};

/// What is wanted of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is done how often; nothing for 0.
    pub rounds: Rounds,
    /// Only this.
    pub only: Option<What>,
    /// This point only, by its name.
    pub point: Option<String>,
    /// This seed only, of the kill points; the seed of everything else, which is 0 without it.
    pub seed: Option<u64>,
    /// Where the three daemons' binaries with fail points are.
    pub bin_dir: Option<PathBuf>,
    /// Where those of an earlier release are.
    pub previous: Option<PathBuf>,
}

/// How often each thing is done.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// Runs at each fail point.
    pub kills: u64,
    /// Pods while daemons die.
    pub soak: u64,
    /// Losses of the database.
    pub database: u64,
    /// Restarts of the kubelet.
    pub kubelet: u64,
    /// Restarts of the runtime.
    pub runtime: u64,
    /// Times that the API server is away.
    pub api: u64,
    /// How long each time.
    pub api_away: Duration,
    /// Changes to the earlier release and back.
    pub upgrade: u64,
    /// Sandboxes that are made again.
    pub sandboxes: u64,
    /// Pods of which nothing must be left.
    pub leaks: u64,
    /// Runs at each fail point of attach and detach with real cards.
    pub real_cards: u64,
}

/// One of the things that are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// A daemon dies at each fail point.
    Kills,
    /// Daemons die all the time.
    Soak,
    /// The database is lost.
    Database,
    /// The kubelet restarts.
    Kubelet,
    /// The runtime restarts.
    Runtime,
    /// The API server is away.
    Api,
    /// The driver is replaced by an earlier release, and back.
    Upgrade,
    /// Sandboxes are made again.
    Sandboxes,
    /// Pods come and go.
    Leaks,
    /// The hook dies at each fail point of attach and detach, pods having real cards: in the emulated machine alone.
    RealCards,
}

impl What {
    const ALL: [Self; 10] = [
        Self::Kills,
        Self::Soak,
        Self::Database,
        Self::Kubelet,
        Self::Runtime,
        Self::Api,
        Self::Upgrade,
        Self::Sandboxes,
        Self::Leaks,
        Self::RealCards,
    ];

    fn rounds(self, rounds: &Rounds) -> u64 {
        match self {
            Self::Kills => rounds.kills,
            Self::Soak => rounds.soak,
            Self::Database => rounds.database,
            Self::Kubelet => rounds.kubelet,
            Self::Runtime => rounds.runtime,
            Self::Api => rounds.api,
            Self::Upgrade => rounds.upgrade,
            Self::Sandboxes => rounds.sandboxes,
            Self::Leaks => rounds.leaks,
            Self::RealCards => rounds.real_cards,
        }
    }

    async fn run(self, setup: &Setup, options: &Options) -> anyhow::Result<Tally> {
        let (rounds, seed) = (
            self.rounds(&options.rounds),
            options.seed.unwrap_or_default(),
        );
        match self {
            Self::Kills => {
                let runs = runs(options, On::Cables, rounds, Point::ALL)?;
                kill::run(setup, &runs).await
            }
            Self::RealCards => {
                let runs = runs(options, On::RealCards, rounds, &of_the_hook())?;
                kill::run(setup, &runs).await
            }
            Self::Soak => soak::run(setup, rounds, seed).await,
            Self::Database => rounds::run(setup, Fault::DatabaseLost, rounds, seed).await,
            Self::Kubelet => rounds::run(setup, Fault::KubeletRestart, rounds, seed).await,
            Self::Runtime => rounds::run(setup, Fault::RuntimeRestart, rounds, seed).await,
            Self::Api => {
                let fault = Fault::ApiAway(options.rounds.api_away);
                rounds::run(setup, fault, rounds, seed).await
            }
            Self::Upgrade => {
                let previous = options.previous.as_deref().context(PREVIOUS)?;
                let fault = Fault::Replaced(Binaries::find(Some(previous))?);
                rounds::run(setup, fault, rounds, seed).await
            }
            Self::Sandboxes => sandboxes::run(setup, rounds, seed).await,
            Self::Leaks => leaks::run(setup, rounds, seed).await,
        }
    }
}

/// Runs it all, in a user namespace when this is not root. Fails when anything that must hold did not.
///
/// # Errors
/// Neither root nor user namespaces are there, binaries are missing, or a node could not be made.
pub fn main(options: &Options) -> anyhow::Result<ExitCode> {
    program::run(async {
        let tallies = run(options).await?;
        ensure!(!tallies.is_empty(), "nothing was asked for");
        let good = tallies.iter().all(Tally::is_good);
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

async fn run(options: &Options) -> anyhow::Result<Vec<Tally>> {
    have_fail_points(options)?;
    let setup = Setup::default()
        .log_level("info")
        .start_hook()
        .bin_dir(options.bin_dir.clone());
    // A point named is a wish for kills at it.
    let only = options.only.or(options.point.as_ref().map(|_| What::Kills));
    let mut tallies = Vec::new();
    for what in What::ALL {
        let wanted = only.is_none_or(|only| only == what);
        if what == What::Upgrade && only.is_none() && options.previous.is_none() {
            tell(&format!("SKIPPED: upgrade: {PREVIOUS}"));
            continue;
        }
        if wanted && what.rounds(&options.rounds) > 0 {
            let tally = what.run(&setup, options).await?;
            tell(&tally.to_string());
            tallies.push(tally);
        }
    }
    Ok(tallies)
}

/// What an upgrade starts from.
const PREVIOUS: &str = "no binaries of an earlier release (--previous)";

/// The points that are passed while links are in a pod or on their way.
fn of_the_hook() -> Vec<Point> {
    let mut points = Point::ALL.to_vec();
    points.retain(|point| {
        ["attach.", "detach."]
            .iter()
            .any(|of| point.name().starts_with(of))
    });
    points
}

fn runs(options: &Options, on: On, rounds: u64, among: &[Point]) -> anyhow::Result<Runs> {
    let points = match &options.point {
        None => among.to_vec(),
        Some(name) => {
            let found = among.iter().find(|point| point.name() == name);
            let found = found.with_context(|| {
                let names: Vec<_> = among.iter().map(|point| point.name()).collect();
                format!("there is no point {name:?}; there are {}", names.join(", "))
            });
            vec![*found?]
        }
    };
    let seeds = match options.seed {
        None => 0..rounds,
        Some(seed) => seed..seed.saturating_add(1),
    };
    Ok(Runs { points, seeds, on })
}

/// Without fail points nothing here would be a fault.
fn have_fail_points(options: &Options) -> anyhow::Result<()> {
    let binaries = Binaries::find(options.bin_dir.as_deref())?;
    for component in ALL {
        let path = binaries.path(component);
        ensure!(
            has_fail_points(&path)?,
            "{} has no fail points: build it with --features fail-points, as `make torture` does",
            path.display()
        );
    }
    Ok(())
}

/// Whether a daemon's binary has fail points: it then holds the name of the variable that switches them on.
///
/// # Errors
/// It cannot be read.
pub fn has_fail_points(binary: &std::path::Path) -> anyhow::Result<bool> {
    let bytes = std::fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let marker = fail::VARIABLE.as_bytes();
    Ok(bytes.windows(marker.len()).any(|window| window == marker))
}
