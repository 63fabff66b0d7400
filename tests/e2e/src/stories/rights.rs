//! What the driver's own identity may not do.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

use crate::case::Case;
use crate::claim::DRIVER;
use crate::cluster::NODE;
use crate::driver::RELEASE;
use crate::pod::NewPod;
use crate::resource::Resources;

/// With the token of this node's driver: slices of this node and this driver can be written, of others cannot.
pub(super) async fn a_driver_may_write_only_its_own_nodes_slices(case: &Case) -> Result<()> {
    let client = as_the_driver(case).await?;
    let slices: Resources<ResourceSlice> = Resources::new(client, &case.cluster.version, None);
    let create = async |name: &str, node: &str, driver: &str, pool: &str| {
        let slice: ResourceSlice = serde_json::from_value(slice(name, node, driver, pool))?;
        Ok::<_, anyhow::Error>(slices.create(&slice).await)
    };
    let foreign_node = create("e2e-foreign-node", "node-2", DRIVER, "node-2").await?;
    refused(foreign_node, "may write only slices of that node")?;
    let foreign_driver = create("e2e-foreign-driver", NODE, "gpu.example.com", NODE).await?;
    refused(foreign_driver, "may write only slices")?;
    let foreign_pool = create("e2e-foreign-pool", NODE, DRIVER, "node-2").await?;
    refused(foreign_pool, "may write only its own pool")?;
    create("e2e-own", NODE, DRIVER, NODE).await??;
    // The driver itself may have removed the stranger by now.
    drop(slices.delete("e2e-own").await);
    Ok(())
}

/// What the driver never needs, its role does not allow.
pub(super) async fn a_driver_may_not_read_what_it_does_not_need(case: &Case) -> Result<()> {
    let client = as_the_driver(case).await?;
    let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::all(client.clone());
    refused(
        secrets.list(&kube::api::ListParams::default()).await,
        "forbidden",
    )?;
    let nodes: Api<Node> = Api::all(client.clone());
    refused(
        nodes.delete(NODE, &DeleteParams::default()).await,
        "forbidden",
    )?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
    refused(
        accounts.list(&kube::api::ListParams::default()).await,
        "forbidden",
    )
}

/// Of a claim's status the driver may write what became of its own devices: not of others', nor who may use the claim
/// (Kubernetes 1.36 and newer).
pub(super) async fn a_driver_may_tell_of_its_own_devices_only(case: &Case) -> Result<()> {
    let nic = case.nic().await?;
    let home = nic.look()?;
    case.template_for("nic", &nic).await?;
    case.start(&NewPod::named("web").template("nic")).await?;
    let claim = case.generated_claim("web").await?;
    case.status_shows(&claim, "net1").await?;
    let claims: Api<ResourceClaim> = Api::namespaced(as_the_driver(case).await?, &case.namespace);
    let write = async |status: Value| {
        let merge = Patch::Merge(json!({"status": status}));
        claims
            .patch_status(&claim, &PatchParams::default(), &merge)
            .await
    };
    let foreign = json!([{"driver": "gpu.example.com", "pool": NODE, "device": "gpu-0"}]);
    refused(
        write(json!({"devices": foreign})).await,
        "changing status.devices requires resource=\"resourceclaims/driver\"",
    )?;
    refused(
        write(json!({"reservedFor": null})).await,
        "requires resource=\"resourceclaims/binding\"",
    )?;
    case.delete("web").await?;
    case.all_is_as_before(&[(&nic, home)]).await
}

/// A client with a token as the kubelet gives one to the driver's pod: it names the node.
async fn as_the_driver(case: &Case) -> Result<Client> {
    let pod = case.driver.pod().await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(case.cluster.client.clone(), RELEASE);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod),
                uid: None,
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(RELEASE, &PostParams::default(), &request)
        .await?;
    let token = answer.status.and_then(|status| status.token);
    let token = token.context("a token request without a token")?;
    let mut config = Config::infer().await?;
    config.auth_info = kube::config::AuthInfo {
        token: Some(token.into()),
        ..Default::default()
    };
    Ok(Client::try_from(config)?)
}

fn slice(name: &str, node: &str, driver: &str, pool: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "driver": driver, "nodeName": node,
            "pool": {"name": pool, "generation": 0, "resourceSliceCount": 1},
            "devices": [{"name": "nothing"}],
        },
    })
}

fn refused<T>(answer: kube::Result<T>, why: &str) -> Result<()> {
    let Err(error) = answer else {
        anyhow::bail!("allowed; expected: {why}");
    };
    let text = error.to_string();
    ensure!(
        text.contains(why),
        "refused, but not because of {why}: {text}"
    );
    Ok(())
}
