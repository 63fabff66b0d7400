//! Runs the stories one after the other, tells how long each took, keeps the logs of those that fail.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Args;
use crate::case::Case;
use crate::cluster::Cluster;
use crate::driver::Driver;
use crate::rounds::more_time;
use crate::stories::{STORIES, Story};
use crate::wait::slowed;
use crate::{node, numbers, picture, table};

/// No story takes longer, rounds that were asked for aside; one that does is stuck.
const LIMIT: Duration = Duration::from_mins(4);

/// Runs the stories that are asked for.
///
/// # Errors
/// The node is not there.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let named = (1..).zip(STORIES.iter()).filter(|(_, story)| {
        args.words.is_empty() || args.words.iter().any(|word| names(word, story))
    });
    let stories = args.part.choose(named);
    if args.list {
        for (_, story) in &stories {
            say(story.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let cluster = Cluster::connect().await?;
    let driver = Driver::new(&cluster, &args.chart);
    let started = Instant::now();
    driver.install(&[]).await.context("install the driver")?;
    say(&format!(
        "driver installed and ready in {:.1} s",
        started.elapsed().as_secs_f64()
    ));
    let mut failed = Vec::new();
    for (number, story) in &stories {
        let began = Instant::now();
        let result = tell(&cluster, &driver, *number, story).await;
        let seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => say(&format!("ok    {seconds:6.1} s  {}", story.name)),
            Err(error) => {
                let keep = args.keep.join(story.name);
                say(&format!(
                    "FAIL  {seconds:6.1} s  {}\n{error:#}\nlogs: {}",
                    story.name,
                    keep.display()
                ));
                keep_logs(&keep)?;
                // A story that took the driver away and failed must not fail those that follow.
                drop(driver.come_back().await);
                failed.push(story.name);
            }
        }
    }
    numbers::print();
    let seconds = started.elapsed().as_secs_f64();
    let told = stories.len();
    let passed = told.saturating_sub(failed.len());
    say(&format!(
        "{passed} of {told} stories passed on {} in {seconds:.0} s",
        node::runtime()
    ));
    if let Some(file) = &args.trace_picture {
        let picture = picture::of_newest_start()?;
        std::fs::write(file, picture).with_context(|| format!("write {}", file.display()))?;
    }
    if let Some(file) = &args.row {
        table::add_row(file, &cluster, &format!("{passed} of {told}")).await?;
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether a word of the command line means a story.
fn names(word: &str, story: &Story) -> bool {
    story.name.contains(word) || story.tags.contains(&word)
}

async fn tell(cluster: &Cluster, driver: &Driver, number: u8, story: &Story) -> Result<()> {
    let case = Case::open(cluster, driver, number, story.name)
        .await
        .context("set the stage")?;
    let limit = slowed(LIMIT.saturating_add(more_time()));
    let told = tokio::time::timeout(limit, (story.tell)(&case)).await;
    let told = told
        .with_context(|| format!("stuck: took longer than {limit:?}"))
        .flatten();
    let closed = case.close().await.context("clear the stage");
    told.and(closed)
}

fn keep_logs(to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    node::keep_logs(to)
}

/// Prints a line for people.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    // A reader who went away is no reason to fail.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}
