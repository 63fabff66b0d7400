//! An API server of a few routes, called without a network.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::DRIVER;

/// Holds claims, and what was written. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// By name; all in one namespace.
    pub(crate) claims: BTreeMap<String, Value>,
    /// Bodies of patches of `resourceclaims/status`, each with the request's query.
    pub(crate) patches: Vec<(String, Value)>,
    /// Reasons of events, in order, each with the kind of its object.
    pub(crate) events: Vec<(String, String)>,
    /// How often a claim was asked for.
    pub(crate) asked: usize,
    /// How often a claim was read.
    pub(crate) reads: usize,
    /// Answers patches with this instead.
    pub(crate) refuse_patch: Option<(u16, String)>,
    /// Requests for claims wait for as long as this is held.
    pub(crate) gate: Arc<tokio::sync::Mutex<()>>,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Adds a claim, named like its UID, that has been given these devices for one pod.
    pub(crate) fn allocate(&self, uid: &str, devices: &[&str], parameters: Option<Value>) {
        let results: Vec<_> = devices
            .iter()
            .map(|device| {
                json!({"request": "nic/first", "driver": DRIVER, "pool": "node-1", "device": device})
            })
            .collect();
        let config = parameters.map(|mut parameters| {
            parameters["apiVersion"] = format!("{DRIVER}/v1alpha1").into();
            parameters["kind"] = "NetworkConfig".into();
            json!({"source": "FromClaim", "opaque": {"driver": DRIVER, "parameters": parameters}})
        });
        let claim = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"namespace": "default", "name": uid, "uid": uid, "generation": 1},
            "status": {
                "allocation": {"devices": {"results": results, "config": config.into_iter().collect::<Vec<_>>()}},
                "reservedFor": [{"resource": "pods", "name": "pod", "uid": format!("p-{uid}")}],
            },
        });
        self.state().claims.insert(uid.to_owned(), claim);
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let name = path.split('/').nth(7).unwrap_or_default().to_owned();
        let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/";
        if head.method == Method::GET && path == "/apis/resource.k8s.io/v1" {
            let resource = |name: &str, kind: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"]});
            let resources = [
                resource("resourceslices", "ResourceSlice"),
                resource("resourceclaims", "ResourceClaim"),
            ];
            let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "resource.k8s.io/v1", "resources": resources});
            return response(200, &list);
        }
        if head.method == Method::GET && path.starts_with(claims) {
            let gate = {
                let mut state = self.state();
                state.asked = state.asked.saturating_add(1);
                Arc::clone(&state.gate)
            };
            drop(gate.lock().await);
            let mut state = self.state();
            state.reads = state.reads.saturating_add(1);
            return match state.claims.get(&name) {
                Some(claim) => response(200, claim),
                None => failure(404, "not found"),
            };
        }
        if head.method == Method::PATCH && path.starts_with(claims) && path.ends_with("/status") {
            let mut state = self.state();
            if let Some((code, message)) = &state.refuse_patch {
                return failure(*code, message);
            }
            let query = head.uri.query().unwrap_or_default().to_owned();
            let answer = body.clone();
            state.patches.push((query, body));
            return response(200, &answer);
        }
        if head.method == Method::POST && path.ends_with("/events") {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let event = (text(&body["regarding"]["kind"]), text(&body["reason"]));
            self.state().events.push(event);
            return response(201, &body);
        }
        failure(404, &path)
    }
}

fn response(code: u16, body: &Value) -> Response<Body> {
    let body = Body::from(body.to_string().into_bytes());
    let mut response = Response::new(body);
    *response.status_mut() = code.try_into().unwrap();
    response
}

fn failure(code: u16, message: &str) -> Response<Body> {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "", "code": code});
    response(code, &status)
}
