//! The container runtime: sandboxes come and go, containers start.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use network_driver_common::model::{ClaimUid, SandboxId};

use super::super::{Kernel, Seen};
use super::{CLAIMS, Node, Outcome, REMEMBERED, Sandbox, uid};
use crate::cdi;
use crate::gate;
use crate::hook::Hook;
use crate::nri::{Container, Pod, PodEvents};
use crate::testing::{pod, request};

impl<K: Kernel> Node<K> {
    /// The hook, if the runtime calls it.
    pub(super) fn registered(&self) -> Option<Arc<Hook<K::Devices>>> {
        let running = self.hook.as_ref().filter(|running| running.registered)?;
        Some(Arc::clone(&running.hook))
    }

    pub(super) fn pod(&self, sandbox: &Sandbox) -> Pod {
        let path = self.path(&sandbox.id);
        let path = path.to_str().filter(|_| sandbox.slot.is_some());
        pod(&sandbox.id.to_string(), &format!("p{}", sandbox.pod), path)
    }

    pub(super) fn path(&self, sandbox: &SandboxId) -> PathBuf {
        self.dir.path().join(sandbox.as_str())
    }

    pub(super) async fn run(&mut self, pod: usize) -> &'static str {
        let Some(slot) = self.kernel.open() else {
            return "no namespace";
        };
        self.made = self.made.saturating_add(1);
        let sandbox = Sandbox {
            id: format!("s{}", self.made).parse().unwrap(),
            pod,
            slot: Some(slot),
            used: BTreeSet::new(),
        };
        // A pod has one sandbox: with a new one the containers in the earlier ones are over.
        let earlier = self
            .sandboxes
            .iter_mut()
            .filter(|earlier| earlier.pod == pod);
        earlier.for_each(|earlier| earlier.used.clear());
        symlink(self.kernel.path(slot), self.path(&sandbox.id)).unwrap();
        self.sandboxes.insert(0, sandbox.clone());
        self.sandboxes
            .truncate(REMEMBERED.max(self.open_sandboxes()));
        let Some(hook) = self.registered() else {
            return "runs unseen";
        };
        let answer = hook.run_pod_sandbox(self.pod(&sandbox), request(60_000));
        if answer.await.is_ok() {
            return "runs";
        }
        if self.kernel.took_the_hook() {
            // A plugin that was killed has said nothing, and the pod runs.
            self.kill_hook().await;
            return "killed";
        }
        self.close(0);
        "refused"
    }

    /// How many of the newest sandboxes hold all those that have not ended.
    pub(super) fn open_sandboxes(&self) -> usize {
        let last = self
            .sandboxes
            .iter()
            .rposition(|sandbox| sandbox.slot.is_some());
        last.map_or(0, |last| last.saturating_add(1))
    }

    pub(super) fn close(&mut self, index: usize) {
        let sandbox = &mut self.sandboxes[index];
        if let Some(slot) = sandbox.slot.take() {
            let path = self.path(&self.sandboxes[index].id);
            std::fs::remove_file(path).unwrap();
            self.closed.insert(slot);
        }
    }

    pub(super) async fn stop(&mut self, index: usize, heard: bool) {
        let Some(sandbox) = self.sandboxes.get(index).cloned() else {
            return;
        };
        if let Some(hook) = self.registered().filter(|_| heard) {
            let stopped = pod(&sandbox.id.to_string(), &format!("p{}", sandbox.pod), None);
            hook.stop_pod_sandbox(stopped, request(60_000)).await;
        }
        self.close(index);
    }

    /// A container starts where its CDI id is defined and the hook, if the runtime has one, does not object.
    pub(super) async fn start(&mut self, pod: usize, claim: usize) -> Outcome {
        let newest = self.sandboxes.iter().position(|sandbox| sandbox.pod == pod);
        let sandbox = newest.and_then(|newest| Some((newest, self.sandboxes[newest].slot?)));
        let Some((index, slot)) = sandbox else {
            return Ok("no sandbox");
        };
        if !self.defined().contains(&uid(claim)) {
            return Ok("id not defined");
        }
        let Some(hook) = self.registered() else {
            // The start hook looks for the devices themselves.
            return Ok("left to the start hook");
        };
        let container = Container {
            id: "c".into(),
            pod: None,
            sandbox: Some(self.sandboxes[index].id.clone()),
            name: "main".into(),
            env: vec![format!("{}=x", gate::variable(&uid(claim)))],
        };
        let answer = hook.create_container(container, request(60_000)).await;
        if answer.is_err() {
            return Ok("refused at the gate");
        }
        for device in CLAIMS[claim].0 {
            let seen = self.kernel.look(*device);
            if seen != Seen::Pod(slot) {
                return Err(format!(
                    "I1: a container starts in {slot} with device {device} {seen:?}"
                ));
            }
            self.sandboxes[index].used.insert((claim, *device));
        }
        Ok("starts")
    }

    /// Ids that the runtime finds.
    pub(super) fn defined(&self) -> BTreeSet<ClaimUid> {
        let driver = "network.example.com".parse().unwrap();
        let cdi = cdi::Directory::new(self.dir.path().join("cdi"), driver, None).unwrap();
        cdi.defined().unwrap()
    }
}
