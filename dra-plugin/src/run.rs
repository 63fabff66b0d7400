//! Building the daemon of its parts.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use network_driver_common::admin;
use network_driver_common::bus::{self, Backoff, Component};
use network_driver_common::cli::NodeArgs;
use network_driver_common::error::sentence;
use network_driver_common::health::{Health, Part};
use network_driver_common::metrics::{self as http, prometheus_client::registry::Registry};
use network_driver_common::runtime::{Exit, Tasks, print};
use network_driver_common::telemetry::{self, LogFilter};
use network_driver_kubernetes::{Cluster, EventRecorder, connect};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{error, info, warn};

use crate::args::{Args, DaemonArgs};
use crate::claim::{Attempts, ClaimReader, Refresher, Turns, ask_again, refresh};
use crate::command::answer;
use crate::driver::Driver;
use crate::events::Events;
use crate::health::HealthBook;
use crate::hook::Hook;
use crate::inventory::{self, Inventory};
use crate::kubelet::{self, SocketPaths};
use crate::metrics::Metrics;
use crate::server::Server;
use crate::status::{self, StatusQueue};
use crate::store::{Book, Disk};

/// Exit code of a configuration that is refused.
const REFUSED: u8 = 3;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Runs the daemon until the token is cancelled, or answers a sub-command.
///
/// # Errors
/// What ended the process, with its exit code: 3 configuration, 4 database locked, 5 database newer, 6 state directory.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Exit> {
    if let Some(command) = args.command {
        print(&answer(command, &args.bus).await?);
        return Ok(());
    }
    let node = &args.node.node_name;
    let telemetry = telemetry::init(Component::DraPlugin, node, &args.telemetry)?;
    let result = daemon(&args, telemetry.log_filter(), shutdown).await;
    telemetry.shutdown().await;
    result
}

async fn daemon(
    args: &Args,
    log_filter: LogFilter,
    shutdown: CancellationToken,
) -> Result<(), Exit> {
    let DaemonArgs {
        kubelet_root_dir,
        state_dir,
        kubeconfig,
    } = &args.daemon;
    let NodeArgs {
        driver_name,
        node_name,
    } = &args.node;
    if node_name.is_empty() {
        let text = "the name of this node is missing (--node-name, NODE_NAME)";
        return Err(Exit::new(REFUSED, anyhow::anyhow!(text)));
    }
    let sockets = SocketPaths::new(kubelet_root_dir, driver_name);
    let sockets = sockets.map_err(|error| Exit::new(REFUSED, error))?;
    let cluster = connect(kubeconfig.as_deref()).await;
    let cluster = cluster
        .map_err(|error| Exit::new(REFUSED, error))?
        .ok_or_else(|| {
            let text = "there is no API server to ask: not in a pod, and no --kubeconfig";
            Exit::new(REFUSED, anyhow::anyhow!(text))
        })?;
    let health = Health::default();
    let mut registry = http::registry(Component::DraPlugin);
    let metrics = Metrics::new(&mut registry);
    let book = open_book(state_dir, &metrics, &health.part("store"))?;

    let mut tasks = Tasks::new(shutdown);
    let driver = driver(args, &cluster, book, metrics, &health, &mut tasks)?;
    info!(driver = %driver.name, node = driver.node, records = driver.book.records().len(), "dra-plugin starts");
    spawn_servers(
        &mut tasks,
        args,
        &driver,
        sockets,
        registry,
        health.clone(),
        log_filter,
    )?;
    spawn_workers(&mut tasks, args, &driver, &health);
    Ok(tasks.run().await?)
}

/// Opens the state database; says what of it was lost.
fn open_book(dir: &Path, metrics: &Metrics, part: &Part) -> Result<Book, Exit> {
    let opened = Disk::open(dir).map_err(|error| Exit::new(error.exit_code(), error));
    let (disk, contents) = opened?;
    if let Some(aside) = &contents.replaced {
        metrics.rebuilt();
        metrics.database_error("open");
        error!(path = %aside.display(), "state database begun anew; the former one is kept for inspection");
    }
    for (key, reason) in &contents.damaged {
        metrics.database_error("decode");
        error!(
            claimUID = key,
            err = reason,
            "record set aside: it cannot be read"
        );
    }
    let book = Book::start(Box::new(disk), contents, metrics.clone())?;
    part.ready();
    Ok(book)
}

fn driver(
    args: &Args,
    cluster: &Cluster,
    book: Book,
    metrics: Metrics,
    health: &Health,
    tasks: &mut Tasks,
) -> Result<Arc<Driver>, Exit> {
    let name = args.node.driver_name.clone();
    let node = args.node.node_name.clone();
    let claims = Arc::new(ClaimReader::new(cluster.client().clone()));
    let (recorder, write) = EventRecorder::new(cluster.client().clone(), &name, &node);
    let stop = tasks.shutdown();
    tasks.spawn(
        "events",
        until(stop, async move {
            write.await;
            // The recorder lives as long as the driver.
            std::future::pending().await
        }),
    );
    let hook = Hook::new(
        node.clone(),
        book.is_whole(),
        metrics.clone(),
        health.part("hook"),
    );
    let boot_id = std::fs::read_to_string(BOOT_ID)?.trim().to_owned();
    Ok(Arc::new(Driver {
        events: Events::new(recorder, Arc::clone(&claims), &node),
        status: StatusQueue::new(metrics.clone()),
        inventory: Arc::new(Inventory::default()),
        health: Arc::new(HealthBook::new(metrics.clone())),
        turns: Turns::default(),
        attempts: Attempts::default(),
        refresher: Refresher::default(),
        hook: Arc::new(hook),
        name,
        node,
        boot_id,
        claims,
        book,
        metrics,
    }))
}

