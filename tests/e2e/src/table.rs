//! A row of the table of versions in docs/versions.md: what ran, and how it went.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cluster::Cluster;
use crate::jaeger;

/// Adds a row to a table; `passed` is how many stories did.
///
/// # Errors
/// The node does not say what it runs, Jaeger is away, or the file cannot be written.
pub(crate) async fn add_row(table: &Path, cluster: &Cluster, passed: &str) -> Result<()> {
    let node = cluster.node().await?;
    let info = node.status.and_then(|status| status.node_info);
    let info = info.context("a node without info")?;
    let runtime = info.container_runtime_version.replace("://", " ");
    let (kubelet, objects) = (info.kubelet_version, cluster.version.as_str());
    let calls = kubelet_service()?;
    let line = format!("| {kubelet} | `{objects}` | `{calls}` | {runtime} | {passed} |\n");
    let file = OpenOptions::new().create(true).append(true).open(table);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    written.with_context(|| format!("write {}", table.display()))
}

/// The service by which the kubelet has called the driver, as the driver's traces name it.
fn kubelet_service() -> Result<String> {
    let calls = jaeger::operations("network-driver-dra-plugin")?;
    let mut services = calls
        .iter()
        .filter_map(|call| call.strip_suffix("/NodePrepareResources"));
    let service = services.next().unwrap_or("nothing");
    Ok(service
        .trim_start_matches("k8s.io.kubelet.pkg.apis.dra.")
        .to_owned())
}
