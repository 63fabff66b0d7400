//! What a story stands on: a namespace, a DeviceClass that matches only the story's own NICs, and verbs that read well.

mod pods;

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource};
use serde_json::{Value, json};

use crate::claim::{DRIVER, Wants};
use crate::cluster::Cluster;
use crate::driver::Driver;
use crate::nic::{Home, Nic, links};
use crate::node::ip;
use crate::resource::Resources;
use crate::wait::{Seen, until};

pub(crate) use pods::{name, restarts, state, uid};

/// Within this a pod is expected to start, a pod to vanish, a slice to follow: generous, for slow machines.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The ground of one story.
pub(crate) struct Case {
    pub(crate) cluster: Cluster,
    pub(crate) driver: Driver,
    pub(crate) namespace: String,
    number: u8,
    nics: AtomicU8,
}

impl Case {
    /// Makes the namespace and the class; `number` tells the story's NICs and subnets from those of others.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn open(
        cluster: &Cluster,
        driver: &Driver,
        number: u8,
        name: &str,
    ) -> Result<Self> {
        let case = Self {
            cluster: cluster.clone(),
            driver: driver.clone(),
            namespace: namespace_of(name),
            number,
            nics: AtomicU8::new(0),
        };
        let namespaces: Api<Namespace> = Api::all(case.cluster.client.clone());
        let namespace = json!({"metadata": {"name": case.namespace}});
        create(&namespaces, namespace).await?;
        let expression = format!(
            r#"device.driver == "{DRIVER}" && device.attributes["{DRIVER}"].?ifName.orValue("").startsWith("{}")"#,
            case.prefix()
        );
        let class = json!({
            "metadata": {"name": case.class()},
            "spec": {"selectors": [{"cel": {"expression": expression}}]},
        });
        case.classes()
            .create(&serde_json::from_value(class)?)
            .await?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = case.api();
        until("the namespace's service account", SOON, async || {
            let account = accounts.get_opt("default").await?;
            Ok(Seen::when(account.is_some(), "absent"))
        })
        .await?;
        Ok(case)
    }

    /// Removes all that the story made; waits until the driver has let go of it.
    ///
    /// # Errors
    /// Something stays.
    pub(crate) async fn close(self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        let now = DeleteParams::default();
        namespaces.delete(&self.namespace, &now).await?;
        self.classes().delete(&self.class()).await?;
        // The namespace itself takes five seconds more, for which nobody has to wait.
        let gone = until("the story's pods and claims gone", SOON * 2, async || {
            let pods: Vec<_> = self.api::<Pod>().list(&ListParams::default()).await?.items;
            let pods: Vec<_> = pods.iter().map(|pod| (name(pod), state(pod))).collect();
            let claims = self.claims().list(&ListParams::default()).await?;
            let names: Vec<_> = claims.iter().map(|claim| &claim.metadata.name).collect();
            Ok(Seen::when(
                pods.is_empty() && names.is_empty(),
                format!("{pods:?} {names:?}"),
            ))
        })
        .await;
        for link in links()? {
            if link.starts_with(&self.prefix()) {
                ip(&format!("link del {link}"))?;
            }
        }
        gone
    }

    /// What tells the story from others.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    fn prefix(&self) -> String {
        format!("n{:02}-", self.number)
    }

    /// Name of the DeviceClass of this story's NICs.
    pub(crate) fn class(&self) -> String {
        format!("e2e-{}", self.namespace)
    }

    fn classes(&self) -> Resources<DeviceClass> {
        Resources::new(self.cluster.client.clone(), &self.cluster.version, None)
    }

    /// Claims of the story.
    pub(crate) fn claims(&self) -> Resources<ResourceClaim> {
        let (client, version) = (self.cluster.client.clone(), &self.cluster.version);
        Resources::new(client, version, Some(&self.namespace))
    }

    fn templates(&self) -> Resources<ResourceClaimTemplate> {
        let (client, version) = (self.cluster.client.clone(), &self.cluster.version);
        Resources::new(client, version, Some(&self.namespace))
    }

    /// Objects of the story's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// One more NIC of the node, offered by the driver.
    ///
    /// # Errors
    /// It is not offered.
    pub(crate) async fn nic(&self) -> Result<Nic> {
        let nic = self.cable()?;
        self.is_offered(&nic.name, true, SOON).await?;
        nic.settled().await?;
        Ok(nic)
    }

    /// One more NIC of the node; does not wait for the driver to offer it.
    ///
    /// # Errors
    /// The kernel refused.
    pub(crate) fn cable(&self) -> Result<Nic> {
        let number = self.nics.fetch_add(1, Ordering::Relaxed);
        let net = self.number.saturating_add(100);
        Nic::create(format!("{}{number}", self.prefix()), net, number)
    }

    /// Waits until a link is offered, or no longer is.
    ///
    /// # Errors
    /// Not in time: what is offered instead.
    pub(crate) async fn is_offered(
        &self,
        link: &str,
        offered: bool,
        within: Duration,
    ) -> Result<()> {
        let what = format!("{link} {}offered", if offered { "" } else { "not " });
        until(&what, within, async || {
            let names = self.cluster.offered().await?;
            let is = names.iter().any(|name| name == link);
            Ok(Seen::when(is == offered, format!("offered: {names:?}")))
        })
        .await
    }

    /// Nothing yet, of this story's class.
    pub(crate) fn wants(&self) -> Wants {
        Wants::of(&self.class())
    }

    /// Makes a claim template: any one NIC, without parameters but an address of that NIC's subnet when given.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn template_for(&self, name: &str, nic: &Nic) -> Result<()> {
        let wants = self.wants().request_link("nic", &nic.name).configured(
            "nic",
            json!({"interface": {"name": "net1", "addresses": [nic.address]}}),
        );
        self.template(name, &wants).await
    }

    /// Makes a claim template.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn template(&self, name: &str, wants: &Wants) -> Result<()> {
        self.templates().create(&wants.template(name)?).await?;
        Ok(())
    }

    /// Deletes a claim template.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn delete_template(&self, name: &str) -> Result<()> {
        Ok(self.templates().delete(name).await?)
    }

    /// Makes a claim.
    ///
    /// # Errors
    /// The API server refused.
    pub(crate) async fn claim(&self, name: &str, wants: &Wants) -> Result<ResourceClaim> {
        Ok(self.claims().create(&wants.claim(name)?).await?)
    }

    /// Deletes a claim and waits until it is gone.
    ///
    /// # Errors
    /// It stays.
    pub(crate) async fn delete_claim(&self, name: &str) -> Result<()> {
        let claims = self.claims();
        claims.delete(name).await?;
        until(&format!("claim {name} gone"), SOON, async || {
            let claim = claims.get_opt(name).await?;
            Ok(Seen::when(claim.is_none(), "it is there"))
        })
        .await
    }

    /// Waits until something was said of an object: an event with this reason that contains this text.
    ///
    /// # Errors
    /// It was not: what was said instead.
    pub(crate) async fn event(&self, object: &str, reason: &str, text: &str) -> Result<()> {
        let what = format!("event {reason} of {object} with `{text}`");
        until(&what, SOON, async || {
            let said = self.cluster.events(&self.namespace, object).await?;
            let found = said
                .iter()
                .any(|event| event.starts_with(reason) && event.contains(text));
            Ok(Seen::when(found, format!("{said:#?}")))
        })
        .await
    }

    /// Name of the claim that was made for a pod from a template.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn generated_claim(&self, pod: &str) -> Result<String> {
        let pods: Api<Pod> = self.api();
        until(&format!("{pod} has a generated claim"), SOON, async || {
            let status = pods.get(pod).await?.status.unwrap_or_default();
            let claims = status.resource_claim_statuses.unwrap_or_default();
            let claim = claims
                .into_iter()
                .find_map(|claim| claim.resource_claim_name);
            Ok(claim.map_or_else(|| Seen::Not("none".to_owned()), Seen::Yes))
        })
        .await
    }

    /// Waits until a claim's status shows this interface in the pod; returns the entry.
    ///
    /// # Errors
    /// It does not: the status.
    pub(crate) async fn status_shows(&self, claim: &str, interface: &str) -> Result<Value> {
        let claims = self.claims();
        until(
            &format!("{claim}: status of {interface}"),
            SOON,
            async || {
                let status = serde_json::to_value(claims.get(claim).await?.status)?;
                let entries = status["devices"].as_array().cloned().unwrap_or_default();
                let found = entries.into_iter().find(|entry| {
                    entry["networkData"]["interfaceName"] == interface
                        && ready(entry) == Some("True")
                });
                Ok(found.map_or_else(|| Seen::Not(status.to_string()), Seen::Yes))
            },
        )
        .await
    }

    /// Waits until NICs are as they were, and the driver has forgotten all claims of this story.
    ///
    /// # Errors
    /// One is not, or a record stays.
    pub(crate) async fn all_is_as_before(&self, before: &[(&Nic, Home)]) -> Result<()> {
        for (nic, home) in before {
            nic.is_home_as(home).await?;
        }
        until("no record left", SOON, async || {
            let records = self.records().await?;
            Ok(Seen::when(records.is_empty(), format!("{records:?}")))
        })
        .await
    }

    /// What the driver durably knows of this story's claims.
    ///
    /// # Errors
    /// The driver does not answer.
    pub(crate) async fn records(&self) -> Result<Vec<Value>> {
        let mut records = self.driver.claims().await?;
        records.retain(|record| record["namespace"] == self.namespace.as_str());
        Ok(records)
    }
}

/// A label of DNS, short enough for names made of it: `a_pod_gets` becomes `a-pod-gets`.
fn namespace_of(story: &str) -> String {
    let name: String = story.replace('_', "-").chars().take(50).collect();
    name.trim_end_matches('-').to_owned()
}

fn ready(entry: &Value) -> Option<&str> {
    let conditions = entry["conditions"].as_array()?;
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")?;
    ready["status"].as_str()
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<()>
where
    K: Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    api.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    Ok(())
}

/// Checks that a text contains another.
///
/// # Errors
/// It does not.
pub(crate) fn contains(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "`{part}` is not in:\n{text}");
    Ok(())
}
