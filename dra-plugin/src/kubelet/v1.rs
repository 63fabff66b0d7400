//! The DRA service in its newest version, the one that does the work. Claims of one call are worked on at the same
//! time; each gets an answer of its own, whatever becomes of the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use network_driver_common::error::sentence;
use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimRef, ClaimUid};
use network_driver_proto::dra_v1::dra_plugin_server::{DraPlugin, DraPluginServer};
use network_driver_proto::dra_v1::{
    Claim, Device, NodePrepareResourceResponse, NodePrepareResourcesRequest,
    NodePrepareResourcesResponse, NodeUnprepareResourceResponse, NodeUnprepareResourcesRequest,
    NodeUnprepareResourcesResponse,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::claim::{PrepareError, Prepared};
use crate::driver::Driver;

/// Longest a claim may take: the kubelet waits 45 s, and an answer has to reach it before that.
const DEADLINE: Duration = Duration::from_secs(40);

/// The DRA plugin. Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    driver: Arc<Driver>,
}

impl Plugin {
    pub(super) fn new(driver: Arc<Driver>) -> Self {
        Self { driver }
    }

    pub(super) fn service(self) -> DraPluginServer<Self> {
        DraPluginServer::new(self)
    }

    async fn prepare_claim(
        &self,
        claim: Claim,
        deadline: Duration,
    ) -> (String, NodePrepareResourceResponse) {
        let key = claim.uid.clone();
        let prepared = match claim_ref(claim) {
            Ok(claim) => self
                .driver
                .prepare(&claim, deadline)
                .await
                .map(|prepared| self.devices(&claim.uid, prepared)),
            Err(error) => Err(PrepareError::InvalidUid(error)),
        };
        let response = match prepared {
            Ok(devices) => NodePrepareResourceResponse {
                devices,
                error: String::new(),
            },
            Err(error) => NodePrepareResourceResponse {
                devices: Vec::new(),
                error: sentence(&error),
            },
        };
        (key, response)
    }

    fn devices(&self, claim: &ClaimUid, prepared: Prepared) -> Vec<Device> {
        let cdi_id = self.driver.cdi_id(claim);
        let device = |device: crate::claim::PreparedDevice| Device {
            request_names: vec![device.request],
            pool_name: device.pool,
            device_name: device.device.to_string(),
            cdi_device_ids: vec![cdi_id.clone()],
            share_id: None,
        };
        prepared.devices.into_iter().map(device).collect()
    }

    async fn unprepare_claim(
        &self,
        claim: Claim,
        deadline: Duration,
    ) -> (String, NodeUnprepareResourceResponse) {
        let key = claim.uid.clone();
        let error = match claim_ref(claim) {
            Ok(claim) => {
                let unprepared = self.driver.unprepare(&claim, deadline).await;
                unprepared.err().map(|error| sentence(&error))
            }
            // What cannot be a claim was never prepared.
            Err(_) => None,
        };
        let error = error.unwrap_or_default();
        (key, NodeUnprepareResourceResponse { error })
    }
}

#[tonic::async_trait]
impl DraPlugin for Plugin {
    async fn node_prepare_resources(
        &self,
        request: Request<NodePrepareResourcesRequest>,
    ) -> Result<Response<NodePrepareResourcesResponse>, Status> {
        let deadline = deadline(request.metadata());
        let claims = request.into_inner().claims.into_iter();
        let claims = join_all(claims.map(|claim| self.prepare_claim(claim, deadline))).await;
        let claims: BTreeMap<_, _> = claims.into_iter().collect();
        fail::soon(Point::PrepareAnswered);
        Ok(Response::new(NodePrepareResourcesResponse { claims }))
    }

    async fn node_unprepare_resources(
        &self,
        request: Request<NodeUnprepareResourcesRequest>,
    ) -> Result<Response<NodeUnprepareResourcesResponse>, Status> {
        let deadline = deadline(request.metadata());
        let claims = request.into_inner().claims.into_iter();
        let claims = join_all(claims.map(|claim| self.unprepare_claim(claim, deadline))).await;
        let claims: BTreeMap<_, _> = claims.into_iter().collect();
        Ok(Response::new(NodeUnprepareResourcesResponse { claims }))
    }
}

fn claim_ref(claim: Claim) -> Result<ClaimRef, network_driver_common::model::InvalidId> {
    Ok(ClaimRef {
        uid: claim.uid.parse()?,
        namespace: claim.namespace,
        name: claim.name,
    })
}

/// Ours, or a part of the caller's where that is less: each claim's own error is better than none for the call.
fn deadline(metadata: &MetadataMap) -> Duration {
    let timeout = metadata.get("grpc-timeout");
    let timeout = timeout
        .and_then(|value| value.to_str().ok())
        .and_then(grpc_timeout);
    timeout.map_or(DEADLINE, |timeout| timeout.mul_f64(0.9).min(DEADLINE))
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_is_kept_when_it_is_the_shorter_one() {
        for (header, want) in [
            (None, DEADLINE),
            (Some("44999972u"), DEADLINE),
            (Some("10S"), Duration::from_secs(9)),
            (Some("1000m"), Duration::from_millis(900)),
            (Some("1H"), DEADLINE),
            (Some("nonsense"), DEADLINE),
            (Some("S"), DEADLINE),
            (Some("123456789S"), DEADLINE),
        ] {
            let mut metadata = MetadataMap::new();
            if let Some(header) = header {
                metadata.insert("grpc-timeout", header.parse().unwrap());
            }
            assert_eq!(deadline(&metadata), want, "{header:?}");
        }
    }
}
