//! What may happen, and lives made of it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::node::{CLAIMS, Node, PODS};
use super::{DEVICES, Kernel};

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Op {
    pub(super) what: What,
    pub(super) trouble: Trouble,
}

/// What goes wrong in the kernel meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trouble {
    None,
    /// The step of this number is refused.
    Fails(u32),
    /// At the step of this number the hook is killed.
    Dies(u32),
}

/// Where dra-plugin is killed in the middle of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    No,
    /// Before the change is on disk.
    BeforeDisk,
    /// After that, before the hook hears of it or the kubelet is answered.
    BeforeAnswer,
}

/// Numbers are those of claims, pods, devices; of sandboxes, counted from the newest.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    /// The kubelet prepares a claim.
    Prepare(usize, Cut),
    /// The kubelet unprepares a claim.
    Unprepare(usize, Cut),
    /// The runtime makes a sandbox for a pod, also while it has one.
    Run(usize),
    /// A container of a pod that names a claim is to start.
    Start(usize, usize),
    /// The runtime stops a sandbox, or says once more that it did.
    Stop(usize),
    /// A sandbox ends and the hook does not hear of it.
    StopUnheard(usize),
    /// The runtime connects anew and lists its sandboxes.
    Synchronize,
    KillHook,
    StartHook,
    KillPlugin,
    StartPlugin,
    /// dra-plugin finds its database gone.
    LoseDatabase,
    Reboot,
    Unplug(usize),
    /// A link is plugged in, or put right by the operator and let out of quarantine.
    Plug(usize),
    /// The hook's timers.
    CatchUp,
    LookAround,
}

/// Lives of up to 60 steps, with trouble in the kernel or without.
pub(super) fn lives(troubled: bool) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(troubled), 1..60)
}

fn op(troubled: bool) -> impl Strategy<Value = Op> {
    let trouble = if troubled {
        prop_oneof![
            6 => Just(Trouble::None),
            2 => step().prop_map(Trouble::Fails),
            1 => step().prop_map(Trouble::Dies),
        ]
        .boxed()
    } else {
        Just(Trouble::None).boxed()
    };
    (what(), trouble).prop_map(|(what, trouble)| Op { what, trouble })
}

/// Number of a step. Many things take only one.
fn step() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..9_u32]
}

fn what() -> impl Strategy<Value = What> {
    let (claim, pod, device, sandbox) = (0..CLAIMS.len(), 0..PODS, 0..DEVICES, 0..4_usize);
    let cut = prop_oneof![
        8 => Just(Cut::No),
        1 => Just(Cut::BeforeDisk),
        1 => Just(Cut::BeforeAnswer),
    ];
    // Mostly a container of a pod that may use the claim.
    let start = prop_oneof![
        6 => prop::sample::select(vec![(0, 0), (0, 1), (1, 0), (2, 2)]),
        1 => (pod.clone(), claim.clone()),
    ];
    prop_oneof![
        8 => (claim.clone(), cut.clone()).prop_map(|(claim, cut)| What::Prepare(claim, cut)),
        4 => (claim, cut).prop_map(|(claim, cut)| What::Unprepare(claim, cut)),
        8 => pod.prop_map(What::Run),
        8 => start.prop_map(|(pod, claim)| What::Start(pod, claim)),
        4 => sandbox.clone().prop_map(What::Stop),
        1 => sandbox.prop_map(What::StopUnheard),
        1 => Just(What::Synchronize),
        1 => Just(What::KillHook),
        6 => Just(What::StartHook),
        1 => Just(What::KillPlugin),
        5 => Just(What::StartPlugin),
        1 => Just(What::LoseDatabase),
        1 => Just(What::Reboot),
        1 => device.clone().prop_map(What::Unplug),
        2 => device.prop_map(What::Plug),
        3 => Just(What::CatchUp),
        1 => Just(What::LookAround),
    ]
}

/// How steps ended, and how often so.
pub(super) type Ends = BTreeMap<&'static str, u64>;

/// What must have happened among many lives, or they say little.
pub(super) const EXPECTED: [&str; 15] = [
    "prepared",
    "prepared again",
    "not ready",
    "device in use",
    "device in quarantine",
    "cut off",
    "unprepared",
    "away",
    "runs",
    "runs unseen",
    "refused",
    "killed",
    "starts",
    "refused at the gate",
    "left to the start hook",
];

/// Lives a life to its end.
pub(super) async fn live<K: Kernel>(
    node: &mut Node<K>,
    ops: &[Op],
    ended: impl Fn(&'static str),
) -> Result<(), String> {
    for (step, op) in ops.iter().enumerate() {
        let done = node.step(op).await;
        let done = done.map_err(|broken| format!("step {step} {:?}: {broken}", op.what))?;
        ended(done.end);
    }
    node.end().await
}
