//! The DRA service as older kubelets call it: v1beta1 (1.32, 1.33) and v1alpha3 (1.31). The fields are those of v1 but
//! for `share_id`, so every call is converted and handed to v1.

use network_driver_proto::dra_v1::dra_plugin_server::DraPlugin as V1;
use network_driver_proto::dra_v1alpha3::node_server as alpha;
use network_driver_proto::dra_v1beta1::dra_plugin_server as beta;
use network_driver_proto::{dra_v1, dra_v1alpha3, dra_v1beta1};
use tonic::{Request, Response, Status};

use super::v1::Plugin;

/// The v1 plugin, called in another version.
#[derive(Debug)]
pub(super) struct Older(Plugin);

pub(super) fn v1beta1(plugin: Plugin) -> beta::DraPluginServer<Older> {
    beta::DraPluginServer::new(Older(plugin))
}

pub(super) fn v1alpha3(plugin: Plugin) -> alpha::NodeServer<Older> {
    alpha::NodeServer::new(Older(plugin))
}

/// One version's service; the versions are the same field for field.
macro_rules! service {
    ($server:ident::$service:ident, $version:ident) => {
        #[tonic::async_trait]
        impl $server::$service for Older {
            async fn node_prepare_resources(
                &self,
                request: Request<$version::NodePrepareResourcesRequest>,
            ) -> Result<Response<$version::NodePrepareResourcesResponse>, Status> {
                let newer = |claim: $version::Claim| dra_v1::Claim {
                    namespace: claim.namespace,
                    uid: claim.uid,
                    name: claim.name,
                };
                let request = request.map(|request| dra_v1::NodePrepareResourcesRequest {
                    claims: request.claims.into_iter().map(newer).collect(),
                });
                let response = V1::node_prepare_resources(&self.0, request).await?;
                let device = |device: dra_v1::Device| $version::Device {
                    request_names: device.request_names,
                    pool_name: device.pool_name,
                    device_name: device.device_name,
                    cdi_device_ids: device.cdi_device_ids,
                };
                let answer = |(uid, answer): (String, dra_v1::NodePrepareResourceResponse)| {
                    let older = $version::NodePrepareResourceResponse {
                        devices: answer.devices.into_iter().map(device).collect(),
                        error: answer.error,
                    };
                    (uid, older)
                };
                Ok(
                    response.map(|response| $version::NodePrepareResourcesResponse {
                        claims: response.claims.into_iter().map(answer).collect(),
                    }),
                )
            }

            async fn node_unprepare_resources(
                &self,
                request: Request<$version::NodeUnprepareResourcesRequest>,
            ) -> Result<Response<$version::NodeUnprepareResourcesResponse>, Status> {
                let newer = |claim: $version::Claim| dra_v1::Claim {
                    namespace: claim.namespace,
                    uid: claim.uid,
                    name: claim.name,
                };
                let request = request.map(|request| dra_v1::NodeUnprepareResourcesRequest {
                    claims: request.claims.into_iter().map(newer).collect(),
                });
                let response = V1::node_unprepare_resources(&self.0, request).await?;
                let answer = |(uid, answer): (String, dra_v1::NodeUnprepareResourceResponse)| {
                    let error = answer.error;
                    (uid, $version::NodeUnprepareResourceResponse { error })
                };
                Ok(
                    response.map(|response| $version::NodeUnprepareResourcesResponse {
                        claims: response.claims.into_iter().map(answer).collect(),
                    }),
                )
            }
        }
    };
}

service!(beta::DraPlugin, dra_v1beta1);
service!(alpha::Node, dra_v1alpha3);
