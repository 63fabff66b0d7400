//! The life of a daemon's process: one thread, signals, tasks of which none may end alone.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span};

use crate::fail;

/// Time that tasks get to end after the stop signal.
const DRAIN: Duration = Duration::from_secs(10);

/// Why a process ends, and the code it ends with: 1 unexpected, 3 configuration refused, 4 database locked,
/// 5 database newer than this build, 6 state directory unusable, 7 the node lacks what the driver needs, 9 a question
/// answered with "something is wrong".
#[derive(Debug)]
pub struct Exit {
    code: u8,
    error: anyhow::Error,
}

impl Exit {
    /// An error with the code it ends the process with.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Exit {
    fn from(error: E) -> Self {
        Self::new(1, error)
    }
}

/// Runs a daemon or a sub-command on a runtime of one thread. SIGTERM and SIGINT cancel the token. An error is
/// printed once, as one line with its causes.
pub fn block_on<F, Work>(work: F) -> ExitCode
where
    F: FnOnce(CancellationToken) -> Work,
    Work: Future<Output = Result<(), Exit>>,
{
    match run(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit { code, error }) => {
            #[expect(
                clippy::print_stderr,
                reason = "the one place where a process says why it ends"
            )]
            {
                eprintln!("error: {error:#}");
            }
            ExitCode::from(code)
        }
    }
}

/// Prints what a sub-command was asked for. A reader that has gone, as `head` does, is no error.
pub fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

fn run<F, Work>(work: F) -> Result<(), Exit>
where
    F: FnOnce(CancellationToken) -> Work,
    Work: Future<Output = Result<(), Exit>>,
{
    fail::arm().map_err(|error| Exit::new(3, error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let stop = shutdown.clone();
        let signals = tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            stop.cancel();
        });
        let result = work(shutdown).await;
        signals.abort();
        result
    });
    // Blocking work that hangs must not keep a process that has ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A daemon's tasks. The first to end ends the daemon: one that has lost a loop is worse than a restart.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    shutdown: CancellationToken,
}

impl Tasks {
    /// No tasks yet. Each is expected to end soon after the token is cancelled.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            shutdown,
        }
    }

    /// The token that tells the tasks to end.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a task under a name that errors and logs show.
    pub fn spawn<E: Into<anyhow::Error>>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let named = async move { (name, work.await.map_err(Into::into)) };
        // Below the level that is traced: a loop that never ends is no operation.
        self.set
            .spawn(named.instrument(debug_span!(parent: None, "task", task = name)));
    }

    /// Runs until a task ends or the token is cancelled, then cancels the token and waits up to 10 s for the rest.
    ///
    /// # Errors
    /// The first task that failed, or that ended without having been asked to.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let first = tokio::select! {
            ended = self.set.join_next() => ended.map_or(Ok(()), |ended| match ended {
                Ok((name, Ok(()))) if !self.shutdown.is_cancelled() => {
                    Err(anyhow::anyhow!("task {name} ended unexpectedly"))
                }
                ended => outcome(ended),
            }),
            () = self.shutdown.cancelled() => Ok(()),
        };
        self.shutdown.cancel();
        let mut result = first;
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = self.set.join_next().await {
                let ended = outcome(ended);
                if result.is_ok() {
                    result = ended;
                }
            }
        });
        if drained.await.is_err() {
            tracing::warn!(tasks = self.set.len(), "tasks did not end in time");
        }
        result
    }
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

fn outcome(ended: Ended) -> anyhow::Result<()> {
    match ended {
        Ok((name, result)) => result.map_err(|error| error.context(format!("task {name}"))),
        Err(error) if error.is_panic() => Err(anyhow::anyhow!("a task panicked")),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until_cancelled(stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn the_first_task_to_end_ends_the_others() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let stop = tasks.shutdown();
        tasks.spawn("steady", until_cancelled(stop.clone()));
        tasks.spawn("broken", async { Err(anyhow::anyhow!("no link")) });
        let error = format!("{:#}", tasks.run().await.unwrap_err());
        assert_eq!(error, "task broken: no link");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_an_error() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("short", async { anyhow::Ok(()) });
        let error = tasks.run().await.unwrap_err().to_string();
        assert_eq!(error, "task short ended unexpectedly");
    }

    #[tokio::test]
    async fn a_stop_is_no_error() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("steady", until_cancelled(stop.clone()));
        stop.cancel();
        tasks.run().await.unwrap();
    }
}
