//! The node of a life: the hook as it is, and around it a runtime, a kubelet and dra-plugin that follow the protocols.

mod machine;
mod plugin;
mod promises;
mod runtime;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use network_driver_common::model::{ClaimUid, DeviceName, Record, SandboxId};

use super::life::{Cut, Op, Trouble, What};
use super::{DEVICES, Kernel, Seen};
use crate::hook::Hook;
use crate::hook::catch_up::Failures;
use crate::testing::claim as uid_of;

/// The devices and the pods of each claim: one of a pod that has two, one of two pods, one whose device another has.
pub(super) const CLAIMS: [(&[usize], &[usize]); 3] =
    [(&[0], &[0, 1]), (&[1], &[0]), (&[0, 2], &[2])];
pub(super) const PODS: usize = 3;

/// Sandboxes of a pod are remembered for a while after their end: an event may come late.
const REMEMBERED: usize = 8;

fn uid(claim: usize) -> ClaimUid {
    uid_of(&format!("c{claim}"))
}

#[derive(Debug, Clone)]
struct Sandbox {
    id: SandboxId,
    pod: usize,
    /// Its namespace, while the runtime has it.
    slot: Option<usize>,
    /// Claim and device that a container in it has been started with, and may count on.
    used: BTreeSet<(usize, usize)>,
}

struct Running<K: Kernel> {
    hook: Arc<Hook<K::Devices>>,
    /// The runtime has taken it as a plugin: it never does before the hook has the records.
    registered: bool,
    failures: Failures,
}

/// dra-plugin: what is on its disk, and whether it runs.
#[derive(Debug, Default)]
struct Plugin {
    runs: bool,
    records: BTreeMap<ClaimUid, Record>,
    quarantined: BTreeSet<DeviceName>,
    /// Those of them that are lost.
    gone: BTreeSet<DeviceName>,
    /// Claims whose records were lost with the database.
    lost: BTreeSet<ClaimUid>,
    /// Whether the hook has yet to say which of them it holds.
    incomplete: bool,
}

pub(super) struct Node<K: Kernel> {
    kernel: K,
    dir: tempfile::TempDir,
    hook: Option<Running<K>>,
    plugin: Plugin,
    sandboxes: Vec<Sandbox>,
    /// Namespaces that the runtime has let go of and somebody may still hold.
    closed: BTreeSet<usize>,
    made: usize,
    /// Prepares that were begun.
    prepares: u32,
    boots: usize,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// In a word.
    pub(super) end: &'static str,
    /// Where the devices are then.
    seen: [Seen; DEVICES],
}

/// How a call ended, in a word.
type Outcome = Result<&'static str, String>;

impl<K: Kernel> Node<K> {
    /// A node on which everything runs and nothing has happened.
    pub(super) async fn new(kernel: K) -> Self {
        let mut node = Self {
            kernel,
            dir: tempfile::tempdir().unwrap(),
            hook: None,
            plugin: Plugin::default(),
            sandboxes: Vec::new(),
            closed: BTreeSet::new(),
            made: 0,
            prepares: 0,
            boots: 0,
        };
        node.plugin.runs = true;
        node.start_hook().await;
        node
    }

    /// Lets something happen and looks at what must always hold.
    pub(super) async fn step(&mut self, op: &Op) -> Result<Done, String> {
        let (fails_at, dies_at) = match op.trouble {
            Trouble::None => (None, None),
            Trouble::Fails(at) => (Some(at), None),
            Trouble::Dies(at) => (None, Some(at)),
        };
        self.kernel.trouble(fails_at, dies_at);
        let before = self.seen();
        let quarantined = self.plugin.quarantined.clone();
        let held = self.held_by_hook();
        let outcome = self.act(op.what).await;
        self.kernel.trouble(None, None);
        let outcome = if self.kernel.took_the_hook() {
            self.kill_hook().await;
            "killed"
        } else {
            outcome?
        };
        self.deliver();
        self.bury().await;
        self.let_go_what_returns();
        match op.what {
            // With the hook, namespaces die that only it had kept: what was in them falls home.
            What::Unprepare(claim, _) if outcome != "killed" => {
                self.others_untouched(claim, &before)?;
            }
            What::LoseDatabase => self.all_given_back(&held)?,
            What::CatchUp if outcome == "done" => self.nothing_that_leaves_is_defined()?,
            _ => {}
        }
        self.check()?;
        self.none_is_lent(&quarantined, &before)?;
        let seen = self.seen();
        Ok(Done { end: outcome, seen })
    }

