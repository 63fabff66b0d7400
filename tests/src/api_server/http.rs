//! Requests: from path, method and query to the store and back.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State as Shape};
use axum::http::{HeaderMap, Method, Response, Uri, header};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::path::{Kind, Target};
use super::response::{Answer, Refusal, answer, fail, invalid, json_body, not_found, refuse};
use super::shape::{drop_field, flatten_requests};
use super::store::{Change, ObjectKey, metadata, new_uid};
use super::{ResourceVersion, Shared, State, apply, check, documents};
use crate::json::{child, put};

/// Longest body that the server takes (etcd's limit).
const MAX_BODY: usize = 1_500_000;

type Parameters = BTreeMap<String, String>;

pub(super) fn router(shared: Shared) -> Router {
    Router::new().fallback(handle).with_state(shared)
}

async fn handle(
    Shape(shared): Shape<Shared>,
    method: Method,
    uri: Uri,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let mut state = shared.lock();
    if state.faults.down {
        return refuse(Refusal(503, "ServiceUnavailable", "down".into()));
    }
    if let Some(document) = documents::document(uri.path(), &state.served) {
        return json_body(200, &document);
    }
    let Some(target) = Target::parse(uri.path()) else {
        return refuse(not_found(uri.path()));
    };
    if !documents::versions(target.kind.group(), &state.served).contains(&target.version.as_str()) {
        return refuse(not_found(uri.path()));
    }
    let request = Request {
        target,
        parameters,
        headers,
        body,
    };
    let verb = request.verb(&method);
    let counted = format!("{verb} {}", request.target.resource());
    let count = state.requests.entry(counted.clone()).or_default();
    *count = count.saturating_add(1);
    if let Some(fault) = state.faults.take(&counted) {
        return fail(fault);
    }
    if request.body.len() > MAX_BODY {
        return refuse(Refusal(
            413,
            "RequestEntityTooLarge",
            "request is too large".into(),
        ));
    }
    let answer = match verb {
        "get" => request.get(&state),
        "list" => Ok(request.list(&state)),
        "watch" => Ok(request.watch(&mut state)),
        "create" => request.create(&mut state),
        "update" => request.update(&mut state),
        "patch" => request.patch(&mut state),
        "delete" => request.delete(&mut state),
        _ => Err(Refusal(405, "MethodNotAllowed", method.to_string())),
    };
    answer.unwrap_or_else(refuse)
}

