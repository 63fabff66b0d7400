//! Pods and their sandboxes, and how NRI shows them.

use std::path::PathBuf;
use std::sync::Arc;

use network_driver_proto::nri::{LinuxNamespace, LinuxPodSandbox, PodSandbox};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::style::Style;

/// A pod as the kubelet names it to the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// The network namespace of a sandbox, made before the plugins hear of it.
pub trait SandboxNetwork: std::fmt::Debug + Send + Sync {
    /// Where the namespace is mounted.
    fn path(&self) -> PathBuf;
    /// Unmounts it and lets go of it; the kernel ends it when nobody else holds it.
    fn remove(&self);
}

/// A sandbox that has not been removed.
#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) pod: Pod,
    /// `None` for host network.
    pub(super) network: Option<Arc<dyn SandboxNetwork>>,
    /// Whether plugins are told of its end.
    pub(super) announced: bool,
    pub(super) stopped: bool,
}

/// What of a sandbox a message shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Everything: it runs.
    Whole,
    /// Neither namespaces nor pid.
    Bare,
}

impl Sandbox {
    /// The pod as bytes of `PodSandbox`, with fields that the driver does not know besides.
    pub(super) fn encode(&self, style: &Style, view: View) -> Vec<u8> {
        let mut namespaces = vec![namespace("ipc", "/proc/1/ns/ipc"), namespace("pid", "")];
        if let Some(network) = &self.network {
            namespaces.push(namespace("network", &network.path().to_string_lossy()));
        }
        let whole = view == View::Whole;
        let mut bytes = PodSandbox {
            id: self.id.clone(),
            name: self.pod.name.clone(),
            uid: self.pod.uid.clone(),
            namespace: self.pod.namespace.clone(),
            linux: whole.then_some(LinuxPodSandbox { namespaces }),
            pid: if whole { std::process::id() } else { 0 },
        }
        .encode_to_vec();
        // labels, a map; runtime_handler; ips.
        bytes.extend(nested(5, &[nested(1, b"app"), nested(2, b"web")].concat()));
        bytes.extend(nested(7, b"runc"));
        if style.shows_ips && self.network.is_some() {
            bytes.extend(nested(10, b"10.244.0.7"));
        }
        bytes
    }
}

fn namespace(kind: &str, path: &str) -> LinuxNamespace {
    LinuxNamespace {
        r#type: kind.into(),
        path: path.into(),
    }
}

/// The pods that Synchronize lists, as this style shows them.
pub(super) fn shown_in_sync<'a>(
    style: &Style,
    sandboxes: impl Iterator<Item = &'a Sandbox>,
) -> Vec<Vec<u8>> {
    let view = |sandbox: &Sandbox| {
        if sandbox.stopped && !style.lists_stopped_netns {
            View::Bare
        } else {
            View::Whole
        }
    };
    sandboxes.map(|s| s.encode(style, view(s))).collect()
}

/// A length-delimited field: text, bytes or a message.
pub(super) fn nested(field: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len().saturating_add(8));
    encode_key(field, WireType::LengthDelimited, &mut out);
    encode_varint(u64::try_from(bytes.len()).unwrap_or(u64::MAX), &mut out);
    out.extend_from_slice(bytes);
    out
}
