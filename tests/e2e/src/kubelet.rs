//! What the kubelet asks of the driver, asked in its place.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::resource::v1::ResourceClaim;
use network_driver_proto::dra_v1::dra_plugin_client::DraPluginClient;
use network_driver_proto::dra_v1::{Claim, NodePrepareResourcesRequest};
use tonic::transport::Endpoint;

use crate::claim::DRIVER;

/// The kubelet's folder of plugins.
const PLUGINS: &str = "/var/lib/kubelet/plugins";

/// Has a claim prepared; returns the CDI ids that containers of the claim get.
///
/// # Errors
/// The driver refused: with what it said.
pub(crate) async fn prepare(claim: &ResourceClaim) -> Result<Vec<String>> {
    let socket = Path::new(PLUGINS).join(DRIVER).join("plugin@dra.sock");
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    let mut driver = DraPluginClient::new(endpoint.connect().await?);
    let metadata = claim.metadata.clone();
    let uid = metadata.uid.context("a claim without UID")?;
    let claim = Claim {
        namespace: metadata.namespace.unwrap_or_default(),
        uid: uid.clone(),
        name: metadata.name.unwrap_or_default(),
    };
    let request = NodePrepareResourcesRequest {
        claims: vec![claim],
    };
    let mut answer = driver.node_prepare_resources(request).await?.into_inner();
    let prepared = answer.claims.remove(&uid).context("no answer for it")?;
    ensure!(prepared.error.is_empty(), "refused: {}", prepared.error);
    let mut ids: Vec<_> = prepared
        .devices
        .into_iter()
        .flat_map(|device| device.cdi_device_ids)
        .collect();
    ids.dedup();
    ensure!(!ids.is_empty(), "prepared without a CDI id");
    Ok(ids)
}
