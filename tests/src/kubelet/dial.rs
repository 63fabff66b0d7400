//! How the kubelet dials a plugin: gRPC over a Unix socket, with the `:authority` that grpc-go makes of the target.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Time that the kubelet gives to a connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// What may stand in an authority besides letters and digits.
const ALLOWED: &[u8] = b"-_.~!$&'()*+,;=:[]@";

/// The `:authority` that grpc-go sends when the target is this bare path, which is how the kubelet dials a
/// *registration* socket: percent-encoded, but for what may stand in an authority (grpc-go `encodeAuthority`).
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
    let authority = kubelet_authority(path);
    let origin: Uri = format!("http://{authority}").parse().with_context(|| {
        format!("an h2 server of this implementation refuses the kubelet's authority {authority:?}")
    })?;
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| connect(path.clone()));
    let endpoint = Endpoint::from_static("http://localhost")
        .origin(origin)
        .connect_timeout(DIAL_DEADLINE);
    let dialled = endpoint.connect_with_connector(connector);
    dialled.await.context("cannot dial the registration socket")
}

/// Dials a DRA socket as target `unix:<path>`; connects at the first call and again whenever the connection ends.
pub(super) fn dra_socket(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = tower::service_fn(move |_: Uri| connect(path.clone()));
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}

async fn connect(path: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    UnixStream::connect(path).await.map(TokioIo::new)
}
