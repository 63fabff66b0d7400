//! Lives of a node at random: claims prepared and unprepared, pods that come and go, daemons killed, a database lost,
//! links unplugged, in any order. After each step the promises are looked at, and in the end nothing may be lost.
//!
//! ```text
//! Op ──► Node ──► Hook (the real one) ──► Devices ──► Kernel: a table (kernel), or the real one (real)
//!         └ plays the runtime and dra-plugin
//! ```
//! The same lives are lived on the real kernel, side by side, which proves the table.
//!
//! `MODEL_SEQUENCES` says how many lives; `MODEL_SEED` which; `MODEL_LIFE` that only one of them is lived. Without them the
//! same few are lived each time; `make torture` has others.
//! `MODEL_REAL_SEQUENCES` says how many on the real kernel.

mod kernel;
mod life;
mod node;
mod real;
mod remembered;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::Arc;

use network_driver_common::model::{HardwareAddress, IfName, LinkIdentity};
use network_driver_netlink::NetnsId;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::devices::Devices;
use kernel::Fake;
use life::{EXPECTED, Ends, Op, lives};
use node::Node;
use real::Real;

/// Lives when nobody says how many, and which.
const LIVES: u64 = 1500;
const SEED: u64 = 2;

/// Among so many lives everything happens that can.
const ENOUGH: u64 = 500;

/// Lives that are lived on the real kernel, too.
const REAL_LIVES: u64 = 8;

/// The node's devices.
const DEVICES: usize = 3;

/// Network namespaces for pods that there may be at one time.
const NAMESPACES: usize = 6;

fn home_name(number: usize) -> IfName {
    format!("nic{number}").parse().unwrap()
}

fn hardware_address(number: usize) -> HardwareAddress {
    format!("02:00:00:00:01:{number:02x}").parse().unwrap()
}

fn identity(number: usize) -> LinkIdentity {
    LinkIdentity::Other {
        kind: "veth".into(),
        hardware_address: hardware_address(number),
        home_name: home_name(number),
    }
}

/// Where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// At home; without a mark and as it looked at first, or not.
    Home { as_before: bool },
    /// In the namespace of a pod.
    Pod(usize),
    /// Unplugged, or dead with its namespace.
    Nowhere,
}

/// What a life is lived on. Namespaces for pods are known by a number.
trait Kernel {
    /// What the hook sees of it.
    type Devices: Devices;

    /// The kernel as a new life of the hook finds it.
    fn devices(&self) -> Arc<Self::Devices>;
    fn identity(&self, number: usize) -> LinkIdentity;
    fn look(&self, number: usize) -> Seen;
    /// A new namespace, if there is one to be had.
    fn open(&mut self) -> Option<usize>;
    fn path(&self, slot: usize) -> PathBuf;
    fn id(&self, slot: usize) -> NetnsId;
    /// Nobody has it any more: waits for its end.
    fn die(&mut self, slot: usize);
    fn unplug(&mut self, number: usize);
    fn plug(&mut self, number: usize);
    /// The tmpfs of the node is empty.
    fn forget_kept(&mut self);
    /// Some step from now fails, or is the last that the hook does.
    fn trouble(&mut self, fails_at: Option<u32>, dies_at: Option<u32>);
    /// Whether the hook was killed in the middle of something since the last look.
    fn took_the_hook(&mut self) -> bool;
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Lives lives; `live` says what went wrong in one.
fn run(name: &str, count: u64, troubled: bool, live: impl Fn(&[Op]) -> Result<(), String>) -> u64 {
    let seed = number("MODEL_SEED").unwrap_or(SEED);
    let first = number("MODEL_LIFE");
    // Maps have another order each time: one life, to be shrunk, is lived often enough to fail if it can.
    let times = if first.is_some() { 20 } else { 1 };
    let count = first.map_or(count, |life| life.saturating_add(1));
    let (lived, steps) = (Cell::new(first.unwrap_or_default()), Cell::new(0_usize));
    while lived.get() < count {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&lived.get().to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 4000,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let done = TestRunner::new_with_rng(config, rng).run(&lives(troubled), |ops| {
            steps.set(steps.get().saturating_add(ops.len()));
            let lived = (0..times).try_for_each(|_| live(&ops));
            lived.map_err(proptest::test_runner::TestCaseError::fail)
        });
        match done {
            Ok(()) => lived.set(lived.get().saturating_add(1)),
            Err(TestError::Fail(reason, ops)) => {
                let ops: Vec<_> = ops.iter().map(|op| format!("\n    {op:?}")).collect();
                let (lived, ops) = (lived.get(), ops.concat());
                panic!("{name}: {reason}\n  after{ops}\n  (MODEL_SEED={seed} MODEL_LIFE={lived})");
            }
            Err(TestError::Abort(reason)) => panic!("{name}: {reason}"),
        }
    }
    let (lived, steps) = (
        lived.get().saturating_sub(first.unwrap_or_default()),
        steps.get(),
    );
    println!("{name}: {lived} lives, {steps} steps, nothing lost (seed {seed})");
    lived
}

/// Lives a life on a runtime of its own.
fn block_on<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(life)
}

#[test]
fn netns_whatever_happens_in_whatever_order_nothing_is_lost() {
    let count = number("MODEL_SEQUENCES").unwrap_or(LIVES);
    let ends = RefCell::new(Ends::new());
    let ended = |end| {
        let mut ends = ends.borrow_mut();
        let count = ends.entry(end).or_default();
        *count = count.saturating_add(1);
    };
    // Of every three devices, one comes home by itself when its namespace dies.
    let lived = run("model", count, true, |ops| {
        block_on(async {
            let mut node = Node::new(Fake::new(|number| number == 1)).await;
            life::live(&mut node, ops, ended).await
        })
    });
    let ends = ends.into_inner();
    println!("steps ended: {ends:?}");
    if lived >= ENOUGH {
        let missing = EXPECTED.iter().find(|end| !ends.contains_key(**end));
        assert_eq!(missing, None, "this never happened");
    }
}

#[test]
fn netns_lives_that_once_lost_something_lose_nothing_now() {
    let live = |(lost, ops): (_, Vec<Op>)| {
        let lived = block_on(async {
            let mut node = Node::new(Fake::new(|number| number == 1)).await;
            life::live(&mut node, &ops, |_| ()).await
        });
        Some((lost, lived.err()?))
    };
    let again: Vec<(&str, String)> = remembered::lives().into_iter().filter_map(live).collect();
    assert!(again.is_empty(), "{again:#?}");
}

#[test]
fn netns_the_real_kernel_and_the_model_of_it_agree_after_each_step() {
    let count = number("MODEL_REAL_SEQUENCES").unwrap_or(REAL_LIVES);
    run("model and kernel", count, false, |ops| {
        block_on(async {
            let mut fake = Node::new(Fake::new(|_| false)).await;
            let mut real = Node::new(Real::new()).await;
            for (step, op) in ops.iter().enumerate() {
                let (one, other) = (fake.step(op).await?, real.step(op).await?);
                if one != other {
                    return Err(format!(
                        "step {step} {op:?}: the model says {one:?}, the kernel {other:?}"
                    ));
                }
            }
            fake.end().await?;
            real.end().await
        })
    });
}
