//! discovery: finds the node's network interfaces and offers them to Kubernetes.
//!
//! ```text
//! rtnetlink ──► scan ──► inventory ──► View ─┬─► slice::publisher ──► API server
//! sysfs ──────► attribute ─┘  ▲              └─► server ◄──► dra-plugin
//!                   filter ───┘
//! ```
//! The netlink crate says what there is, [`attribute`] what is said of it, [`filter`] what is offered,
//! [`inventory`] keeps it together (pure), [`scan`] keeps it true, [`mod@slice`] publishes it, [`server`] tells dra-plugin.
//! It only reads: no link is ever changed here.
#![deny(missing_docs)]

pub mod args;
pub mod attribute;
pub mod command;
pub mod config;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod inventory;
pub mod metrics;
pub mod node;
pub mod scan;
pub mod server;
pub mod slice;
pub mod verify;
pub use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use network_driver_common::bus::{self, Component};
use network_driver_common::health::Health;
use network_driver_common::runtime::{Exit, Tasks};
use network_driver_common::telemetry::{self, LogFilter};
use network_driver_common::{admin, metrics as http};
use network_driver_kubernetes::{Cluster, connect};
use network_driver_proto::bus::inventory_server::InventoryServer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use args::{Args, ClusterArgs};
use config::InvalidConfig;
use metrics::Metrics;
use scan::{Scanner, Wires};
use server::Server;
use slice::publisher::Publisher;

/// Exit code of a configuration that is refused.
const REFUSED: u8 = 3;

/// Runs what the command line asks for.
///
/// # Errors
/// A configuration that is refused (exit code 3), or whatever ended the daemon.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), Exit> {
    if let Some(command) = args.command.clone() {
        return command::run(args, command).await;
    }
    let node = &args.node.node_name;
    let telemetry = telemetry::init(Component::Discovery, node, &args.telemetry)?;
    let result = daemon(args, telemetry.log_filter(), shutdown).await;
    telemetry.shutdown().await;
    result
}

async fn daemon(
    args: Args,
    log_filter: LogFilter,
    shutdown: CancellationToken,
) -> Result<(), Exit> {
    let driver = args.node.driver_name.clone();
    let (inventory, sysfs) =
        config::inventory(args.offer, &driver).map_err(|error| Exit::new(REFUSED, error))?;
    let cluster = cluster(&args.cluster, &args.node.node_name).await?;
    let mut registry = http::registry(Component::Discovery);
    let metrics = Metrics::new(&mut registry);
    let health = Health::default();
    let (view_sent, view) = watch::channel(None);
    let (in_use_sent, in_use) = watch::channel(None);
    let (destinations_sent, destinations) = watch::channel(BTreeSet::new());

    let scanner = Scanner::new(inventory, sysfs, metrics.clone())?;
    let wires = Wires {
        in_use,
        destinations,
        view: view_sent,
        health: health.part("netlink"),
    };
    let listener = bus::listen(args.bus.dir(), Component::Discovery)?;
    let server = Server::new(view.clone(), in_use_sent, metrics.clone(), shutdown.clone());
    let dumped = view.clone();
    let dump = move || {
        let view = dumped.borrow().clone();
        view.map_or(serde_json::Value::Null, |view| {
            command::json(&server::list(&view))
        })
    };
    let admin = admin::service(Component::Discovery, health.clone(), log_filter, dump);
    let routes = Routes::new(InventoryServer::new(server)).add_service(admin);

    let mut tasks = Tasks::new(shutdown.clone());
    tasks.spawn("scan", scanner.run(wires, shutdown.clone()));
    tasks.spawn("bus", bus::serve(listener, routes, shutdown.clone()));
    let kubernetes = health.part("kubernetes");
    if let Some(cluster) = cluster {
        let publisher = Publisher {
            cluster,
            driver,
            node: args.node.node_name,
            interval: args.cluster.publish_interval.0,
            view,
            destinations: destinations_sent,
            metrics,
            health: kubernetes,
        };
        let stop = shutdown.clone();
        tasks.spawn("publisher", async move {
            publisher.run(stop).await;
            Ok::<_, std::convert::Infallible>(())
        });
    } else {
        tracing::info!("no cluster configured: nothing is published");
        kubernetes.ready();
    }
    let registry = Arc::new(registry);
    tasks.spawn("http", async move {
        http::serve(Component::Discovery, &args.http, registry, health, shutdown).await
    });
    Ok(tasks.run().await?)
}

/// The cluster, if there is one.
async fn cluster(args: &ClusterArgs, node: &str) -> Result<Option<Cluster>, Exit> {
    let cluster = connect(args.kubeconfig.as_deref()).await;
    let cluster = cluster.map_err(|error| Exit::new(REFUSED, error))?;
    if cluster.is_some() && node.is_empty() {
        return Err(Exit::new(REFUSED, InvalidConfig::NoNodeName));
    }
    Ok(cluster)
}

/// An error with its causes, for a log line. What the API server answers is told in its own words.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let boxed = error.downcast_ref::<Box<kube::Error>>();
        if let Some(kube::Error::Api(status)) = error.downcast_ref().or(boxed.map(|e| &**e)) {
            texts.push(format!("{} (status {})", status.message, status.code));
            break;
        }
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_api_server_is_told_in_its_own_words() {
        let status = kube::core::Status::failure("no such node", "NotFound").with_code(404);
        let error = node::ReadNodeError::Get {
            name: "node-1".to_owned(),
            source: Box::new(kube::Error::Api(status.boxed())),
        };
        assert_eq!(chain(&error), "read node node-1: no such node (status 404)");
    }
}