struct Request {
    target: Target,
    parameters: Parameters,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn verb(&self, method: &Method) -> &'static str {
        let watching = self
            .parameters
            .get("watch")
            .is_some_and(|v| v == "true" || v == "1");
        match (method.as_str(), &self.target.name) {
            ("GET", Some(_)) => "get",
            ("GET", None) if watching => "watch",
            ("GET", None) => "list",
            ("POST", None) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            _ => "",
        }
    }

    fn key(&self) -> ObjectKey {
        let name = self.target.name.as_deref().unwrap_or_default();
        ObjectKey::new(self.target.kind, self.target.namespace.as_deref(), name)
    }

    fn version(&self) -> Option<ResourceVersion> {
        (self.target.kind.group() == "resource.k8s.io")
            .then(|| ResourceVersion::parse(&self.target.version))
            .flatten()
    }

    fn is_nested(&self) -> bool {
        self.version().is_some_and(ResourceVersion::is_nested)
    }

    /// An object as this request's version shows it.
    fn show(&self, mut object: Value) -> Value {
        let group = self.target.kind.group();
        let version = &self.target.version;
        let api_version = if group.is_empty() {
            version.as_str().into()
        } else {
            format!("{group}/{version}").into()
        };
        put(&mut object, &["apiVersion"], api_version);
        put(&mut object, &["kind"], self.target.kind.name().into());
        if self.target.kind == Kind::ResourceClaims && self.is_nested() {
            flatten_requests(&mut object);
        }
        object
    }

    fn get(&self, state: &State) -> Answer {
        let found = state.store.read(&self.key());
        let object = found.ok_or_else(|| self.absent())?;
        Ok(json_body(200, &self.show(object.clone())))
    }

    fn matches(&self, object: &Value) -> bool {
        let in_namespace = self.target.namespace.is_none()
            || object
                .pointer("/metadata/namespace")
                .and_then(Value::as_str)
                == self.target.namespace.as_deref();
        let selector = self
            .parameters
            .get("fieldSelector")
            .map_or("", String::as_str);
        let terms = selector.split(',').filter_map(|term| term.split_once('='));
        let mut fits = terms.map(|(path, want)| {
            let pointer = format!("/{}", path.replace('.', "/"));
            let want = want.trim_start_matches('=');
            object
                .pointer(&pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                == want
        });
        in_namespace && fits.all(|fits| fits)
    }

    fn list(&self, state: &State) -> Response<Body> {
        let all = state.store.list(self.target.kind).into_iter();
        let items: Vec<Value> = all
            .filter(|object| self.matches(object))
            .map(|o| self.show(o))
            .collect();
        let group = self.target.kind.group();
        let version = &self.target.version;
        let list = json!({
            "kind": format!("{}List", self.target.kind.name()),
            "apiVersion": if group.is_empty() { version.clone() } else { format!("{group}/{version}") },
            "metadata": {"resourceVersion": state.store.version().to_string()},
            "items": items,
        });
        json_body(200, &list)
    }

    fn watch(self, state: &mut State) -> Response<Body> {
        let after = self
            .parameters
            .get("resourceVersion")
            .and_then(|v| v.parse().ok());
        let after = after.unwrap_or_else(|| state.store.version());
        let changes = UnboundedReceiverStream::new(state.store.watch(self.target.kind, after));
        let lines = changes.filter_map(move |change: Change| {
            let wanted = change.what == "ERROR" || self.matches(&change.object);
            let object = if change.what == "ERROR" {
                change.object
            } else {
                self.show(change.object)
            };
            let line = format!("{}\n", json!({"type": change.what, "object": object}));
            futures::future::ready(wanted.then(|| Ok::<_, Infallible>(Bytes::from(line))))
        });
        answer(200, Body::from_stream(lines))
    }

    fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal(400, "BadRequest", error.to_string()))
    }

    fn create(&self, state: &mut State) -> Answer {
        let mut object = self.json()?;
        if let Some(namespace) = &self.target.namespace {
            metadata(&mut object).insert("namespace".into(), namespace.as_str().into());
        }
        let meta = metadata(&mut object);
        if meta
            .get("name")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            let prefix = meta
                .get("generateName")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let unique = new_uid();
            let suffix = unique
                .get(unique.len().saturating_sub(5)..)
                .unwrap_or_default();
            let name = format!("{prefix}{suffix}");
            meta.insert("name".into(), name.into());
        }
        let name = meta
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !check::is_subdomain(&name) {
            return Err(invalid(format!("metadata.name: Invalid value: {name:?}")));
        }
        let key = ObjectKey::new(self.target.kind, self.target.namespace.as_deref(), &name);
        if state.store.read(&key).is_some() {
            return Err(Refusal(
                409,
                "AlreadyExists",
                format!("{name} already exists"),
            ));
        }
        let stored = self.store(state, object, None)?;
        Ok(json_body(201, &self.show(stored)))
    }

    fn update(&self, state: &mut State) -> Answer {
        let mut new = self.json()?;
        let old = state
            .store
            .read(&self.key())
            .cloned()
            .ok_or_else(|| self.absent())?;
        let asked = new
            .pointer("/metadata/resourceVersion")
            .and_then(Value::as_str);
        if asked.is_some_and(|v| {
            !v.is_empty()
                && old
                    .pointer("/metadata/resourceVersion")
                    .and_then(Value::as_str)
                    != Some(v)
        }) {
            return Err(Refusal(
                409,
                "Conflict",
                "the object has been modified".into(),
            ));
        }
        if self.target.subresource.as_deref() == Some("status") {
            let mut object = old.clone();
            put(&mut object, &["status"], child(&mut new, "status").take());
            new = object;
        }
        let stored = self.store(state, new, Some(&old))?;
        Ok(json_body(200, &self.show(stored)))
    }

    fn patch(&self, state: &mut State) -> Answer {
        let patch = self.json()?;
        let kind = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default();
        let old = state.store.read(&self.key()).cloned();
        let mut new = match &old {
            Some(old) => old.clone(),
            None if kind.contains("apply") && self.target.subresource.is_none() => json!({}),
            None => return Err(self.absent()),
        };
        let uid = patch.pointer("/metadata/uid").and_then(Value::as_str);
        let present = new.pointer("/metadata/uid").and_then(Value::as_str);
        if uid.is_some() && present.is_some() && uid != present {
            return Err(Refusal(
                409,
                "Conflict",
                format!("Precondition failed: UID in precondition: {uid:?}"),
            ));
        }
        if kind.contains("apply") {
            let manager = self.parameters.get("fieldManager");
            let manager = manager.ok_or_else(|| {
                Refusal(
                    400,
                    "BadRequest",
                    "fieldManager is required for apply patch".into(),
                )
            })?;
            let force = self.parameters.get("force").is_some_and(|v| v == "true");
            if self.target.subresource.as_deref() == Some("status") {
                apply::apply_status(&mut new, &patch, manager, force)
                    .map_err(|fault| Refusal(409, "Conflict", fault))?;
            } else {
                // One manager at a time is enough for slices and events.
                apply::merge(&mut new, &patch);
            }
        } else if kind.contains("merge-patch") {
            apply::merge(&mut new, &patch);
        } else {
            return Err(Refusal(415, "UnsupportedMediaType", kind.to_owned()));
        }
        let stored = self.store(state, new, old.as_ref())?;
        Ok(json_body(200, &self.show(stored)))
    }

    fn store(
        &self,
        state: &mut State,
        mut object: Value,
        old: Option<&Value>,
    ) -> Result<Value, Refusal> {
        match self.target.kind {
            Kind::ResourceSlices => {
                check::slice(&object, self.is_nested()).map_err(invalid)?;
                if let Some(old) = old {
                    check::slice_update(old, &object).map_err(invalid)?;
                }
                for field in &state.dropped_fields {
                    drop_field(child(&mut object, "spec"), field);
                }
            }
            Kind::ResourceClaims => check::claim_status(&object).map_err(invalid)?,
            Kind::Events => check::event(&object).map_err(invalid)?,
            Kind::Nodes => {}
        }
        Ok(state.store.put(self.target.kind, object))
    }

    fn delete(&self, state: &mut State) -> Answer {
        let key = self.key();
        let present = state.store.read(&key).ok_or_else(|| self.absent())?;
        let options: Value = if self.body.is_empty() {
            Value::Null
        } else {
            self.json()?
        };
        for field in ["uid", "resourceVersion"] {
            let asked = options.pointer(&format!("/preconditions/{field}"));
            if asked
                .is_some_and(|asked| present.pointer(&format!("/metadata/{field}")) != Some(asked))
            {
                return Err(Refusal(
                    409,
                    "Conflict",
                    format!("Precondition failed: {field}"),
                ));
            }
        }
        let gone = state.store.remove(&key);
        Ok(json_body(200, &self.show(gone.unwrap_or_default())))
    }

    fn absent(&self) -> Refusal {
        let name = self.target.name.as_deref().unwrap_or_default();
        let group = self.target.kind.group();
        Refusal(
            404,
            "NotFound",
            format!("{}.{group} {name:?} not found", self.target.kind.plural()),
        )
    }
}
