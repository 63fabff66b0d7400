//! Health of the devices, streamed to the kubelet: all devices at once, again after each change, and in any case before
//! the kubelet would take them for unknown. A device is healthy unless it is in quarantine or the hook says that it does
//! not work in its pod.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{Stream, StreamExt, stream};
use network_driver_common::model::DeviceName;
use network_driver_proto::health_v1::dra_resource_health_server as server_v1;
use network_driver_proto::health_v1alpha1::dra_resource_health_server as server_v1alpha1;
use network_driver_proto::{health_v1, health_v1alpha1};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::driver::Driver;

/// After this the kubelet takes a device that was not reported again for unknown.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often everything is reported again.
const REPEAT: Duration = Duration::from_secs(10);

/// The health service. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Health {
    driver: Arc<Driver>,
    shutdown: CancellationToken,
}

/// Health of one device; `None` is good health.
struct DeviceHealth {
    device: DeviceName,
    unhealthy: Option<String>,
}

impl Health {
    pub(super) fn new(driver: Arc<Driver>, shutdown: CancellationToken) -> Self {
        Self { driver, shutdown }
    }

    pub(super) fn service_v1(self) -> server_v1::DraResourceHealthServer<Self> {
        server_v1::DraResourceHealthServer::new(self)
    }

    pub(super) fn service_v1alpha1(self) -> server_v1alpha1::DraResourceHealthServer<Self> {
        server_v1alpha1::DraResourceHealthServer::new(self)
    }

    /// Reports as they are due; ends with the daemon.
    fn reports(&self) -> impl Stream<Item = Vec<DeviceHealth>> + Send + use<> {
        let inventory = WatchStream::from_changes(self.driver.inventory.changes());
        let records = WatchStream::from_changes(self.driver.book.changes());
        let health = WatchStream::from_changes(self.driver.health.changes());
        let repeat = tokio_stream::wrappers::IntervalStream::new(tokio::time::interval(REPEAT));
        let changes = stream::select(inventory.map(drop), records.map(drop));
        let changes = stream::select(changes, health.map(drop));
        let driver = Arc::clone(&self.driver);
        let shutdown = self.shutdown.clone();
        // The first tick of the interval comes at once.
        stream::select(repeat.map(drop), changes)
            .map(move |()| report(&driver))
            .take_until(shutdown.cancelled_owned())
    }
}

/// All devices that the inventory, a record or the quarantine names.
fn report(driver: &Driver) -> Vec<DeviceHealth> {
    let mut devices: BTreeSet<DeviceName> = driver.inventory.names().into_iter().collect();
    devices.extend(driver.book.quarantined().into_keys());
    for record in driver.book.records() {
        devices.extend(record.attachments.iter().map(|a| a.device.name.clone()));
    }
    let health = |device: DeviceName| DeviceHealth {
        unhealthy: driver.fault(&device).map(|fault| fault.message),
        device,
    };
    devices.into_iter().map(health).collect()
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// The two versions are the same field for field.
macro_rules! response {
    ($version:ident, $pool:expr, $report:expr) => {{
        let timeout = i64::try_from(TIMEOUT.as_secs()).unwrap_or_default();
        let device = |health: DeviceHealth| $version::DeviceHealth {
            device: Some($version::DeviceIdentifier {
                pool_name: $pool.clone(),
                device_name: health.device.to_string(),
            }),
            health: match health.unhealthy {
                None => $version::HealthStatus::Healthy.into(),
                Some(_) => $version::HealthStatus::Unhealthy.into(),
            },
            last_updated_time: unix_seconds(),
            health_check_timeout_seconds: timeout,
            message: health.unhealthy.unwrap_or_default(),
        };
        $version::NodeWatchResourcesResponse {
            devices: $report.into_iter().map(device).collect(),
        }
    }};
}

type Responses<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

#[tonic::async_trait]
impl server_v1::DraResourceHealth for Health {
    type NodeWatchResourcesStream = Responses<health_v1::NodeWatchResourcesResponse>;

    async fn node_watch_resources(
        &self,
        _: Request<health_v1::NodeWatchResourcesRequest>,
    ) -> Result<Response<Self::NodeWatchResourcesStream>, Status> {
        let pool = self.driver.node.clone();
        let reports = self.reports();
        let reports = reports.map(move |report| Ok(response!(health_v1, pool, report)));
        Ok(Response::new(Box::pin(reports)))
    }
}

#[tonic::async_trait]
impl server_v1alpha1::DraResourceHealth for Health {
    type NodeWatchResourcesStream = Responses<health_v1alpha1::NodeWatchResourcesResponse>;

    async fn node_watch_resources(
        &self,
        _: Request<health_v1alpha1::NodeWatchResourcesRequest>,
    ) -> Result<Response<Self::NodeWatchResourcesStream>, Status> {
        let pool = self.driver.node.clone();
        let reports = self.reports();
        let reports = reports.map(move |report| Ok(response!(health_v1alpha1, pool, report)));
        Ok(Response::new(Box::pin(reports)))
    }
}
