//! What the server says of itself: `/version`, `/api`, `/apis` and the resource lists.

use serde_json::{Value, json};

use super::ResourceVersion;
use super::path::Kind;

/// The document at a path; `None` when there is none.
pub(super) fn document(path: &str, served: &[ResourceVersion]) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["version"] => Some(json!({
            "major": "1", "minor": "37", "gitVersion": "v1.37.0", "platform": "linux/amd64",
        })),
        ["readyz" | "livez" | "healthz"] => Some(json!("ok")),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
        })),
        ["api", "v1"] => Some(resources("", "v1")),
        ["apis"] => {
            let groups: Vec<Value> = groups(served).iter().map(|g| group(g, served)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] if groups(served).contains(name) => Some(group(name, served)),
        ["apis", name, version] if versions(name, served).contains(version) => {
            Some(resources(name, version))
        }
        _ => None,
    }
}

/// Groups that have a version.
fn groups(served: &[ResourceVersion]) -> Vec<&'static str> {
    let all = ["resource.k8s.io", "events.k8s.io"];
    let has_version = |name: &&str| !versions(name, served).is_empty();
    all.into_iter().filter(has_version).collect()
}

/// Versions of a group, preferred first.
pub(super) fn versions(group: &str, served: &[ResourceVersion]) -> Vec<&'static str> {
    match group {
        "resource.k8s.io" => served.iter().map(|version| version.as_str()).collect(),
        "events.k8s.io" | "" => vec!["v1"],
        _ => Vec::new(),
    }
}

fn group(name: &str, served: &[ResourceVersion]) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let versions: Vec<Value> = versions(name, served).iter().map(version).collect();
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": versions,
        "preferredVersion": versions.first(),
    })
}

fn resources(group: &str, version: &str) -> Value {
    let verbs = [
        "create", "delete", "get", "list", "patch", "update", "watch",
    ];
    let entry = |kind: Kind, name: String| {
        json!({
            "name": name,
            "singularName": kind.name().to_lowercase(),
            "namespaced": kind.is_namespaced(),
            "kind": kind.name(),
            "verbs": verbs,
        })
    };
    let of_group = Kind::ALL.into_iter().filter(|kind| kind.group() == group);
    let mut list: Vec<Value> = Vec::new();
    for kind in of_group {
        list.push(entry(kind, kind.plural().to_owned()));
        if kind == Kind::ResourceClaims {
            list.push(entry(kind, "resourceclaims/status".to_owned()));
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list,
    })
}
