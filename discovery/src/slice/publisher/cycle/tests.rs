//! One look after another, against an API server that is called without a network.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard};

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use network_driver_common::health::Health;
use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::{DeviceFault, FaultReason, Protected};
use network_driver_kubernetes::{Cluster, ResourceApi};
use serde_json::json;
use tower::service_fn;

use super::*;
use crate::fixture::device;
use crate::inventory::{InUse, LinkView, Offered};
use crate::metrics::Metrics;

/// Least time between two writes; no test is that slow.
const INTERVAL: Duration = Duration::from_mins(10);

/// Keeps what is written to it as it would be stored.
#[derive(Clone, Default)]
struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The devices of each write, by name.
    writes: Vec<Vec<String>>,
    /// The entries of the last write, as they were sent.
    sent: Vec<Value>,
    /// Keeps no taints, as a server that has the feature off.
    drops_taints: bool,
    /// Answers 500.
    is_down: bool,
}

impl FakeApi {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        assert!([Method::POST, Method::PUT].contains(&head.method));
        let body = body.collect_bytes().await.unwrap();
        let mut slice: Value = serde_json::from_slice(&body).unwrap();
        let mut state = self.state();
        if state.is_down {
            let refusal =
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500});
            return response(500, &refusal);
        }
        let devices = convert::devices(&slice["spec"]);
        state.sent = devices.to_vec();
        let names = devices.iter().filter_map(convert::device_name);
        let names = names.map(str::to_owned).collect();
        state.writes.push(names);
        if state.drops_taints {
            for device in slice["spec"]["devices"].as_array_mut().unwrap() {
                device.as_object_mut().unwrap().remove("taints");
            }
        }
        let prefix = slice["metadata"]["generateName"].as_str().unwrap();
        slice["metadata"]["name"] = format!("{prefix}abcde").into();
        slice["metadata"]["resourceVersion"] = state.writes.len().to_string().into();
        response(200, &slice)
    }
}

fn response(code: u16, body: &Value) -> Response<Body> {
    let body = Body::from(serde_json::to_vec(body).unwrap());
    Response::builder().status(code).body(body).unwrap()
}

/// A publisher and all that it hears.
struct Bed {
    publisher: Publisher,
    owner: Owner,
    view: watch::Sender<Option<Arc<View>>>,
    api: FakeApi,
}

impl Bed {
    fn new(interval: Duration) -> Self {
        let api = FakeApi::default();
        let (view, seen) = watch::channel(None);
        let driver: network_driver_common::model::DriverName =
            "network.example.com".parse().unwrap();
        let publisher = Publisher {
            cluster: Cluster::new(api.client(), "10.0.0.1".to_owned(), 443),
            driver: driver.clone(),
            node: "node-1".to_owned(),
            interval,
            view: seen,
            destinations: watch::Sender::new(Protected::default().destinations),
            metrics: Metrics::new(&mut Registry::default()),
            health: Health::default().part("kubernetes"),
        };
        let owner = Owner {
            api: ResourceApi::V1,
            driver,
            node: "node-1".to_owned(),
            node_uid: "u".to_owned(),
        };
        Self {
            publisher,
            owner,
            view,
            api,
        }
    }

    /// The publisher at work, when it has seen that no slice stands.
    fn cycle(&self) -> Cycle<'_> {
        let mut cycle = Cycle::new(&self.publisher, self.owner.clone());
        cycle.seen(watcher::Event::Init);
        cycle.seen(watcher::Event::InitDone);
        cycle
    }

    fn show(&self, view: View) {
        self.view.send_replace(Some(Arc::new(view)));
    }

    fn writes(&self) -> Vec<Vec<String>> {
        self.api.state().writes.clone()
    }
}

/// An inventory that offers these, dra-plugin's lists included.
fn view(offered: &[&str]) -> View {
    let links = offered.iter().map(|name| {
        Arc::new(LinkView {
            name: name.parse().unwrap(),
            index: 1,
            kind: "veth".into(),
            offered: Offered::As(device(name)),
        })
    });
    View {
        links: links.collect(),
        in_use_known: true,
        ..View::default()
    }
}

#[tokio::test]
async fn an_inventory_older_than_the_protected_addresses_is_not_published() {
    let bed = Bed::new(Duration::ZERO);
    let mut cycle = bed.cycle();
    let address = "10.0.0.1".parse().unwrap();
    bed.publisher.destinations.send_replace([address].into());
    bed.show(view(&["uplink", "eth1"]));
    cycle.publish().await;
    assert!(bed.writes().is_empty(), "{:?}", bed.writes());

    let mut current = view(&["eth1"]);
    current.protected.destinations = [address].into();
    bed.show(current);
    cycle.publish().await;
    assert_eq!(bed.writes(), [["eth1"]]);
}

