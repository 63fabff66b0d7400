//! Every file of deploy/examples, applied as it stands but for the image, which is the node's own, and the names of links.
//!
//! The comment at a file's top says what becomes of it, a line each:
//! ```text
//! # Expect: POD runs
//! # Expect: POD runs with INTERFACE [TEXT]         TEXT is in what `ip` says of it in the pod
//! # Expect: POD comes back with INTERFACE [TEXT]   after it was deleted
//! # Expect: N of APP run with INTERFACE [TEXT]     pods with the label app
//! # Expect: POD waits: TEXT                        an event of the pod says so
//! # Expect: OBJECT is refused: TEXT                by the API server
//! ```

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::discovery::{Scope, pinned_kind};

use crate::case::{Case, SOON, contains, name, uid};
use crate::node::ip;
use crate::wait::{Seen, until};

/// Name of the container in every example.
const CONTAINER: &str = "shell";

/// What the examples say and the test node has instead.
const IMAGES: (&str, &str) = ("busybox:1.37", "e2e.local/busybox:1");

/// Each example does what it says, and leaves the node as it was.
pub(super) async fn every_example_keeps_its_promise(case: &Case) -> Result<()> {
    let nics = [case.nic().await?, case.nic().await?];
    ip(&format!("addr add 192.168.77.2/24 dev {}", nics[0].name))?;
    let mut files: Vec<_> = fs::read_dir(case.driver.examples())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "no examples");
    let names = [("\"eth1\"", nics[0].name.as_str()), ("\"eth0\"", "uplink0")];
    for path in &files {
        let homes = [(&nics[0], nics[0].look()?), (&nics[1], nics[1].look()?)];
        let told = Example::read(path, &names)?.tell(case).await;
        told.with_context(|| path.display().to_string())?;
        let home = case.all_is_as_before(&homes).await;
        home.with_context(|| format!("after {}", path.display()))?;
    }
    Ok(())
}

struct Example {
    promises: Vec<Promise>,
    objects: Vec<DynamicObject>,
}

/// What a line of the comment says.
#[derive(Debug, PartialEq, Eq)]
enum Promise {
    Runs {
        pod: String,
        sees: Option<Sees>,
    },
    ComesBack {
        pod: String,
        sees: Sees,
    },
    Several {
        count: usize,
        app: String,
        sees: Sees,
    },
    Waits {
        pod: String,
        says: String,
    },
    Refused {
        object: String,
        says: String,
    },
}

#[derive(Debug, PartialEq, Eq)]
struct Sees {
    interface: String,
    text: String,
}

impl Example {
    fn read(path: &Path, names: &[(&str, &str)]) -> Result<Self> {
        let what = || path.display().to_string();
        let mut text = fs::read_to_string(path).with_context(what)?;
        let promises = text
            .lines()
            .filter_map(|line| line.strip_prefix("# Expect: "));
        let promises = promises.map(Promise::parse).collect::<Result<Vec<_>>>();
        let promises = promises.with_context(what)?;
        ensure!(!promises.is_empty(), "{}: no line `# Expect: …`", what());
        text = text.replace(IMAGES.0, IMAGES.1);
        for (example, ours) in names {
            text = text.replace(example, &format!("\"{ours}\""));
        }
        let objects = serde_saphyr::from_multiple(&text).with_context(what)?;
        Ok(Self { promises, objects })
    }

    async fn tell(&self, case: &Case) -> Result<()> {
        let mut made = Vec::new();
        let mut refused = Vec::new();
        for object in &self.objects {
            let api = api_of(case, object).await?;
            match api.create(&PostParams::default(), object).await {
                Ok(object) => made.push((api, object)),
                Err(error) => refused.push((name_of(object).to_owned(), error.to_string())),
            }
        }
        let kept = self.check(case, refused).await;
        let gone = remove(case, made).await;
        kept.and(gone)
    }

    async fn check(&self, case: &Case, mut refused: Vec<(String, String)>) -> Result<()> {
        for promise in &self.promises {
            if let Promise::Refused { object, says } = promise {
                let at = refused.iter().position(|(name, _)| name == object);
                let (_, why) =
                    refused.swap_remove(at.with_context(|| format!("{object} was not refused"))?);
                contains(&why, says)?;
            } else {
                promise
                    .is_kept(case)
                    .await
                    .with_context(|| format!("{promise:?}"))?;
            }
        }
        ensure!(refused.is_empty(), "refused: {refused:?}");
        Ok(())
    }
}

impl Promise {
    fn parse(line: &str) -> Result<Self> {
        let owned = str::to_owned;
        if let Some((object, says)) = line.split_once(" is refused: ") {
            let (object, says) = (owned(object), owned(says));
            return Ok(Self::Refused { object, says });
        }
        if let Some((pod, says)) = line.split_once(" waits: ") {
            let (pod, says) = (owned(pod), owned(says));
            return Ok(Self::Waits { pod, says });
        }
        if let Some((pod, sees)) = line.split_once(" comes back with ") {
            let (pod, sees) = (owned(pod), Sees::parse(sees));
            return Ok(Self::ComesBack { pod, sees });
        }
        if let Some((several, sees)) = line.split_once(" run with ") {
            let (count, app) = several.split_once(" of ").context("N of APP")?;
            let (count, app, sees) = (count.parse()?, owned(app), Sees::parse(sees));
            return Ok(Self::Several { count, app, sees });
        }
        let (pod, sees) = match line.split_once(" runs with ") {
            Some((pod, sees)) => (pod, Some(Sees::parse(sees))),
            None => (line.strip_suffix(" runs").context("not understood")?, None),
        };
        let pod = owned(pod);
        Ok(Self::Runs { pod, sees })
    }

