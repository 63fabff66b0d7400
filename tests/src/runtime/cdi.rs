//! CDI as runtimes resolve it: every spec file of the directory, read strictly, at each container anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const VERSIONS: [&str; 8] = [
    "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Spec {
    cdi_version: String,
    kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    container_edits: Edits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    hooks: Vec<Hook>,
    device_nodes: Vec<serde_json::Value>,
    mounts: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "read so that unknown fields are refused")]
struct Hook {
    #[serde(rename = "hookName")]
    name: String,
    path: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    timeout: Option<u32>,
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.env.is_empty()
            && self.hooks.is_empty()
            && self.device_nodes.is_empty()
            && self.mounts.is_empty()
    }
}

/// The environment that these CDI ids add to a container.
///
/// # Errors
/// The text of the runtimes when an id is not defined by any valid file.
pub fn env_of(dir: &Path, ids: &[String]) -> Result<Vec<String>, String> {
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for spec in specs(dir) {
        for device in spec.devices {
            let id = format!("{}={}", spec.kind, device.name);
            let mut env = spec.container_edits.env.clone();
            env.extend(device.container_edits.env);
            known.insert(id, env);
        }
    }
    let missing: Vec<&str> = ids
        .iter()
        .filter(|id| !known.contains_key(*id))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        let mut seen: Vec<&String> = ids.iter().collect();
        seen.sort_unstable();
        seen.dedup();
        Ok(seen
            .into_iter()
            .filter_map(|id| known.get(id))
            .flatten()
            .cloned()
            .collect())
    } else {
        Err(format!(
            "CDI device injection failed: unresolvable CDI devices {}",
            missing.join(", ")
        ))
    }
}

/// A program that the OCI runtime runs before it starts a container, with its arguments but for the first.
pub(crate) type StartHook = (PathBuf, Vec<String>);

/// What these CDI ids have the OCI runtime run in `createRuntime`.
pub(crate) fn start_hooks_of(dir: &Path, ids: &[String]) -> Vec<StartHook> {
    let mut hooks = Vec::new();
    for spec in specs(dir) {
        for device in spec.devices {
            if ids.contains(&format!("{}={}", spec.kind, device.name)) {
                hooks.extend(device.container_edits.hooks);
            }
        }
    }
    hooks.retain(|hook| hook.name == "createRuntime");
    let program = |hook: Hook| (hook.path.into(), hook.args.into_iter().skip(1).collect());
    hooks.into_iter().map(program).collect()
}

/// The valid files. One that is not defines nothing; the runtime logs it and goes on.
fn specs(dir: &Path) -> Vec<Spec> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|n| n.to_str());
        let hidden = name.is_none_or(|name| name.starts_with('.'));
        !hidden && path.extension().is_some_and(|e| e == "json" || e == "yaml")
    });
    paths.filter_map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Option<Spec> {
    let bytes = std::fs::read(path).ok()?;
    let spec: Spec = serde_json::from_slice(&bytes).ok()?;
    is_valid(&spec).then_some(spec)
}

fn is_valid(spec: &Spec) -> bool {
    let ends = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(text.chars().next()) && edge(text.chars().last())
    };
    let made_of = |text: &str, also: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || also.contains(c))
    };
    let Some((vendor, class)) = spec.kind.split_once('/') else {
        return false;
    };
    let device_ok = |device: &Device| {
        ends(&device.name)
            && made_of(&device.name, "_-.:")
            && !device.container_edits.is_empty()
            && edits_ok(&device.container_edits)
            && device.annotations.len() < 1000
    };
    VERSIONS.contains(&spec.cdi_version.as_str())
        && ends(vendor)
        && vendor.starts_with(|c: char| c.is_ascii_alphabetic())
        && made_of(vendor, "_-.")
        && ends(class)
        && class.starts_with(|c: char| c.is_ascii_alphabetic())
        && made_of(class, "_-")
        && !spec.devices.is_empty()
        && spec.devices.iter().all(device_ok)
        && edits_ok(&spec.container_edits)
        && spec.annotations.len() < 1000
}

fn edits_ok(edits: &Edits) -> bool {
    edits
        .env
        .iter()
        .all(|e| e.split_once('=').is_some_and(|(key, _)| !key.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_files_define_ids() {
        let spec = |edits: &str| {
            format!(
                r#"{{"cdiVersion":"0.6.0","kind":"network.example.com/claim","devices":[{{"name":"u-1","containerEdits":{edits}}}]}}"#
            )
        };
        let good = spec(r#"{"env":["CLAIM=1"]}"#);
        let cases = [
            ("good", "a.json", good.clone(), true),
            ("temporary name", ".a.json.tmp", good.clone(), false),
            ("empty edit", "a.json", spec("{}"), false),
            (
                "unknown field",
                "a.json",
                spec(r#"{"env":["A=1"],"x":1}"#),
                false,
            ),
            ("no pair", "a.json", spec(r#"{"env":["A"]}"#), false),
            ("half a file", "a.json", good[..40].to_owned(), false),
            (
                "unknown version",
                "a.json",
                good.replace("0.6.0", "9.0.0"),
                false,
            ),
        ];
        for (name, file, text, want) in cases {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(file), text).unwrap();
            let env = env_of(dir.path(), &["network.example.com/claim=u-1".to_owned()]);
            assert_eq!(env.is_ok(), want, "{name}: {env:?}");
            if let Err(text) = env {
                assert_eq!(
                    text,
                    "CDI device injection failed: unresolvable CDI devices network.example.com/claim=u-1"
                );
            }
        }
    }
}
