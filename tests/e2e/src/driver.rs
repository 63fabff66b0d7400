//! The driver under test: installed by its chart, asked through its own commands, taken away and brought back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams};
use kube::discovery::{ApiGroup, Discovery, verbs};
use serde_json::{Value, json};

use crate::case::{name, state};
use crate::cluster::Cluster;
use crate::node::{run, runtime};
use crate::wait::{Seen, slowed, until};

/// Helm release, namespace and name of the chart's objects.
pub(crate) const RELEASE: &str = "network-driver";
/// Within this a pod of the driver comes or goes.
const PROMPTLY: Duration = Duration::from_mins(1);
/// What the test node needs otherwise than by default: images that are there already, veth pairs as NICs, traces to the
/// node's Jaeger, slices written as often as the stories change links, and CDI on, which only containerd 1.7 is asked about.
const VALUES: [&str; 7] = [
    "image.pullPolicy=Never",
    "log.level=debug",
    "discovery.offerKinds={veth}",
    "discovery.hideNames={veth*,cni*}",
    "discovery.publishIntervalSeconds=1",
    "otel.endpoint=http://127.0.0.1:4317",
    "gate.cdiConfirmed=true",
];

/// The installed driver.
#[derive(Clone)]
pub(crate) struct Driver {
    cluster: Cluster,
    chart: PathBuf,
}

impl Driver {
    /// The driver of this chart; nothing is installed yet.
    pub(crate) fn new(cluster: &Cluster, chart: &Path) -> Self {
        Self {
            cluster: cluster.clone(),
            chart: chart.to_owned(),
        }
    }

    /// Installs the chart, or upgrades what is installed, with more values than usual; waits until it is ready.
    ///
    /// # Errors
    /// Helm failed: with what it said.
    pub(crate) async fn install(&self, values: &[&str]) -> Result<String> {
        let timeout = format!("{}s", slowed(Duration::from_mins(2)).as_secs());
        let said = self.helm_upgrade(&["--wait", "--timeout", &timeout], values)?;
        self.ready().await?;
        Ok(said)
    }

    /// The same for values that no driver becomes ready with: does not wait.
    ///
    /// # Errors
    /// Helm failed: with what it said.
    pub(crate) fn upgrade(&self, values: &[&str]) -> Result<String> {
        self.helm_upgrade(&[], values)
    }

    fn helm_upgrade(&self, options: &[&str], values: &[&str]) -> Result<String> {
        let chart = self.chart.to_string_lossy();
        let mut args = vec![
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--namespace",
            RELEASE,
        ];
        args.push("--create-namespace");
        args.extend(options);
        // CRI-O hands a node-critical pod's negative oom_score_adj to the kernel, which forbids it in many containers and
        // virtual machines; containerd is told to leave it (`restrict_oom_score_adj`).
        let ordinary = (runtime() == "crio").then_some("priorityClassName=");
        for value in VALUES.iter().chain(&ordinary).chain(values) {
            args.extend(["--set", value]);
        }
        run("helm", &args)
    }

    /// The examples that are shipped with the chart.
    pub(crate) fn examples(&self) -> PathBuf {
        self.chart.join("../../deploy/examples")
    }

    /// Takes the release away and waits until its pods are gone.
    ///
    /// # Errors
    /// Helm failed, or a pod stays.
    pub(crate) async fn uninstall(&self) -> Result<String> {
        let said = run(
            "helm",
            &["uninstall", RELEASE, "--namespace", RELEASE, "--wait"],
        )?;
        self.gone().await?;
        Ok(said)
    }

    /// Runs the chart's own tests.
    ///
    /// # Errors
    /// One failed.
    pub(crate) fn helm_test() -> Result<String> {
        run("helm", &["test", RELEASE, "--namespace", RELEASE])
    }

    /// Waits until the driver's one pod is ready, made from the newest template.
    ///
    /// # Errors
    /// It is not: its state.
    pub(crate) async fn ready(&self) -> Result<()> {
        let sets = self.daemon_sets();
        until("the driver ready", PROMPTLY, async || {
            let set = sets.get(RELEASE).await?;
            let status = set.status.unwrap_or_default();
            let current = status.observed_generation == set.metadata.generation;
            let ready =
                current && status.number_ready == 1 && status.updated_number_scheduled == Some(1);
            let pods: Vec<_> = self.pods().await?.iter().map(state).collect();
            Ok(Seen::when(
                ready && pods.len() == 1,
                format!("{pods:?} {status:?}"),
            ))
        })
        .await
    }

