//! The hook's rules, over devices that are only a list.

mod memory;
mod model;
mod netns;
mod orders;
mod pods;
mod quarantine;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::Snapshot;
use network_driver_netlink::{Netns, NetnsId};
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Answer;
use network_driver_proto::bus::report::Event as Reported;
use network_driver_proto::bus::{ClaimRef, Order, RefusalClass};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::links::{MarkedLink, Presence};
use crate::nri::{Container, Pod, PodEvents};
use crate::records::client::List;
use crate::testing::{
    FakeDevices, FakeState, Outcome, claim, hook_in, interface, pod, record, request,
};

fn complete(records: &[Record]) -> List {
    List {
        records: records.iter().cloned().map(Arc::new).collect(),
        ..List::default()
    }
}

/// A hook in a directory of its own, with a namespace that looks like a pod's.
struct Node {
    hook: Arc<Hook<FakeDevices>>,
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self::with_home(None)
    }

    /// With claim c in sandbox s1 of pod p.
    async fn lent() -> Self {
        let node = Self::new();
        node.hook.records.commit(record("c", &["p"]));
        node.run("s1", "p").await.unwrap();
        node
    }

    fn with_home(home: Option<NetnsId>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hook = Arc::new(hook_in(dir.path(), home));
        Self { hook, dir }
    }

    /// dra-plugin's list comes, and lacks nothing.
    fn list(&self, records: &[Record]) {
        self.hook.take_records(complete(records));
    }

    /// A sandbox whose namespace is there.
    fn pod(&self, sandbox: &str, uid: &str) -> Pod {
        let path = self.netns(sandbox);
        if !path.exists() {
            symlink("/proc/self/ns/net", &path).unwrap();
        }
        pod(sandbox, uid, path.to_str())
    }

    fn netns(&self, sandbox: &str) -> PathBuf {
        self.dir.path().join(sandbox)
    }

    async fn run(&self, sandbox: &str, uid: &str) -> Result<(), String> {
        self.hook
            .run_pod_sandbox(self.pod(sandbox, uid), request(2000))
            .await
    }

    async fn stop(&self, sandbox: &str, uid: &str) {
        self.hook
            .stop_pod_sandbox(pod(sandbox, uid, None), request(2000))
            .await;
    }

    async fn create(&self, sandbox: &str, uid: &str) -> Result<(), String> {
        let container = Container {
            id: format!("{sandbox}-main"),
            pod: None,
            sandbox: sandbox.parse().ok(),
            name: "main".into(),
            env: vec![format!("{}=net1", crate::gate::variable(&claim(uid)))],
        };
        self.hook.create_container(container, request(2000)).await
    }

    async fn order(&self, order: Kind) -> Answer {
        let traceparent = String::new();
        self.hook
            .obey(Order {
                id: 1,
                traceparent,
                order: Some(order),
            })
            .await
    }

    async fn release(&self, uid: &str) -> Answer {
        self.order(Kind::Release(ClaimRef {
            claim_uid: uid.into(),
        }))
        .await
    }

    fn defined(&self) -> Vec<String> {
        self.hook
            .cdi
            .defined()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn log(&self) -> Vec<String> {
        self.hook.devices.log()
    }

    fn is_attached(&self, uid: &str, sandbox: &str) -> bool {
        self.hook
            .sandboxes
            .is_attached(&claim(uid), &sandbox.parse().unwrap())
    }

    /// The newest report of each claim as `<claim> <event>`.
    fn reports(&self) -> Vec<String> {
        let reports = self.hook.reports.after(0).into_iter().map(|report| {
            let event = match report.event.unwrap() {
                Reported::Attached(_) => "attached in",
                Reported::Detached(_) => "detached from",
                Reported::Failed(_) => "failed in",
                Reported::LeftBehind(_) => "left behind",
                Reported::GivenBack(_) => "given back",
            };
            format!("{} {event} {}", report.claim_uid, report.sandbox_id)
        });
        reports.collect()
    }

    /// Catches up in the background until the condition holds.
    async fn catch_up_until(&self, what: &str, holds: impl Fn() -> bool) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Arc::clone(&self.hook).catch_up(stop.clone()));
        self.hook.catch_up_soon();
        let begun = Instant::now();
        while !holds() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "not reached: {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}

fn marked(uid: &str) -> MarkedLink {
    MarkedLink {
        name: "net1".parse().unwrap(),
        claim: claim(uid),
        device: record(uid, &[]).attachments[0].device.name.clone(),
        home_name: "eth2".parse().unwrap(),
    }
}