/// What others call: the bus, the kubelet, probes.
fn spawn_servers(
    tasks: &mut Tasks,
    args: &Args,
    driver: &Arc<Driver>,
    sockets: SocketPaths,
    registry: Registry,
    health: Health,
    log_filter: LogFilter,
) -> Result<(), Exit> {
    let stop = || tasks.shutdown();
    let state = Arc::clone(driver);
    let dump = move || dump(&state);
    let component = Component::DraPlugin;
    let admin = admin::service(component, health.clone(), log_filter, dump);
    // The hook is needed until the kubelet's last call has been answered.
    let answered = CancellationToken::new();
    let claims = Server::service(Arc::clone(driver), answered.clone());
    let routes = Routes::new(admin).add_service(claims);
    let listener = bus::listen(args.bus.dir(), component)?;
    let bus = bus::serve(listener, routes, answered.clone());
    let kubelet = kubelet::serve(Arc::clone(driver), sockets, health.part("kubelet"), stop());
    let (registry, stop, http) = (Arc::new(registry), stop(), args.http.clone());
    tasks.spawn("bus", bus);
    tasks.spawn("kubelet", async move {
        let _answered = answered.drop_guard();
        kubelet.await
    });
    tasks.spawn("http", async move {
        http::serve(component, &http, registry, health, stop).await
    });
    Ok(())
}

/// What goes on by itself.
fn spawn_workers(tasks: &mut Tasks, args: &Args, driver: &Arc<Driver>, health: &Health) {
    let stop = || tasks.shutdown();
    let inventory = inventory::follow(
        Arc::clone(&driver.inventory),
        bus::channel(args.bus.dir(), Component::Discovery),
        driver.book.clone(),
        Arc::clone(&driver.health),
        driver.hook.told(),
        driver.metrics.clone(),
        health.part("inventory"),
    );
    let inventory = until(stop(), inventory);
    let returning = Arc::clone(driver);
    let returning = until(stop(), async move { returning.let_go_what_returns().await });
    let writing = Arc::clone(driver);
    let status = until(stop(), async move { status::write(&writing).await });
    let refreshing = Arc::clone(driver);
    let refresh = until(stop(), async move {
        tokio::select! {
            never = refresh(&refreshing) => never,
            never = ask_again(&refreshing) => never,
        }
    });
    let api = find_api(Arc::clone(&driver.claims), health.part("api"));
    let api = until(stop(), api);
    let book = driver.book.clone();
    let (store, stop) = (async move { book.closed().await }, stop());
    tasks.spawn("inventory", inventory);
    tasks.spawn("quarantine", returning);
    tasks.spawn("status", status);
    tasks.spawn("refresh", refresh);
    tasks.spawn("api", api);
    tasks.spawn("store", async move {
        tokio::select! {
            () = store => {}
            () = stop.cancelled() => {}
        }
        Ok::<(), Infallible>(())
    });
}

/// Work without an end, until the token is cancelled.
async fn until(
    stop: CancellationToken,
    work: impl Future<Output = Infallible>,
) -> Result<(), Infallible> {
    tokio::select! {
        never = work => match never {},
        () = stop.cancelled() => Ok(()),
    }
}

/// Finds out at start which version of ResourceClaims is served, so that no claim has to wait for that.
async fn find_api(claims: Arc<ClaimReader>, part: Part) -> Infallible {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    let mut said = String::new();
    loop {
        match claims.served_api().await {
            Ok(api) => {
                info!(version = api.as_str(), "ResourceClaims are served");
                part.ready();
                return std::future::pending().await;
            }
            Err(error) => {
                let text = sentence(&error);
                if text != said {
                    warn!(err = text, "API server not asked; will retry");
                }
                part.not_ready(&text);
                said = text;
            }
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// The inner state, for people.
fn dump(driver: &Driver) -> serde_json::Value {
    let records = driver.book.records();
    let quarantined = driver.book.quarantined();
    let devices: Vec<_> = driver
        .inventory
        .names()
        .iter()
        .map(ToString::to_string)
        .collect();
    let hook = match driver.hook.ready() {
        Ok(()) => "ready".to_owned(),
        Err(error) => error.to_string(),
    };
    json!({
        "driver": driver.name.as_str(),
        "node": driver.node,
        "bootID": driver.boot_id,
        "hook": hook,
        "devices": devices,
        "claims": crate::command::json(records.iter().map(|record| &**record)),
        "quarantined": crate::quarantine::json(quarantined.values().map(|q| &**q)),
    })
}
