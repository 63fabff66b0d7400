//! The DRA service as kubelets before 1.34 call it: the same fields but for `share_id`, so every call is converted and
//! handed to v1.

use network_driver_proto::dra_v1;
use network_driver_proto::dra_v1::dra_plugin_server::DraPlugin as V1;
use network_driver_proto::dra_v1beta1::dra_plugin_server::{DraPlugin, DraPluginServer};
use network_driver_proto::dra_v1beta1::{
    Claim, Device, NodePrepareResourceResponse, NodePrepareResourcesRequest,
    NodePrepareResourcesResponse, NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest,
    NodeUnprepareResourcesResponse,
};
use tonic::{Request, Response, Status};

use super::v1::Plugin;

/// The v1 plugin, called in this version.
#[derive(Debug)]
pub(super) struct Older(Plugin);

pub(super) fn service(plugin: Plugin) -> DraPluginServer<Older> {
    DraPluginServer::new(Older(plugin))
}

#[tonic::async_trait]
impl DraPlugin for Older {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let request = request.map(|request| dra_v1::NodePrepareResourcesRequest {
            claims: request.claims.into_iter().map(newer).collect(),
        });
        let response = V1::node_prepare_resources(&self.0, request).await?;
        let answer = |(uid, answer): (String, dra_v1::NodePrepareResourceResponse)| {
            let older = NodePrepareResourceResponse {
                devices: answer.devices.into_iter().map(older_device).collect(),
                error: answer.error,
            };
            (uid, older)
        };
        Ok(response.map(|response| NodePrepareResourcesResponse {
            claims: response.claims.into_iter().map(answer).collect(),
        }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let request = request.map(|request| dra_v1::NodeUnprepareResourcesRequest {
            claims: request.claims.into_iter().map(newer).collect(),
        });
        let response = V1::node_unprepare_resources(&self.0, request).await?;
        let answer = |(uid, answer): (String, dra_v1::NodeUnprepareResourceResponse)| {
            let error = answer.error;
            (uid, NodeUnprepareResourceResponse { error })
        };
        Ok(response.map(|response| NodeUnprepareResourcesResponse {
            claims: response.claims.into_iter().map(answer).collect(),
        }))
    }
}

fn newer(claim: Claim) -> dra_v1::Claim {
    let Claim {
        namespace,
        uid,
        name,
    } = claim;
    dra_v1::Claim {
        namespace,
        uid,
        name,
    }
}

fn older_device(device: dra_v1::Device) -> Device {
    Device {
        request_names: device.request_names,
        pool_name: device.pool_name,
        device_name: device.device_name,
        cdi_device_ids: device.cdi_device_ids,
    }
}
