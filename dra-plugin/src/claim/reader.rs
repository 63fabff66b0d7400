//! Reading ResourceClaims from the API server, in whichever version it serves.

use std::time::Duration;

use kube::core::DynamicObject;
use kube::{Api, Client};
use network_driver_common::model::ClaimRef;
use network_driver_kubernetes::{ResourceApi, VersionError};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Longest wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a claim was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadClaimError {
    /// There is none of this name.
    #[error("claim {namespace}/{name} does not exist")]
    NotFound {
        /// Namespace asked for.
        namespace: String,
        /// Name asked for.
        name: String,
    },
    /// Which version the server serves could not be found out.
    #[error("find the version of ResourceClaims that the API server serves")]
    Version(#[source] VersionError),
    /// The server refused.
    #[error("the API server does not show claim {namespace}/{name} (HTTP {code}: {message})")]
    Refused {
        /// Namespace asked for.
        namespace: String,
        /// Name asked for.
        name: String,
        /// HTTP status.
        code: u16,
        /// The server's sentence.
        message: String,
    },
    /// The server could not be reached.
    #[error("ask the API server for claim {namespace}/{name}; will retry")]
    Request {
        /// Namespace asked for.
        namespace: String,
        /// Name asked for.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server was too slow.
    #[error("the API server did not answer within {} s; will retry", TIMEOUT.as_secs())]
    TimedOut,
}

/// Reads claims.
pub(crate) struct ClaimReader {
    client: Client,
    api: OnceCell<ResourceApi>,
}

impl std::fmt::Debug for ClaimReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimReader")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl ClaimReader {
    /// Reads through this client.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            api: OnceCell::new(),
        }
    }

    /// The version that the server serves; asked for until it was answered once.
    ///
    /// # Errors
    /// The server cannot be reached, or serves none that we know.
    pub(crate) async fn served_api(&self) -> Result<ResourceApi, VersionError> {
        let served = || ResourceApi::served(&self.client);
        self.api.get_or_try_init(served).await.copied()
    }

    /// The version, if it is known by now.
    pub(crate) fn known_api(&self) -> Option<ResourceApi> {
        self.api.get().copied()
    }

    /// Claims of a namespace, in the version that the server serves.
    ///
    /// # Errors
    /// As [`ClaimReader::served_api`].
    pub(crate) async fn claims(&self, namespace: &str) -> Result<Api<DynamicObject>, VersionError> {
        let resource = self.served_api().await?.claims();
        Ok(Api::namespaced_with(
            self.client.clone(),
            namespace,
            &resource,
        ))
    }

    /// The object that has the claim's name now; whether it is the claim is for the caller to check.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(crate) async fn read(&self, claim: &ClaimRef) -> Result<Value, ReadClaimError> {
        tokio::time::timeout(TIMEOUT, self.request(claim))
            .await
            .unwrap_or(Err(ReadClaimError::TimedOut))
    }

    async fn request(&self, claim: &ClaimRef) -> Result<Value, ReadClaimError> {
        let claims = self.claims(&claim.namespace).await;
        let claims = claims.map_err(ReadClaimError::Version)?;
        let (namespace, name) = (claim.namespace.clone(), claim.name.clone());
        let failed = |source| ReadClaimError::Request {
            namespace: namespace.clone(),
            name: name.clone(),
            source: Box::new(source),
        };
        match claims.get(&claim.name).await {
            Ok(object) => {
                serde_json::to_value(object).map_err(|error| failed(kube::Error::SerdeError(error)))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Err(ReadClaimError::NotFound { namespace, name })
            }
            Err(kube::Error::Api(status)) => Err(ReadClaimError::Refused {
                namespace,
                name,
                code: status.code,
                message: status.message.chars().take(500).collect(),
            }),
            Err(error) => Err(failed(error)),
        }
    }
}
