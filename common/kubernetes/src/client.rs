//! How the API server is reached: by the kubeconfig that was named, else by the pod's service account. A kubeconfig
//! that merely lies about is never used, so that a daemon on somebody's machine writes to no cluster by accident.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kube::client::ClientBuilder;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, Error};

use crate::trace::TraceRequests;

/// The API server and the way to it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    host: String,
    port: u16,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = &self.host;
        f.debug_struct("Cluster")
            .field("host", host)
            .finish_non_exhaustive()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file that was named cannot be used.
    #[error("use kubeconfig {path}", path = path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The pod's service account cannot be used.
    #[error("use the pod's service account")]
    ServiceAccount(#[source] kube::config::InClusterError),
    /// The configuration was read, but no client could be made of it.
    #[error("make a client for the API server")]
    Client(#[source] Box<Error>),
}

/// Makes a client: of `kubeconfig` when one is named, else of the pod's service account, else none (`Ok(None)`).
///
/// No request is sent: a server that is away shows at the first one. Requests that the server answers with 429, 503
/// or 504 are repeated by the client itself, after the time that `Retry-After` asks for.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Option<Cluster>, ConnectError> {
    let config = match kubeconfig {
        Some(path) => from_file(path).await?,
        None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Config::incluster().map_err(ConnectError::ServiceAccount)?
        }
        None => return Ok(None),
    };
    let host = config.cluster_url.host().unwrap_or_default();
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let builder = ClientBuilder::try_from(config);
    let builder = builder.map_err(|error| ConnectError::Client(Box::new(error)))?;
    let client = builder.with_layer(&TraceRequests::to(&host, port)).build();
    Ok(Some(Cluster::new(client, host, port)))
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let failed = |source| ConnectError::Kubeconfig {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(failed)
}

impl Cluster {
    /// The server that this client asks, at this host (an address without brackets, or a name) and port.
    pub fn new(client: Client, host: String, port: u16) -> Self {
        Self { client, host, port }
    }

    /// The client. Cloning it is cheap; all clones share their connections.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Addresses of the API server as its URL names it: the address itself, or what its name resolves to now. Empty
    /// when the name cannot be resolved.
    pub async fn addresses(&self) -> BTreeSet<IpAddr> {
        if let Ok(address) = self.host.parse() {
            return BTreeSet::from([address]);
        }
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(found) => found.map(|socket| socket.ip()).collect(),
            Err(error) => {
                tracing::warn!(host = self.host, err = %error, "cannot resolve the API server's name");
                BTreeSet::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(server: &str) -> tempfile::NamedTempFile {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"Config","current-context":"c",
            "contexts":[{{"name":"c","context":{{"cluster":"k","user":"u"}}}}],
            "clusters":[{{"name":"k","cluster":{{"server":"{server}"}}}}],
            "users":[{{"name":"u","user":{{"token":"t"}}}}]}}"#
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[tokio::test]
    async fn a_named_kubeconfig_gives_the_servers_address() {
        for (server, want) in [
            ("http://127.0.0.1:6443", "127.0.0.1"),
            ("http://[fd00::1]:6443", "fd00::1"),
        ] {
            let file = kubeconfig(server);
            let cluster = connect(Some(file.path())).await.unwrap().unwrap();
            let want: IpAddr = want.parse().unwrap();
            assert_eq!(cluster.addresses().await, BTreeSet::from([want]));
        }
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_missing_is_named_in_the_error() {
        let error = connect(Some(Path::new("/nonexistent/kubeconfig"))).await;
        let text = error.unwrap_err().to_string();
        assert_eq!(text, "use kubeconfig /nonexistent/kubeconfig");
    }
}
