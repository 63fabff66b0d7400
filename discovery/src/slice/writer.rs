//! One write to the API server, with a deadline.

use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use network_driver_kubernetes::retry_after;

use super::plan::Write;

/// Longest wait for an answer, the client's own tries included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a slice was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("{verb} ResourceSlice")]
    Refused {
        verb: &'static str,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("{verb} ResourceSlice: no answer within 30 s")]
    Late { verb: &'static str },
}

impl PublishError {
    /// As a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "Refused",
            Self::Late { .. } => "TimedOut",
        }
    }

    /// How long the server asks to wait.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { source, .. } => retry_after(source),
            // It may have asked for longer than we waited.
            Self::Late { .. } => Some(TIMEOUT),
        }
    }
}

/// Writes slices.
pub(super) struct Writer {
    slices: Api<DynamicObject>,
}

impl Writer {
    pub(super) fn new(slices: Api<DynamicObject>) -> Self {
        Self { slices }
    }

    /// Where the slices are.
    pub(super) fn slices(&self) -> Api<DynamicObject> {
        self.slices.clone()
    }

    /// Carries out one write and returns what the server stored. To delete what is gone is no error.
    pub(super) async fn write(&self, write: &Write) -> Result<Option<DynamicObject>, PublishError> {
        let verb = write.verb();
        match tokio::time::timeout(TIMEOUT, self.send(write)).await {
            Ok(answer) => answer.map_err(|source| PublishError::Refused {
                verb,
                source: Box::new(source),
            }),
            Err(_) => Err(PublishError::Late { verb }),
        }
    }

    async fn send(&self, write: &Write) -> kube::Result<Option<DynamicObject>> {
        let parameters = PostParams::default();
        match write {
            Write::Delete {
                name,
                uid,
                resource_version,
            } => {
                let unchanged = DeleteParams::default().preconditions(Preconditions {
                    uid: uid.clone(),
                    resource_version: resource_version.clone(),
                });
                match self.slices.delete(name, &unchanged).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                    deleted => deleted.map(|_| None),
                }
            }
            Write::Update { object, .. } => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                self.slices
                    .replace(name, &parameters, object)
                    .await
                    .map(Some)
            }
            Write::Create { object, .. } => self.slices.create(&parameters, object).await.map(Some),
        }
    }
}
