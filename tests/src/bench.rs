//! The benchmark: what the driver costs, each figure beside a floor that is measured in turns with it.
//!
//! Milliseconds differ from machine to machine; ratios to the least that the same kernel allows do not, or less so. The
//! floors are written here from the kernel's interface, with none of the driver's code.

mod attach;
mod floor;
mod idle;
mod lease;
mod machine;
mod movers;
mod pattern;
mod plain_pod;
mod prepare;
mod process;
mod raw;
mod records;
mod report;
mod sample;
mod scan;
mod start;
mod storm;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cluster::{Cluster, Setup};
use crate::program;
use machine::Machine;
pub(crate) use process::memory;
use report::Report;

/// Links of the node on which start and idleness are measured.
const LINKS: usize = 100;

/// What is wanted of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Attaches and detaches to measure; slower things are measured less often.
    pub rounds: u32,
    /// Only this.
    pub only: Option<What>,
    /// JSON instead of a table.
    pub json: bool,
    /// Where the three daemons' binaries are; `None` for where the running one is.
    pub bin_dir: Option<PathBuf>,
}

/// One of the things that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    /// Attach and detach.
    Attach,
    /// A pod without a claim, Prepare, idleness, the start.
    Node,
    /// Discovery's reading of the node.
    Scan,
    /// Links that change without pause.
    Storm,
    /// Many records.
    Records,
}

impl Options {
    fn wants(&self, what: What) -> bool {
        self.only.is_none_or(|only| only == what)
    }

    /// A part of the rounds, at least three.
    fn share(&self, divisor: u32) -> u32 {
        self.rounds.checked_div(divisor).unwrap_or_default().max(3)
    }
}

/// Runs the benchmark, in a user namespace when this is not root, and prints its report.
///
/// # Errors
/// Neither root nor user namespaces are there, or something did not work. A missed budget is no error.
pub fn main(options: &Options) -> anyhow::Result<ExitCode> {
    program::run(async {
        let report = run(options).await?;
        let text = if options.json {
            format!("{:#}\n", report.json())
        } else {
            report.table()
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::new(Machine::read());
    if options.wants(What::Attach) {
        attach::run(options, &mut report).await?;
    }
    if options.wants(What::Node) {
        node(options, &mut report).await?;
    }
    if options.wants(What::Scan) {
        for links in [100, 1000] {
            scan::run(options, links, &mut report)?;
        }
    }
    if options.wants(What::Storm) {
        storm::run(options, &mut report).await?;
    }
    if options.wants(What::Records) {
        records::run(options, &mut report).await?;
    }
    report.finish();
    Ok(report)
}

async fn node(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let setup = setup(options).nics(&["eth1"]).links("port", LINKS);
    progress(&format!("a node with {LINKS} links"));
    let cluster = Cluster::start(setup).await?;
    plain_pod::run(options, &cluster, report).await?;
    prepare::run(options, &cluster, report).await?;
    idle::run(&cluster, report).await?;
    start::run(options, &cluster, report).await
}

/// A cluster whose daemons log as they do in the field.
fn setup(options: &Options) -> Setup {
    Setup::default()
        .log_level("info")
        .bin_dir(options.bin_dir.clone())
}

/// A breath between two measurements, so that what the one set off does not disturb the other. Its length goes through
/// the phases of the kernel's tick: grace periods end on ticks, and a fixed rhythm would measure one phase only.
async fn breathe(round: u32) {
    let phase = Duration::from_micros(700).saturating_mul(round.wrapping_rem(16));
    tokio::time::sleep(Duration::from_millis(12).saturating_add(phase)).await;
}

/// Says what is being measured, to whoever watches.
fn progress(what: &str) {
    // Nobody watches when standard error is closed.
    drop(writeln!(io::stderr(), "measuring {what}"));
}