    async fn act(&mut self, what: What) -> Outcome {
        match what {
            What::Prepare(claim, cut) => return self.prepare(claim, cut).await,
            What::Unprepare(claim, cut) => return self.unprepare(claim, cut).await,
            What::Run(pod) => return Ok(self.run(pod).await),
            What::Start(pod, claim) => return self.start(pod, claim).await,
            What::Stop(sandbox) => self.stop(sandbox, true).await,
            What::StopUnheard(sandbox) => self.stop(sandbox, false).await,
            What::Synchronize => self.synchronize().await,
            What::KillHook => self.kill_hook().await,
            What::StartHook => self.start_hook().await,
            What::KillPlugin => self.plugin.runs = false,
            What::StartPlugin => self.start_plugin().await,
            What::LoseDatabase => self.lose_database().await,
            What::Reboot => self.reboot().await,
            What::Unplug(device) => self.unplug(device).await,
            What::Plug(device) => self.plug(device),
            What::CatchUp => self.catch_up().await,
            What::LookAround => self.look_around().await,
        }
        Ok("done")
    }

    fn seen(&self) -> [Seen; DEVICES] {
        std::array::from_fn(|device| self.kernel.look(device))
    }

    /// The node is put in order: everything runs, all pods end, all claims are unprepared. Then all must be home, and
    /// all must work again.
    pub(super) async fn end(&mut self) -> Result<(), String> {
        let calm = |what| Op {
            what,
            trouble: Trouble::None,
        };
        let mut all = vec![
            What::StartPlugin,
            What::StartHook,
            What::Synchronize,
            What::CatchUp,
        ];
        all.extend((0..self.sandboxes.len()).map(What::Stop));
        all.extend([
            What::Synchronize,
            What::CatchUp,
            What::LookAround,
            What::CatchUp,
        ]);
        for what in all {
            let done = self.step(&calm(what)).await;
            done.map_err(|broken| format!("in the end, {what:?}: {broken}"))?;
        }
        for claim in (0..CLAIMS.len()).chain(0..CLAIMS.len()) {
            let unprepare = calm(What::Unprepare(claim, Cut::No));
            let done = self.step(&unprepare).await?;
            if done.end != "unprepared" {
                return Err(format!(
                    "in the end, claim {claim} is not unprepared: {done:?}"
                ));
            }
        }
        self.all_home()?;
        for device in 0..DEVICES {
            self.step(&calm(What::Plug(device))).await?;
        }
        for (what, wanted) in [
            (What::Prepare(0, Cut::No), "prepared"),
            (What::Prepare(1, Cut::No), "prepared"),
            (What::Prepare(2, Cut::No), "device in use"),
            (What::Run(0), "runs"),
            (What::Start(0, 0), "starts"),
            (What::Start(0, 1), "starts"),
            (What::Stop(0), "done"),
            (What::Unprepare(0, Cut::No), "unprepared"),
            (What::Unprepare(1, Cut::No), "unprepared"),
        ] {
            let done = self.step(&calm(what)).await?;
            if done.end != wanted {
                return Err(format!("after the end, {what:?}: {done:?}"));
            }
        }
        self.all_home()
    }
}

fn holds(record: &Record, device: &DeviceName) -> bool {
    record.attachments.iter().any(|a| a.device.name == *device)
}