    /// Deletes the driver's pod; its DaemonSet makes another.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn delete_pod(&self) -> Result<()> {
        let pod = self.pod().await?;
        self.pod_api()
            .delete(&pod, &DeleteParams::default())
            .await?;
        until(&format!("{pod} gone"), PROMPTLY, async || {
            let there = self.pod_api().get_opt(&pod).await?;
            Ok(Seen::when(there.is_none(), "it is there"))
        })
        .await
    }

    /// Takes the driver's pod away, as a node selector that matches no node does.
    ///
    /// # Errors
    /// It stays.
    pub(crate) async fn leave(&self) -> Result<()> {
        self.patch(json!({"spec": {"template": {"spec": {"nodeSelector": {"e2e": "none"}}}}}))
            .await?;
        self.gone().await
    }

    /// Brings the driver's pod back.
    ///
    /// # Errors
    /// It is not ready in time.
    pub(crate) async fn come_back(&self) -> Result<()> {
        self.patch(json!({"spec": {"template": {"spec": {"nodeSelector": {"e2e": null}}}}}))
            .await?;
        self.ready().await
    }

    /// Replaces the driver's pod by one without a working nri-hook, and returns when the two others work.
    ///
    /// # Errors
    /// They do not.
    pub(crate) async fn lose_hook(&self) -> Result<()> {
        self.hook_image("e2e.local/absent:1").await?;
        until("a driver without hook", PROMPTLY, async || {
            let pods = self.pods().await?;
            let running = |pod: &Pod| {
                let status = pod.status.clone().unwrap_or_default();
                let containers = status.container_statuses.unwrap_or_default();
                containers
                    .iter()
                    .map(|container| (container.name.clone(), container.ready))
                    .collect::<Vec<_>>()
            };
            let states: Vec<_> = pods.iter().map(running).collect();
            let hookless = |states: &Vec<(String, bool)>| {
                states.len() == 3
                    && states
                        .iter()
                        .any(|(name, ready)| name == "nri-hook" && !ready)
            };
            let done =
                states.len() == 1 && states.iter().all(hookless) && self.claims().await.is_ok();
            Ok(Seen::when(done, format!("{states:?}")))
        })
        .await
    }

    /// The image of nri-hook as installed.
    ///
    /// # Errors
    /// There is no such container.
    pub(crate) async fn installed_hook(&self) -> Result<String> {
        let set = self.daemon_sets().get(RELEASE).await?;
        let spec = set
            .spec
            .and_then(|spec| spec.template.spec)
            .unwrap_or_default();
        let hook = spec
            .containers
            .into_iter()
            .find(|container| container.name == "nri-hook");
        hook.and_then(|hook| hook.image)
            .context("no container nri-hook")
    }

    /// Sets the image of nri-hook; does not wait.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn hook_image(&self, image: &str) -> Result<()> {
        let container = json!([{"name": "nri-hook", "image": image}]);
        self.patch(json!({"spec": {"template": {"spec": {"containers": container}}}}))
            .await
    }

    /// What a container of the driver has logged.
    ///
    /// # Errors
    /// The API server or the kubelet does not show it.
    pub(crate) async fn log(&self, container: &str) -> Result<String> {
        let params = LogParams {
            container: Some(container.to_owned()),
            ..LogParams::default()
        };
        Ok(self.pod_api().logs(&self.pod().await?, &params).await?)
    }

    async fn patch(&self, patch: Value) -> Result<()> {
        let patch = Patch::Strategic(patch);
        self.daemon_sets()
            .patch(RELEASE, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn gone(&self) -> Result<()> {
        until("the driver gone", PROMPTLY, async || {
            let pods: Vec<_> = self.pods().await?.iter().map(state).collect();
            Ok(Seen::when(pods.is_empty(), format!("{pods:?}")))
        })
        .await
    }

    fn daemon_sets(&self) -> Api<DaemonSet> {
        Api::namespaced(self.cluster.client.clone(), RELEASE)
    }

    fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), RELEASE)
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/name={RELEASE}"));
        let mut pods = self.pod_api().list(&labels).await?.items;
        // The pods of `helm test` carry the chart's labels too.
        pods.retain(|pod| {
            let owners = pod.metadata.owner_references.iter().flatten();
            owners.into_iter().any(|owner| owner.kind == "DaemonSet")
        });
        Ok(pods)
    }

    /// Name of the driver's pod that is to stay.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn pod(&self) -> Result<String> {
        let pods = self.pods().await?;
        let staying = pods
            .iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_none());
        staying
            .map(|pod| name(pod).to_owned())
            .context("the driver has no pod")
    }

    /// How an init container of the driver's pod ended, now or the last time: its code and what it left to be read.
    ///
    /// # Errors
    /// It has not ended.
    pub(crate) async fn ended(&self, container: &str) -> Result<(i32, String)> {
        let pod = self.pod_api().get(&self.pod().await?).await?;
        let containers = pod.status.and_then(|status| status.init_container_statuses);
        let mut containers = containers.into_iter().flatten();
        let found = containers.find(|it| it.name == container);
        let states = found.map(|it| [it.state, it.last_state]);
        let ended = states
            .into_iter()
            .flatten()
            .flatten()
            .find_map(|state| state.terminated);
        let ended = ended.with_context(|| format!("{container} has not ended"))?;
        Ok((ended.exit_code, ended.message.unwrap_or_default()))
    }

    /// Objects of any kind that carry the release's label.
    ///
    /// # Errors
    /// The API server is away.
    pub(crate) async fn objects(&self) -> Result<Vec<String>> {
        let labelled =
            ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
        let client = &self.cluster.client;
        let served = Discovery::new(client.clone()).run().await?;
        let mut found = Vec::new();
        for (kind, verbs) in served.groups().flat_map(ApiGroup::recommended_resources) {
            if verbs.supports_operation(verbs::LIST) {
                let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
                let names = objects.list(&labelled).await?.items.into_iter();
                found.extend(names.map(|object| {
                    format!("{} {}", kind.kind, object.metadata.name.unwrap_or_default())
                }));
            }
        }
        Ok(found)
    }

    /// Asks one of the three by its own command.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn ask(&self, component: &str, args: &[&str]) -> Result<String> {
        let program = format!("/{component}");
        let mut command = vec![program.as_str()];
        command.extend(args);
        let pod = self.pod().await?;
        self.cluster
            .exec((RELEASE, &pod, component), &command)
            .await
    }

    /// All records of dra-plugin.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn claims(&self) -> Result<Vec<Value>> {
        let text = self.ask("dra-plugin", &["claims", "-o", "json"]).await?;
        serde_json::from_str(&text).with_context(|| text)
    }
}
