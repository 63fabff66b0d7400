//! Building the daemon of its parts.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use network_driver_common::admin;
use network_driver_common::bus::{self, Component};
use network_driver_common::cli::NodeArgs;
use network_driver_common::health::{Health, Part};
use network_driver_common::metrics as http;
use network_driver_common::model::DriverName;
use network_driver_common::runtime::{Exit, Tasks};
use network_driver_common::telemetry::{self, LogFilter};
use network_driver_netlink::Netns;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tracing::{error, info, warn};

use crate::args::{Args, DaemonArgs};
use crate::cdi;
use crate::command;
use crate::confirmation::Confirmation;
use crate::hook::Hook;
use crate::links::Links;
use crate::metrics::Metrics;
use crate::nri::{Identity, InFlight, Phase, Session};
use crate::records::client::Client;
use crate::start_hook::FILE_NAME;

/// Exit code of a configuration that is refused.
const REFUSED: u8 = 3;

/// Exit code of a state directory that cannot be used.
const STATE: u8 = 6;

/// Time that attaches and detaches which have begun get to end.
const DRAIN: Duration = Duration::from_secs(8);

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Runs the daemon until the token is cancelled, or answers a sub-command.
///
/// # Errors
/// What ended the process, with its exit code: 3 configuration, 6 state directory, 7 preflight, 1 anything else.
pub async fn run(mut args: Args, shutdown: CancellationToken) -> Result<(), Exit> {
    if let Some(command) = args.command.take() {
        return command::run(command, &args).await;
    }
    let node = &args.node.node_name;
    let telemetry = telemetry::init(Component::NriHook, node, &args.telemetry)?;
    let result = daemon(&args, telemetry.log_filter(), shutdown).await;
    telemetry.shutdown().await;
    result
}

async fn daemon(
    args: &Args,
    log_filter: LogFilter,
    shutdown: CancellationToken,
) -> Result<(), Exit> {
    let settings = &args.daemon;
    let identity = Identity::new(&settings.nri_plugin_name, &settings.nri_plugin_index);
    let identity = identity.map_err(|error| Exit::new(REFUSED, error))?;
    let health = Health::default();
    let mut registry = http::registry(Component::NriHook);
    let metrics = Metrics::new(&mut registry);
    let hook = Arc::new(hook(settings, &args.node.driver_name, metrics.clone())?);

    let work = TaskTracker::new();
    let phase = watch::Sender::new(Phase::Away {
        reason: "no records yet".to_owned(),
    });
    let received = watch::Sender::new(false);
    let client = Client {
        channel: bus::channel(args.bus.dir(), Component::DraPlugin),
        hook: Arc::clone(&hook),
        phase: phase.subscribe(),
        work: work.clone(),
        received: received.clone(),
    };
    let session = Session {
        socket: settings.nri_socket.clone(),
        identity,
        events: Arc::clone(&hook),
        observer: Arc::new(metrics.clone()),
        phase: phase.clone(),
        work: work.clone(),
        in_flight: InFlight::default(),
    };

    let mut tasks = Tasks::new(shutdown);
    let stop = tasks.shutdown();
    let listener = bus::listen(args.bus.dir(), Component::NriHook)?;
    let shown = (Arc::clone(&hook), phase.subscribe());
    let admin = admin::service(Component::NriHook, health.clone(), log_filter, move || {
        let dump = shown.0.dump(&shown.1.borrow());
        serde_json::to_value(dump).unwrap_or_else(|error| error.to_string().into())
    });
    tasks.spawn(
        "bus",
        bus::serve(listener, Routes::new(admin), stop.clone()),
    );
    let (http_args, served, registry) = (args.http.clone(), health.clone(), Arc::new(registry));
    let until = stop.clone();
    tasks.spawn("http", async move {
        http::serve(Component::NriHook, &http_args, registry, served, until).await
    });
    let parts = (health.part("records"), health.part("runtime"));
    let seen = (received.subscribe(), phase.subscribe());
    tasks.spawn(
        "health",
        show_health(parts, seen, Arc::clone(&hook), stop.clone()),
    );
    tasks.spawn("records", client.run(stop.clone()));
    tasks.spawn("catch-up", Arc::clone(&hook).catch_up(stop.clone()));
    tasks.spawn("reconcile", Arc::clone(&hook).reconcile(stop.clone()));
    tasks.spawn("nri", join_runtime(session, received.subscribe(), stop));
    let NodeArgs {
        driver_name,
        node_name,
    } = &args.node;
    info!(node = node_name, driver = %driver_name, "nri-hook started");
    let ended = tasks.run().await;
    drain(&work).await;
    hook.reports.lost();
    ended.map_err(Exit::from)
}

/// The hook over the real kernel.
fn hook(settings: &DaemonArgs, driver: &DriverName, metrics: Metrics) -> Result<Hook<Links>, Exit> {
    let DaemonArgs {
        cdi_dir,
        state_dir,
        start_hook_dir,
        cdi_confirmed,
        ..
    } = settings;
    let home = Netns::current()?;
    let links = Links::new(home, driver.clone(), state_dir.clone());
    let links = links.map_err(|error| Exit::new(STATE, error))?;
    let start_hook = start_hook_dir.as_ref().map(|dir| dir.join(FILE_NAME));
    let cdi = cdi::Directory::new(cdi_dir.clone(), driver.clone(), start_hook);
    let cdi = cdi.map_err(|error| Exit::new(REFUSED, error))?;
    let mut hook = Hook::new(Arc::new(links), cdi, metrics, boot_id(Path::new(BOOT_ID)));
    hook.confirmation = Confirmation::new(*cdi_confirmed);
    Ok(hook)
}

/// Which boot of the node this is; empty, and so like no other, when it cannot be read.
fn boot_id(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(err) => {
            warn!(%err, path = %path.display(), "boot id unknown");
            String::new()
        }
    }
}

/// Registers with the runtime once the records are here: an earlier event would find none.
async fn join_runtime(
    session: Session<Hook<Links>>,
    mut received: watch::Receiver<bool>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let records = received.wait_for(|received| *received);
    if stop.run_until_cancelled(records).await.is_none() {
        return Ok(());
    }
    session.run(stop).await
}

/// Shows what is missing for the hook to be ready.
async fn show_health(
    (records, runtime): (Part, Part),
    (mut received, mut phase): (watch::Receiver<bool>, watch::Receiver<Phase>),
    hook: Arc<Hook<Links>>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut confirmed = hook.confirmation.subscribe();
    loop {
        if *received.borrow_and_update() {
            records.ready();
        } else {
            records.not_ready("no records from dra-plugin yet");
        }
        let now = phase.borrow_and_update().clone();
        hook.metrics
            .connected(matches!(now, Phase::Synchronised { .. }));
        match now {
            Phase::Synchronised { runtime: name } => match hook.confirmation.missing(&name) {
                Some(missing) => runtime.not_ready(missing),
                None => runtime.ready(),
            },
            Phase::Joining => runtime.not_ready("not yet synchronised"),
            Phase::Away { reason } => runtime.not_ready(reason),
        }
        // All senders live as long as the daemon.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = received.changed() => {}
            _ = phase.changed() => {}
            _ = confirmed.changed() => {}
        }
    }
}

/// Waits until what has begun is ended: a half-attached pod is worse than a late exit.
async fn drain(work: &TaskTracker) {
    work.close();
    if tokio::time::timeout(DRAIN, work.wait()).await.is_err() {
        error!(
            tasks = work.len(),
            "attaches or detaches did not end in time"
        );
    }
}
