//! The sub-command `verify`: whether the driver works in the whole cluster, as far as the API server knows. It asks about
//! pods and ResourceSlices alone, so that it needs no interface to give away; `helm test` runs it.

mod unused;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, Client};
use network_driver_common::cli::table;
use network_driver_common::model::DriverName;
use network_driver_kubernetes::{ResourceApi, VersionError};
use serde_json::Value;

/// Exit code when something is wrong.
pub const WRONG: u8 = 9;

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// What is looked at, and how long it may take to be well.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// Namespace of the driver's pods
    #[arg(long, value_name = "NAME", default_value = "network-driver")]
    namespace: String,
    /// Labels of the driver's pods
    #[arg(
        long,
        value_name = "LABELS",
        default_value = "app.kubernetes.io/name=network-driver,app.kubernetes.io/component=node-agent"
    )]
    selector: String,
    /// Seconds that the driver has to become well
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    /// Check instead that no claim holds a device of the driver, so that it may be uninstalled
    #[arg(long)]
    unused: bool,
}

/// What cannot be asked, or is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Nobody says which cluster.
    #[error("no cluster: run it in a pod, or name a --kubeconfig")]
    NoCluster,
    /// The version of the API cannot be found.
    #[error("find the version of resource.k8s.io")]
    Version(#[source] VersionError),
    /// A list cannot be had.
    #[error("list {what}")]
    List {
        /// Kind of the objects.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// There is nothing to look at.
    #[error("no pod of the driver in namespace {namespace}: does the DaemonSet select any node?")]
    NoPods {
        /// Where.
        namespace: String,
    },
    /// Somebody uses the driver; the table says who.
    #[error(
        "devices of {driver} are held (claims: {claims}): end their pods first, since nobody else brings the interfaces home"
    )]
    Used {
        /// How many.
        claims: usize,
        /// The driver.
        driver: String,
    },
    /// Some node is not well; the table says which.
    #[error("not well: {wrong} of {nodes} nodes")]
    Unwell {
        /// How many are not.
        wrong: usize,
        /// How many there are.
        nodes: usize,
    },
}

/// Lines for people, and what is wrong if anything is.
pub type Verdict = (String, Result<(), VerifyError>);

/// The driver on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeState {
    node: String,
    devices: usize,
    /// Why it is not well; `None` when it is.
    fault: Option<String>,
}

