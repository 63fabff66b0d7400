//! Keeps the node's ResourceSlices what they should be: writes when the inventory changes, when somebody else edits or
//! deletes one, and after an error, no oftener than the damper allows.
//!
//! # Assumptions
//! One daemon per node: a second one would be taken for somebody who edits our slices, and damped as such.

mod cycle;
mod trace;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use network_driver_common::bus::Backoff;
use network_driver_common::health::Part;
use network_driver_common::model::DriverName;
use network_driver_kubernetes::{Cluster, ResourceApi, VersionError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::plan::Owner;
use crate::chain;
use crate::inventory::View;
use crate::metrics::Metrics;
use crate::node;
use cycle::Cycle;

/// Longest wait for what the server says of itself and of the node.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// What the publisher works with.
#[derive(Debug)]
pub struct Publisher {
    /// The API server.
    pub cluster: Cluster,
    /// Name of the driver.
    pub driver: DriverName,
    /// Name of the node.
    pub node: String,
    /// Least time between two writes.
    pub interval: Duration,
    /// The inventory; `None` until the node has been read once.
    pub view: watch::Receiver<Option<Arc<View>>>,
    /// Where the addresses of the node and of the API server go.
    pub destinations: watch::Sender<BTreeSet<IpAddr>>,
    /// What is counted.
    pub metrics: Metrics,
    /// Readiness of the connection to the cluster.
    pub health: Part,
}

impl Publisher {
    /// Publishes until the token is cancelled. Errors of the API server are waited out, with the reason in the log and
    /// in readiness.
    pub async fn run(self, shutdown: CancellationToken) {
        let work = async {
            let owner = self.owner().await;
            Cycle::new(&self, owner).run().await;
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Asks until the server has told its version and the node's UID.
    async fn owner(&self) -> Owner {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_mins(1));
        let mut said = String::new();
        loop {
            match in_time(self.try_owner()).await {
                Ok(owner) => return owner,
                Err(error) => {
                    let text = chain(&error);
                    if said != text {
                        tracing::warn!(err = text, "the API server cannot be used yet");
                        said.clone_from(&text);
                    }
                    self.health.not_ready(text);
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        }
    }

    async fn try_owner(&self) -> Result<Owner, ReadOwnerError> {
        let api = ResourceApi::served(self.cluster.client()).await?;
        let node_uid = self.read_node().await?;
        tracing::info!(version = api.as_str(), "resource.k8s.io version chosen");
        Ok(Owner {
            api,
            driver: self.driver.clone(),
            node: self.node.clone(),
            node_uid,
        })
    }

    /// Reads the node, passes its addresses on with those of the API server, and returns its UID.
    async fn read_node(&self) -> Result<String, ReadOwnerError> {
        let facts = node::read(self.cluster.client(), &self.node).await?;
        let mut destinations = self.cluster.addresses().await;
        destinations.extend(facts.addresses);
        self.destinations.send_if_modified(|known| {
            let changed = *known != destinations;
            *known = destinations;
            changed
        });
        Ok(facts.uid)
    }
}

/// The cluster does not yet say what the slices need.
#[derive(Debug, thiserror::Error)]
enum ReadOwnerError {
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Node(#[from] node::ReadNodeError),
    #[error("the API server does not answer within 30 s")]
    Late,
}

async fn in_time<T>(
    reading: impl Future<Output = Result<T, ReadOwnerError>>,
) -> Result<T, ReadOwnerError> {
    let read = tokio::time::timeout(READ_TIMEOUT, reading).await;
    read.unwrap_or(Err(ReadOwnerError::Late))
}
