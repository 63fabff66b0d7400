//! The end-to-end suite: the driver, installed by its chart on a real one-node Kubernetes, in short stories.
//!
//! `make e2e` builds and starts the node (see `node/`) and runs this program *inside* it, so that the API server, links,
//! processes and namespaces of the node are simply there. Without arguments every story runs, one after the other.

#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test program: JSON is read by index, null where nothing is; times are small"
)]

mod card;
mod case;
mod claim;
mod cluster;
mod cri;
mod driver;
mod jaeger;
mod kubelet;
mod nic;
mod node;
mod numbers;
mod part;
mod picture;
mod pod;
mod resource;
mod rounds;
mod stories;
mod suite;
mod table;
mod toy;
mod traffic;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::part::Part;

/// Run the stories whose names contain one of the given words, or that have one of the given tags; without words, all.
#[derive(Debug, Parser)]
#[command(name = "e2e")]
struct Args {
    /// Parts of the names of stories, or tags: @core
    words: Vec<String>,
    /// Of these, only every Nth, beginning with the Kth: K/N, so that N nodes tell all of them
    #[arg(long, value_name = "K/N", default_value = "1/1")]
    part: Part,
    /// Print the names of the stories and end
    #[arg(long)]
    list: bool,
    /// The driver's Helm chart
    #[arg(long, value_name = "DIR", default_value = "charts/network-driver")]
    chart: PathBuf,
    /// Where the logs of a failed story are kept, a folder each
    #[arg(long, value_name = "DIR", default_value = "target/e2e/failed")]
    keep: PathBuf,
    /// After the stories, draw the newest start of a pod that Jaeger has into this file (SVG)
    #[arg(long, value_name = "FILE")]
    trace_picture: Option<PathBuf>,
    /// Add a row to this table of results (Markdown)
    #[arg(long, value_name = "FILE")]
    row: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    suite::run(Args::parse()).await
}
