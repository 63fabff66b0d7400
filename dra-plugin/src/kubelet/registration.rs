//! How the kubelet gets to know the driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use network_driver_common::health::Part;
use network_driver_proto::pluginregistration::registration_server::{
    Registration as Service, RegistrationServer,
};
use network_driver_proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::driver::Driver;
use crate::metrics::Metrics;

/// What the driver speaks, newest first: the kubelet takes the first that it knows. One list serves all kubelets, so
/// none has to be told apart.
const VERSIONS: [&str; 6] = [
    "v1.DRAPlugin",
    "v1beta1.DRAPlugin",
    "v1.DRAResourceHealth",
    "v1alpha1.DRAResourceHealth",
    "v1alpha3.Node",
    // Kubernetes 1.31 knows no names of services: it skips all that is no version number, wants a 1.x, and then calls
    // v1alpha3.Node (k8s.io/kubernetes v1.31, pkg/kubelet/cm/dra/plugin, `validateVersions`). Later ones skip this.
    "1.0.0",
];

/// The registration service. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Registration {
    name: Arc<str>,
    endpoint: PathBuf,
    part: Part,
    metrics: Metrics,
}

impl Registration {
    pub(super) fn new(driver: &Driver, endpoint: &Path, part: Part) -> Self {
        Self {
            name: driver.name.as_str().into(),
            endpoint: endpoint.to_owned(),
            part,
            metrics: driver.metrics.clone(),
        }
    }

    pub(super) fn routes(&self) -> Routes {
        Routes::new(RegistrationServer::new(self.clone()))
    }

    /// The socket was made: the kubelet has yet to find it.
    pub(super) fn waiting(&self) {
        self.unregistered("waiting for the kubelet to find the registration socket");
    }

    fn unregistered(&self, why: &str) {
        self.metrics.registered(false);
        self.part.not_ready(why);
    }
}

#[tonic::async_trait]
impl Service for Registration {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "DRAPlugin".to_owned(),
            name: self.name.to_string(),
            endpoint: self.endpoint.display().to_string(),
            supported_versions: VERSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            info!("registered with the kubelet");
            self.metrics.registered(true);
            self.part.ready();
            return Ok(Response::new(RegistrationStatusResponse {}));
        }
        let reason: String = status.error.chars().take(500).collect();
        warn!(
            err = reason,
            "the kubelet refuses the driver; it will try again"
        );
        self.unregistered(&format!("the kubelet refuses the driver: {reason}"));
        Err(Status::failed_precondition(format!(
            "registration refused: {reason}"
        )))
    }
}
