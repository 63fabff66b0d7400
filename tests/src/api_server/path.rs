//! What a request's path means.

/// A kind of object that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `v1` Node.
    Nodes,
    /// `resource.k8s.io` ResourceSlice.
    ResourceSlices,
    /// `resource.k8s.io` ResourceClaim.
    ResourceClaims,
    /// `events.k8s.io/v1` Event.
    Events,
}

impl Kind {
    /// As it stands in a path.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::ResourceSlices => "resourceslices",
            Self::ResourceClaims => "resourceclaims",
            Self::Events => "events",
        }
    }

    /// Name of the type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nodes => "Node",
            Self::ResourceSlices => "ResourceSlice",
            Self::ResourceClaims => "ResourceClaim",
            Self::Events => "Event",
        }
    }

    /// Its group; empty for the core one.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Nodes => "",
            Self::ResourceSlices | Self::ResourceClaims => "resource.k8s.io",
            Self::Events => "events.k8s.io",
        }
    }

    pub(super) fn is_namespaced(self) -> bool {
        matches!(self, Self::ResourceClaims | Self::Events)
    }

    pub(super) const ALL: [Self; 4] = [
        Self::Nodes,
        Self::ResourceSlices,
        Self::ResourceClaims,
        Self::Events,
    ];
}

/// A path that names objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

impl Target {
    /// Reads `/api/v1/…` or `/apis/<group>/<version>/…`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?.to_owned();
        let mut rest: Vec<&str> = parts.collect();
        let namespace = match rest.as_slice() {
            ["namespaces", namespace, _, ..] => {
                let namespace = (*namespace).to_owned();
                rest.drain(..2);
                Some(namespace)
            }
            _ => None,
        };
        let (plural, name, subresource) = match rest.as_slice() {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, sub] => (plural, Some(name), Some(sub)),
            _ => return None,
        };
        let mut kinds = Kind::ALL.into_iter();
        let kind = kinds.find(|kind| kind.group() == group && kind.plural() == *plural)?;
        Some(Self {
            kind,
            version,
            namespace,
            name: name.map(ToString::to_string),
            subresource: subresource.map(ToString::to_string),
        })
    }

    /// What requests are counted under: the resource, with its subresource.
    pub(super) fn resource(&self) -> String {
        match &self.subresource {
            Some(sub) => format!("{}/{sub}", self.kind.plural()),
            None => self.kind.plural().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_their_objects() {
        let cases = [
            ("/api/v1/nodes/node-1", "nodes", None, Some("node-1")),
            (
                "/apis/resource.k8s.io/v1/resourceslices",
                "resourceslices",
                None,
                None,
            ),
            (
                "/apis/resource.k8s.io/v1/namespaces/a/resourceclaims/c/status",
                "resourceclaims/status",
                Some("a"),
                Some("c"),
            ),
            (
                "/apis/events.k8s.io/v1/namespaces/a/events",
                "events",
                Some("a"),
                None,
            ),
        ];
        for (path, resource, namespace, name) in cases {
            let target = Target::parse(path).unwrap();
            assert_eq!(target.resource(), resource, "{path}");
            assert_eq!(target.namespace.as_deref(), namespace, "{path}");
            assert_eq!(target.name.as_deref(), name, "{path}");
        }
        for nothing in ["/", "/api", "/apis/resource.k8s.io/v1", "/api/v1/pods"] {
            assert_eq!(Target::parse(nothing), None, "{nothing}");
        }
    }
}
