//! How the kubelet dials a plugin: gRPC over a Unix socket, with the `:authority` that grpc-go makes of the target.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::DraVersion;

/// Time that the kubelet gives to a connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// What may stand in an authority besides letters and digits.
const ALLOWED: &[u8] = b"-_.~!$&'()*+,;=:[]@";

/// The `:authority` that grpc-go sends when the target is this bare path, which is how the kubelet dials a
/// *registration* socket, and before 1.34 a DRA socket too: percent-encoded, but for what may stand in an authority (grpc-go `encodeAuthority`).
pub fn kubelet_authority(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            plain if plain.is_ascii_alphanumeric() || ALLOWED.contains(plain) => {
                out.push(char::from(*plain));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Dials a registration socket by its bare path.
pub(super) async fn registration_socket(path: &Path) -> anyhow::Result<Channel> {
    let endpoint = by_bare_path(path)?.connect_timeout(DIAL_DEADLINE);
    let dialled = endpoint.connect_with_connector(connector(path));
    dialled.await.context("cannot dial the registration socket")
}

/// Dials a DRA socket; connects at the first call and again whenever the connection ends. Kubelets since 1.34 take
/// `unix:<path>` as target, older ones the bare path.
pub(super) fn dra_socket(path: &Path, version: DraVersion) -> anyhow::Result<Channel> {
    let endpoint = match version {
        DraVersion::V1 => Endpoint::from_static("http://localhost"),
        DraVersion::V1Beta1 | DraVersion::V1Alpha3 => by_bare_path(path)?,
    };
    Ok(endpoint.connect_with_connector_lazy(connector(path)))
}

fn by_bare_path(path: &Path) -> anyhow::Result<Endpoint> {
    let authority = kubelet_authority(path);
    let origin: Uri = format!("http://{authority}").parse().with_context(|| {
        format!("an h2 server of this implementation refuses the kubelet's authority {authority:?}")
    })?;
    Ok(Endpoint::from_static("http://localhost").origin(origin))
}

fn connector(
    path: &Path,
) -> impl tower::Service<Uri, Response = TokioIo<UnixStream>, Error = io::Error, Future: Send>
+ Send
+ use<> {
    let path = path.to_owned();
    tower::service_fn(move |_: Uri| connect(path.clone()))
}

async fn connect(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(path).await.map(TokioIo::new)
}
