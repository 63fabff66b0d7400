//! The driver under test: installed by its chart, asked through its own commands.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::node::run;

/// The installed driver.
#[derive(Clone)]
pub(crate) struct Driver {
    cluster: Cluster,
    chart: PathBuf,
}

impl Driver {
    pub(crate) fn new(cluster: &Cluster, chart: &Path) -> Self {
        Self {
            cluster: cluster.clone(),
            chart: chart.to_owned(),
        }
    }

    /// All records of dra-plugin.
    pub(crate) async fn claims(&self) -> Result<Vec<Value>> {
        let text = run(
            "/run/e2e/dra-plugin",
            &["--bus-dir", "/run/nd-bus", "claims", "-o", "json"],
        )?;
        serde_json::from_str(&text).with_context(|| text)
    }
}