#[tokio::test]
async fn the_first_look_is_not_put_off_and_later_ones_wait_for_their_turn_but_for_a_loss() {
    let bed = Bed::new(INTERVAL);
    let mut cycle = bed.cycle();
    bed.show(view(&["eth1"]));
    cycle.inventory_changed();
    assert!(cycle.due.unwrap() <= Instant::now());
    cycle.publish().await;
    assert_eq!(bed.writes(), [["eth1"]]);

    let (before, mut more) = (Instant::now(), view(&["eth1", "eth2"]));
    bed.show(more.clone());
    cycle.inventory_changed();
    let due = cycle.due.unwrap();
    assert!(due > before + INTERVAL / 2, "a new device waits");

    more.losses = 1;
    bed.show(more);
    cycle.inventory_changed();
    let due = cycle.due.unwrap();
    assert!(due <= Instant::now() + SETTLE, "a loss does not");
}

#[tokio::test]
async fn a_server_that_fails_is_left_alone_for_a_while_whatever_happens() {
    let bed = Bed::new(Duration::ZERO);
    let mut cycle = bed.cycle();
    bed.api.state().is_down = true;
    bed.show(view(&["eth1"]));
    cycle.publish().await;
    let rest = cycle.not_before.unwrap();
    cycle.touch(true);
    assert_eq!(cycle.due, Some(rest));

    bed.api.state().is_down = false;
    cycle.publish().await;
    assert_eq!(bed.writes(), [["eth1"]]);
    assert_eq!(cycle.not_before, None);
}

#[tokio::test]
async fn what_a_server_without_the_feature_drops_is_not_sent_again_until_it_changes() {
    let bed = Bed::new(Duration::ZERO);
    let mut cycle = bed.cycle();
    bed.api.state().drops_taints = true;
    let faulty = |reason| {
        let device = device("eth1");
        let fault = Some(DeviceFault {
            reason,
            message: String::new(),
            since: SystemTime::UNIX_EPOCH,
        });
        let claim = "c-1".parse().unwrap();
        let used = InUse {
            device,
            claim,
            fault,
        };
        let in_use = [(used.device.name.clone(), used)].into();
        View {
            in_use: Arc::new(in_use),
            ..view(&["eth1"])
        }
    };
    let taint = |bed: &Bed| bed.api.state().sent[0]["taints"][0]["value"].clone();
    bed.show(faulty(FaultReason::CarrierDown));
    for _ in 0..3 {
        cycle.publish().await;
    }
    assert_eq!(bed.writes().len(), 1);
    assert_eq!(taint(&bed), "CarrierDown");

    bed.show(faulty(FaultReason::DeviceGone));
    cycle.publish().await;
    assert_eq!(bed.writes().len(), 2);
    assert_eq!(taint(&bed), "DeviceGone");

    // The feature is on again, and says so with the next write.
    bed.api.state().drops_taints = false;
    bed.show(faulty(FaultReason::CarrierDown));
    cycle.publish().await;
    cycle.publish().await;
    assert_eq!(bed.writes().len(), 3);
    assert!(cycle.lowered.is_empty());
}

#[tokio::test]
async fn what_changes_nothing_of_what_is_published_is_not_looked_at() {
    let bed = Bed::new(Duration::ZERO);
    let mut cycle = bed.cycle();
    cycle.due = None;
    let free = view(&["eth1", "eth2"]);
    bed.show(free.clone());
    cycle.publish().await;
    assert_eq!(bed.writes(), [["eth1", "eth2"]]);

    let used = |fault| InUse {
        device: device("eth1"),
        claim: "c-1".parse().unwrap(),
        fault,
    };
    let with = |used: InUse| View {
        in_use: Arc::new([(used.device.name.clone(), used)].into()),
        ..free.clone()
    };
    bed.show(with(used(None)));
    cycle.inventory_changed();
    assert_eq!(cycle.due, None, "a device was prepared");

    bed.show(with(used(Some(DeviceFault {
        reason: FaultReason::CarrierDown,
        message: "no carrier".into(),
        since: SystemTime::UNIX_EPOCH,
    }))));
    cycle.inventory_changed();
    assert!(cycle.due.is_some(), "it works no more");
    cycle.publish().await;
    assert_eq!(bed.writes().len(), 2);

    // And whatever happens to the slices themselves is looked at.
    cycle.touch(false);
    cycle.due = None;
    cycle.inventory_changed();
    assert!(cycle.due.is_some());
}
