//! The cluster, by its API server.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use kube::api::{AttachParams, ListParams};
use kube::{Api, Client};
use tokio::io::AsyncReadExt as _;

use crate::claim::DRIVER;
use crate::resource::{Resources, Version};

/// Name of the cluster's only node.
pub(crate) const NODE: &str = "node-1";

/// A client with all rights.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// Of `resource.k8s.io`.
    pub(crate) version: Version,
}

impl Cluster {
    /// Reads the kubeconfig that `node/enter` names.
    ///
    /// # Errors
    /// There is none, or the API server does not answer.
    pub(crate) async fn connect() -> Result<Self> {
        let client = Client::try_default().await;
        let client = client
            .context("no kubeconfig: run this inside the node, by `make e2e` or node/enter")?;
        let version = Version::served(&client).await?;
        Ok(Self { client, version })
    }

    /// Runs a command in a container of a pod and returns what it printed.
    ///
    /// # Errors
    /// It cannot be run, or failed: with what it wrote to standard error.
    pub(crate) async fn exec(
        &self,
        (namespace, pod, container): (&str, &str, &str),
        command: &[&str],
    ) -> Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = AttachParams::default().container(container);
        let what = || format!("{pod}/{container}: {}", command.join(" "));
        let mut process = pods
            .exec(pod, command.iter().copied(), &parameters)
            .await
            .with_context(what)?;
        let status = process.take_status().context("a status is told once")?;
        let (mut output, mut errors) = (String::new(), String::new());
        if let Some(mut stdout) = process.stdout() {
            stdout.read_to_string(&mut output).await?;
        }
        if let Some(mut stderr) = process.stderr() {
            stderr.read_to_string(&mut errors).await?;
        }
        let status = status.await;
        process.join().await.with_context(what)?;
        let success = status.is_some_and(|status| status.status.as_deref() == Some("Success"));
        ensure!(success, "{}: {}{}", what(), errors.trim(), output.trim());
        Ok(output)
    }

    /// The node.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn node(&self) -> Result<Node> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        Ok(nodes.get(NODE).await?)
    }

    /// The server's minor version: 37 of 1.37.
    ///
    /// # Errors
    /// The API server is away, or says what is no number.
    pub(crate) async fn minor(&self) -> Result<u32> {
        let version = self.client.apiserver_version().await?;
        let minor = version.minor.trim_end_matches('+');
        minor
            .parse()
            .with_context(|| format!("minor version {minor}"))
    }

    /// The ResourceSlices of the driver.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn slices(&self) -> Result<Vec<ResourceSlice>> {
        let slices = Resources::new(self.client.clone(), &self.version, None);
        let fields = ListParams::default().fields(&format!("spec.driver={DRIVER}"));
        Ok(slices.list(&fields).await?)
    }

    /// The devices that the driver offers, of all its slices.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn devices(&self) -> Result<Vec<Device>> {
        let slices = self.slices().await?.into_iter();
        Ok(slices
            .flat_map(|slice| slice.spec.devices.unwrap_or_default())
            .collect())
    }

    /// Names of the links behind the offered devices.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn offered(&self) -> Result<Vec<String>> {
        let devices = self.devices().await?;
        let names = devices.iter().filter_map(|device| text(device, "ifName"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Everything that was said of an object: `Reason: message`, oldest first.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn events(&self, namespace: &str, object: &str) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let fields = ListParams::default().fields(&format!("involvedObject.name={object}"));
        let events = events.list(&fields).await?.items.into_iter();
        let said = events.map(|event| {
            let reason = event.reason.unwrap_or_default();
            format!("{reason}: {}", event.message.unwrap_or_default())
        });
        Ok(said.collect())
    }
}

/// A text attribute of a device.
pub(crate) fn text<'a>(device: &'a Device, attribute: &str) -> Option<&'a str> {
    let attributes = device.attributes.as_ref()?;
    let own = attributes.get(attribute);
    let own = own.or_else(|| attributes.get(&format!("{DRIVER}/{attribute}")));
    own?.string.as_deref()
}
