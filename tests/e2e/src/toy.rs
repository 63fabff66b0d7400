//! Another DRA driver, as small as one can be: it offers one device on a PCIe root, and its kubelet plugin says yes to all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceSlice};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use network_driver_proto::dra_v1::dra_plugin_server::{DraPlugin, DraPluginServer};
use network_driver_proto::dra_v1::{
    Device, NodePrepareResourceResponse, NodePrepareResourcesRequest, NodePrepareResourcesResponse,
    NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest, NodeUnprepareResourcesResponse,
};
use network_driver_proto::pluginregistration::registration_server::{
    Registration, RegistrationServer,
};
use network_driver_proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::cluster::{Cluster, NODE};

/// Name of the driver, of its DeviceClass, and of its slice.
pub(crate) const TOY: &str = "toy.example.com";
/// The kubelet's folder.
const KUBELET: &str = "/var/lib/kubelet";

/// The driver; it serves the kubelet until dropped.
#[derive(Debug)]
pub(crate) struct Toy {
    servers: Vec<JoinHandle<()>>,
    sockets: Vec<PathBuf>,
}

impl Toy {
    /// Serves the kubelet, and offers one device with this PCIe root.
    ///
    /// # Errors
    /// A socket cannot be made, or the API server refuses an object.
    pub(crate) async fn offer(cluster: &Cluster, pcie_root: &str) -> Result<Self> {
        // With an `@` in its name: tonic refuses a call that is addressed to a percent-encoded path otherwise.
        let folder = Path::new(KUBELET).join("plugins").join(TOY);
        fs::create_dir_all(&folder)?;
        let endpoint = folder.join("toy@dra.sock");
        let registry = Path::new(KUBELET)
            .join("plugins_registry")
            .join(format!("{TOY}@reg.sock"));
        let plugin = Plugin {
            endpoint: endpoint.clone(),
        };
        let toy = Self {
            servers: vec![
                serve(&endpoint, Routes::new(DraPluginServer::new(plugin.clone())))?,
                serve(&registry, Routes::new(RegistrationServer::new(plugin)))?,
            ],
            sockets: vec![endpoint, registry],
        };
        let class = json!({
            "metadata": {"name": TOY},
            "spec": {"selectors": [{"cel": {"expression": format!(r#"device.driver == "{TOY}""#)}}]},
        });
        let slice = json!({
            "metadata": {"name": TOY},
            "spec": {
                "driver": TOY,
                "nodeName": NODE,
                "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1},
                "devices": [{
                    "name": "toy0",
                    "attributes": {"resource.kubernetes.io/pcieRoot": {"string": pcie_root}},
                }],
            },
        });
        let now = PostParams::default();
        let classes: Api<DeviceClass> = Api::all(cluster.client.clone());
        classes
            .create(&now, &serde_json::from_value(class)?)
            .await?;
        let slices: Api<ResourceSlice> = Api::all(cluster.client.clone());
        slices.create(&now, &serde_json::from_value(slice)?).await?;
        Ok(toy)
    }

    /// Takes back what it offers.
    ///
    /// # Errors
    /// The API server refuses.
    pub(crate) async fn withdraw(self, cluster: &Cluster) -> Result<()> {
        let now = DeleteParams::default();
        let slices: Api<ResourceSlice> = Api::all(cluster.client.clone());
        slices.delete(TOY, &now).await?;
        let classes: Api<DeviceClass> = Api::all(cluster.client.clone());
        classes.delete(TOY, &now).await?;
        Ok(())
    }
}

impl Drop for Toy {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
        for socket in &self.sockets {
            // The kubelet forgets a plugin whose socket is gone.
            drop(fs::remove_file(socket));
        }
    }
}

fn serve(socket: &Path, routes: Routes) -> Result<JoinHandle<()>> {
    drop(fs::remove_file(socket));
    let listener = UnixListener::bind(socket);
    let listener = listener.with_context(|| format!("make {}", socket.display()))?;
    let server = Server::builder().add_routes(routes);
    Ok(tokio::spawn(async move {
        drop(
            server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await,
        );
    }))
}

#[derive(Debug, Clone)]
struct Plugin {
    endpoint: PathBuf,
}

#[tonic::async_trait]
impl Registration for Plugin {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "DRAPlugin".to_owned(),
            name: TOY.to_owned(),
            endpoint: self.endpoint.to_string_lossy().into_owned(),
            supported_versions: vec!["v1.DRAPlugin".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        _: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[tonic::async_trait]
impl DraPlugin for Plugin {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let device = Device {
            pool_name: NODE.to_owned(),
            device_name: "toy0".to_owned(),
            ..Device::default()
        };
        let prepared = NodePrepareResourceResponse {
            devices: vec![device],
            error: String::new(),
        };
        let claims = request.into_inner().claims.into_iter();
        let claims = claims.map(|claim| (claim.uid, prepared.clone())).collect();
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let claims = request.into_inner().claims.into_iter();
        let claims = claims
            .map(|claim| (claim.uid, NodeUnprepareResourceResponse::default()))
            .collect();
        Ok(Response::new(NodeUnprepareResourcesResponse { claims }))
    }
}