    async fn is_kept(&self, case: &Case) -> Result<()> {
        match self {
            Self::Runs { pod, sees } => {
                case.runs(pod).await?;
                match sees {
                    Some(sees) => sees.holds(case, pod).await,
                    None => Ok(()),
                }
            }
            Self::ComesBack { pod, sees } => {
                comes_back(case, pod).await?;
                sees.holds(case, pod).await
            }
            Self::Several { count, app, sees } => {
                let pods = until(&format!("{count} pods"), SOON, async || {
                    let pods = case.pods(app).await?;
                    let names: Vec<_> = pods.iter().map(|pod| name(pod).to_owned()).collect();
                    Ok(if names.len() == *count {
                        Seen::Yes(names)
                    } else {
                        Seen::Not(format!("{names:?}"))
                    })
                })
                .await?;
                for pod in pods {
                    case.runs(&pod).await?;
                    sees.holds(case, &pod).await?;
                }
                Ok(())
            }
            Self::Waits { pod, says } => {
                case.event(pod, "", says).await?;
                case.stays_waiting(pod, Duration::from_secs(2)).await
            }
            Self::Refused { .. } => bail!("is checked before"),
        }
    }
}

/// Deletes a pod, and waits until its set has made it again.
async fn comes_back(case: &Case, pod: &str) -> Result<()> {
    let pods: Api<Pod> = case.api();
    let before = pods.get(pod).await?;
    pods.delete(pod, &DeleteParams::default()).await?;
    until(&format!("another {pod}"), SOON, async || {
        let now = pods.get_opt(pod).await?;
        let another = match &now {
            Some(now) => uid(now)? != uid(&before)?,
            None => false,
        };
        Ok(Seen::when(another, "not yet"))
    })
    .await?;
    case.runs(pod).await.map(|_| ())
}

impl Sees {
    fn parse(text: &str) -> Self {
        let (interface, text) = text.split_once(' ').unwrap_or((text, ""));
        Self {
            interface: interface.to_owned(),
            text: text.to_owned(),
        }
    }

    async fn holds(&self, case: &Case, pod: &str) -> Result<()> {
        let Self { interface, text } = self;
        let at = (case.namespace.as_str(), pod, CONTAINER);
        let link = ["ip", "addr", "show", "dev", interface];
        let said = case.cluster.exec(at, &link).await?;
        let routes = case.cluster.exec(at, &["ip", "route"]).await?;
        contains(&format!("{said}{routes}"), text)
    }
}

fn name_of(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

/// Where an object goes: the story's namespace, if it has one at all.
async fn api_of(case: &Case, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let types = object.types.as_ref().context("an object without a kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    let client = case.cluster.client.clone();
    let (resource, capabilities) = pinned_kind(&client, &kind).await?;
    Ok(match capabilities.scope {
        Scope::Namespaced => Api::namespaced_with(client, &case.namespace, &resource),
        Scope::Cluster => Api::all_with(client, &resource),
    })
}

/// Deletes what was made, the last first, and waits until it and all pods are gone.
async fn remove(case: &Case, made: Vec<(Api<DynamicObject>, DynamicObject)>) -> Result<()> {
    for (api, object) in made.iter().rev() {
        api.delete(name_of(object), &DeleteParams::default())
            .await?;
    }
    until("all of the example gone", SOON, async || {
        let pods = case.api::<Pod>().list(&ListParams::default()).await?.items;
        let mut left: Vec<_> = pods.iter().map(|pod| name(pod).to_owned()).collect();
        for (api, object) in &made {
            let there = api.get_opt(name_of(object)).await?;
            left.extend(there.map(|object| name_of(&object).to_owned()));
        }
        Ok(Seen::when(left.is_empty(), format!("{left:?}")))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_read_as_people_write_them() {
        let sees = |interface: &str, text: &str| Sees {
            interface: interface.into(),
            text: text.into(),
        };
        for (line, want) in [
            (
                "a runs",
                Promise::Runs {
                    pod: "a".into(),
                    sees: None,
                },
            ),
            (
                "a runs with net1 mtu 9000",
                Promise::Runs {
                    pod: "a".into(),
                    sees: Some(sees("net1", "mtu 9000")),
                },
            ),
            (
                "a-0 comes back with net1",
                Promise::ComesBack {
                    pod: "a-0".into(),
                    sees: sees("net1", ""),
                },
            ),
            (
                "2 of a run with net1",
                Promise::Several {
                    count: 2,
                    app: "a".into(),
                    sees: sees("net1", ""),
                },
            ),
            (
                "a waits: no: way",
                Promise::Waits {
                    pod: "a".into(),
                    says: "no: way".into(),
                },
            ),
            (
                "a is refused: b",
                Promise::Refused {
                    object: "a".into(),
                    says: "b".into(),
                },
            ),
        ] {
            assert_eq!(Promise::parse(line).unwrap(), want, "{line}");
        }
        assert!(Promise::parse("a walks").is_err());
    }

    #[test]
    fn every_example_can_be_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "yaml") {
                let example = Example::read(&path, &[]).unwrap();
                assert!(!example.objects.is_empty(), "{}", path.display());
            }
        }
    }
}