/// Looks until all is well or the time is over, or whether anybody uses the driver. Returns a line per node or claim,
/// and what is wrong if anything is.
///
/// # Errors
/// The cluster cannot be asked.
pub async fn verify(
    client: &Client,
    driver: &DriverName,
    args: &VerifyArgs,
) -> Result<Verdict, VerifyError> {
    let api = ResourceApi::served(client).await;
    let api = api.map_err(VerifyError::Version)?;
    if args.unused {
        return unused::check(client, api, driver).await;
    }
    let (began, wait) = (Instant::now(), Duration::from_secs(args.wait));
    loop {
        let nodes = look(client, api, driver, args).await?;
        let verdict = verdict(&nodes, &args.namespace);
        if verdict.is_ok() || began.elapsed() >= wait {
            return Ok((lines(nodes), verdict));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(
    client: &Client,
    api: ResourceApi,
    driver: &DriverName,
    args: &VerifyArgs,
) -> Result<Vec<NodeState>, VerifyError> {
    let failed = |what| {
        move |source| VerifyError::List {
            what,
            source: Box::new(source),
        }
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &args.namespace);
    let ours = ListParams::default().labels(&args.selector);
    let pods = pods.list(&ours).await.map_err(failed("pods"))?;
    let slices: Api<DynamicObject> = Api::all_with(client.clone(), &api.slices());
    let slices = slices.list(&ListParams::default()).await;
    let slices = slices.map_err(failed("ResourceSlices"))?;
    let slices = slices.items.iter().map(|slice| Slice::of(&slice.data));
    let slices: Vec<_> = slices.filter(|s| s.driver == driver.as_str()).collect();
    let mut nodes: Vec<_> = pods.items.iter().map(|pod| state(pod, &slices)).collect();
    nodes.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(nodes)
}

/// What is looked at in a ResourceSlice, which all versions of the API have in the same place.
#[derive(Debug)]
struct Slice<'a> {
    driver: &'a str,
    node: &'a str,
    generation: i64,
    /// How many slices its pool has.
    of: u64,
    devices: usize,
}

impl<'a> Slice<'a> {
    fn of(object: &'a Value) -> Self {
        let text = |path| object.pointer(path).and_then(Value::as_str);
        let generation = object.pointer("/spec/pool/generation");
        let of = object.pointer("/spec/pool/resourceSliceCount");
        let devices = object.pointer("/spec/devices");
        Self {
            driver: text("/spec/driver").unwrap_or_default(),
            node: text("/spec/nodeName").unwrap_or_default(),
            generation: generation.and_then(Value::as_i64).unwrap_or_default(),
            of: of.and_then(Value::as_u64).unwrap_or_default(),
            devices: devices.and_then(Value::as_array).map_or(0, Vec::len),
        }
    }
}

/// How the driver fares on a pod's node.
fn state(pod: &Pod, slices: &[Slice<'_>]) -> NodeState {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let node = node.unwrap_or_default();
    let here = slices.iter().filter(|slice| slice.node == node);
    let newest = here.clone().map(|slice| slice.generation).max();
    let pool: Vec<_> = here.filter(|s| Some(s.generation) == newest).collect();
    NodeState {
        devices: pool.iter().map(|slice| slice.devices).sum(),
        fault: unready(pod).or_else(|| incomplete(&pool)),
        node,
    }
}

/// Which containers are not ready, if any.
fn unready(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let is_ready =
        |c: &k8s_openapi::api::core::v1::PodCondition| c.type_ == "Ready" && c.status == "True";
    if conditions.unwrap_or_default().iter().any(is_ready) {
        return None;
    }
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    let waiting = containers.unwrap_or_default().iter().filter(|c| !c.ready);
    let waiting: Vec<_> = waiting.map(|c| c.name.as_str()).collect();
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Some(if waiting.is_empty() {
        format!("pod {pod} has not started")
    } else {
        format!("pod {pod}: not ready: {}", waiting.join(", "))
    })
}

/// How the node's pool falls short, if it does.
fn incomplete(pool: &[&Slice<'_>]) -> Option<String> {
    let Some(wanted) = pool.first().map(|slice| slice.of) else {
        return Some("no ResourceSlice".to_owned());
    };
    let there = pool.len();
    let complete = u64::try_from(there) == Ok(wanted);
    (!complete).then(|| format!("{there} of {wanted} ResourceSlices"))
}

fn verdict(nodes: &[NodeState], namespace: &str) -> Result<(), VerifyError> {
    let wrong = nodes.iter().filter(|node| node.fault.is_some()).count();
    match (nodes.len(), wrong) {
        (0, _) => Err(VerifyError::NoPods {
            namespace: namespace.to_owned(),
        }),
        (_, 0) => Ok(()),
        (nodes, wrong) => Err(VerifyError::Unwell { wrong, nodes }),
    }
}

fn lines(nodes: Vec<NodeState>) -> String {
    let rows = nodes.into_iter().map(|node| {
        let state = node.fault.unwrap_or_else(|| "ok".to_owned());
        [node.node, node.devices.to_string(), state]
    });
    table(["NODE", "DEVICES", "STATE"], rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(ready: bool) -> Pod {
        let status = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": { "name": "driver-x" },
            "spec": { "nodeName": "node-1", "containers": [] },
            "status": {
                "conditions": [{ "type": "Ready", "status": status }],
                "containerStatuses": [
                    { "name": "discovery", "ready": true, "restartCount": 0, "image": "", "imageID": "" },
                    { "name": "nri-hook", "ready": ready, "restartCount": 0, "image": "", "imageID": "" },
                ],
            },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn slice(node: &str, generation: i64, of: u64, devices: usize) -> Value {
        let devices = vec![json!({}); devices];
        let pool = json!({ "name": node, "generation": generation, "resourceSliceCount": of });
        json!({ "spec": { "nodeName": node, "pool": pool, "devices": devices } })
    }

    #[test]
    fn a_node_is_well_when_its_pod_is_ready_and_its_pool_complete() {
        let (mine, more) = (slice("node-1", 2, 2, 3), slice("node-1", 2, 2, 1));
        let (old, other) = (slice("node-1", 1, 1, 9), slice("node-2", 2, 1, 5));
        let empty = slice("node-1", 1, 1, 0);
        let cases: [(bool, Vec<&Value>, usize, Option<&str>); 5] = [
            (true, vec![&mine, &old, &more, &other], 4, None),
            (true, vec![&empty], 0, None),
            (true, vec![&mine, &old], 3, Some("1 of 2 ResourceSlices")),
            (true, vec![&other], 0, Some("no ResourceSlice")),
            (
                false,
                vec![&empty],
                0,
                Some("pod driver-x: not ready: nri-hook"),
            ),
        ];
        for (ready, slices, devices, fault) in cases {
            let slices: Vec<_> = slices.into_iter().map(Slice::of).collect();
            let state = state(&pod(ready), &slices);
            assert_eq!((state.devices, state.fault.as_deref()), (devices, fault));
        }
    }

    #[test]
    fn no_pod_at_all_is_not_well() {
        let text = verdict(&[], "drivers").unwrap_err().to_string();
        assert!(
            text.contains("no pod of the driver in namespace drivers"),
            "{text}"
        );
        let well = NodeState {
            node: "a".to_owned(),
            devices: 2,
            fault: None,
        };
        let ill = NodeState {
            node: "b".to_owned(),
            devices: 0,
            fault: Some("no ResourceSlice".to_owned()),
        };
        assert!(verdict(std::slice::from_ref(&well), "x").is_ok());
        let both = [well, ill];
        assert_eq!(
            verdict(&both, "x").unwrap_err().to_string(),
            "not well: 1 of 2 nodes"
        );
        let text = lines(both.to_vec());
        assert_eq!(
            text,
            "NODE  DEVICES  STATE\na     2        ok\nb     0        no ResourceSlice\n"
        );
    }
}
