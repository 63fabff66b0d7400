//! The Node object: whose slices these are, and by which addresses the node is known.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

/// What is needed of the Node object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its UID.
    pub uid: String,
    /// Its addresses, host names left out.
    pub addresses: BTreeSet<IpAddr>,
}

/// The Node object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadNodeError {
    /// The request failed.
    #[error("read node {name}")]
    Get {
        /// Name of the node.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// It has no UID, so it is no object of an API server.
    #[error("node {0} has no UID")]
    NoUid(String),
}

/// Reads the Node object.
///
/// # Errors
/// The server cannot be reached or refuses, or there is no such node.
pub async fn read(client: &Client, name: &str) -> Result<NodeFacts, ReadNodeError> {
    let get = Api::<Node>::all(client.clone());
    let node = get.get(name).await.map_err(|source| ReadNodeError::Get {
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    facts(node).ok_or_else(|| ReadNodeError::NoUid(name.to_owned()))
}

fn facts(node: Node) -> Option<NodeFacts> {
    let addresses = node.status.and_then(|status| status.addresses);
    let addresses = addresses.into_iter().flatten();
    Some(NodeFacts {
        uid: node.metadata.uid?,
        addresses: addresses.filter_map(|a| a.address.parse().ok()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_taken_and_host_names_left() {
        let node = json!({
            "metadata": { "name": "node-1", "uid": "u-1" },
            "status": { "addresses": [
                { "type": "InternalIP", "address": "10.0.0.5" },
                { "type": "InternalIP", "address": "fd00::5" },
                { "type": "Hostname", "address": "node-1" },
            ]},
        });
        let facts = facts(serde_json::from_value(node).unwrap()).unwrap();
        assert_eq!(facts.uid, "u-1");
        let want = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(facts.addresses, BTreeSet::from(want));
    }
}
