//! Which version of `resource.k8s.io` the API server serves. Asked once at start; a server is not downgraded under
//! a running driver, and an upgrade keeps older versions for releases.

use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};

/// A version of the API group `resource.k8s.io`, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceApi {
    /// Kubernetes 1.34 and later.
    V1,
    /// Kubernetes 1.33 (off by default there) to 1.38.
    V1beta2,
    /// Kubernetes 1.32 (off by default there) to 1.37.
    V1beta1,
    /// Kubernetes 1.31 to 1.33. Later servers keep the version for other kinds, without slices.
    V1alpha3,
}

/// Why no version was found.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// The server does not serve ResourceSlices in any version we know.
    #[error(
        "the API server serves no ResourceSlices (resource.k8s.io v1, v1beta2, v1beta1, v1alpha3): \
         Kubernetes 1.34 or later is needed, or the feature gate DynamicResourceAllocation and the API group"
    )]
    NotServed,
    /// The question failed.
    #[error("ask the API server for the resources of {api_version}")]
    Ask {
        /// `resource.k8s.io/<version>`.
        api_version: String,
        /// What went wrong.
        #[source]
        source: Box<Error>,
    },
}

impl ResourceApi {
    /// All versions, the preferred one first.
    pub const ALL: [Self; 4] = [Self::V1, Self::V1beta2, Self::V1beta1, Self::V1alpha3];

    /// The newest version in which the server serves ResourceSlices. One request on a current server.
    pub async fn served(client: &Client) -> Result<Self, VersionError> {
        for version in Self::ALL {
            let api_version = version.api_version();
            match client.list_api_group_resources(&api_version).await {
                Ok(list) if list.resources.iter().any(|r| r.name == "resourceslices") => {
                    return Ok(version);
                }
                Ok(_) => {}
                Err(Error::Api(status)) if status.code == 404 => {}
                Err(source) => {
                    return Err(VersionError::Ask {
                        api_version,
                        source: Box::new(source),
                    });
                }
            }
        }
        Err(VersionError::NotServed)
    }

    /// The version as in `apiVersion`, without the group.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta2 => "v1beta2",
            Self::V1beta1 => "v1beta1",
            Self::V1alpha3 => "v1alpha3",
        }
    }

    /// `resource.k8s.io/<version>`.
    pub fn api_version(self) -> String {
        format!("resource.k8s.io/{}", self.as_str())
    }

    /// ResourceSlices of this version, for `Api<DynamicObject>`.
    pub fn slices(self) -> ApiResource {
        self.resource("ResourceSlice", "resourceslices")
    }

    /// ResourceClaims of this version, for `Api<DynamicObject>`.
    pub fn claims(self) -> ApiResource {
        self.resource("ResourceClaim", "resourceclaims")
    }

    fn resource(self, kind: &str, plural: &str) -> ApiResource {
        let gvk = GroupVersionKind::gvk("resource.k8s.io", self.as_str(), kind);
        ApiResource::from_gvk_with_plural(&gvk, plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_the_path_of_their_version() {
        let slices = ResourceApi::V1beta1.slices();
        assert_eq!(slices.api_version, "resource.k8s.io/v1beta1");
        assert_eq!(
            (slices.kind.as_str(), slices.plural.as_str()),
            ("ResourceSlice", "resourceslices")
        );
        assert_eq!(ResourceApi::V1.claims().plural, "resourceclaims");
        assert!(ResourceApi::ALL.is_sorted());
    }
}
