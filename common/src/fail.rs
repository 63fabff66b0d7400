//! Fail points: places where a test can have a daemon die, fail or stand still.
//!
//! Compiled in under the feature `fail-points` alone; otherwise every function here is empty and [`Injected`] has no
//! value. A daemon that has them reads [`VARIABLE`] at its start: `attach.moved=kill` or, with several of them,
//! `attach.moved=delay(300)#2;attach.defined=kill`.
//!
//! | action | at the point |
//! | --- | --- |
//! | `kill` | the process ends at once, as by `kill -9` |
//! | `error` | the step fails, where it can ([`Point::can_fail`]) |
//! | `delay(MS)` | the thread waits |
//! | `pause` | the whole process stops until it gets SIGCONT |
//!
//! `#N` acts when the point is passed for the Nth time, else it is the first; each acts once.

#[cfg(not(feature = "fail-points"))]
mod absent;
#[cfg(any(test, feature = "fail-points"))]
#[cfg_attr(
    not(feature = "fail-points"),
    expect(dead_code, unreachable_pub, reason = "only its own tests use it then")
)]
mod armed;

use std::fmt;

#[cfg(not(feature = "fail-points"))]
pub use absent::{Injected, arm, check, late, pass, soon};
#[cfg(feature = "fail-points")]
pub use armed::{Injected, InvalidSwitch, arm, check, late, pass, soon};

/// The environment variable that says what is to happen where. A binary without fail points does not hold this text,
/// one with them does.
pub const VARIABLE: &str = "NETWORK_DRIVER_FAIL_POINTS";

macro_rules! points {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal, $fails:literal;)+) => {
        /// A place in a daemon. `docs/reliability.md` has the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Point {
            $($(#[$doc])+ $variant,)+
        }

        impl Point {
            /// Every point, in the order of a pod's life.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name, as [`VARIABLE`] has it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Whether its step can be made to fail.
            pub const fn can_fail(self) -> bool {
                match self { $(Self::$variant => $fails,)+ }
            }
        }
    };
}

points! {
    /// dra-plugin: the kubelet's Prepare is here.
    PrepareReceived = "prepare.received", true;
    /// dra-plugin: the claim is read.
    PrepareRead = "prepare.read", true;
    /// dra-plugin: a record is in the database's log, not flushed.
    PrepareStaged = "prepare.staged", false;
    /// dra-plugin: the record is on disk, the hook does not know it yet.
    PrepareKept = "prepare.kept", true;
    /// dra-plugin: the hook has the record.
    PrepareCommitted = "prepare.committed", true;
    /// dra-plugin: the kubelet has its answer.
    PrepareAnswered = "prepare.answered", false;
    /// nri-hook: RunPodSandbox of a pod with a claim is here.
    AttachReceived = "attach.received", false;
    /// nri-hook: the snapshots are kept, nothing is touched yet.
    AttachKept = "attach.kept", true;
    /// nri-hook: a link is in the pod and carries no mark yet.
    AttachMoved = "attach.moved", true;
    /// nri-hook: a link has its addresses.
    AttachAddressed = "attach.addressed", false;
    /// nri-hook: a link is up.
    AttachUp = "attach.up", false;
    /// nri-hook: a link has its routes.
    AttachRouted = "attach.routed", false;
    /// nri-hook: the claim's CDI id is defined, the runtime has no answer yet.
    AttachDefined = "attach.defined", false;
    /// nri-hook: the runtime has its answer, dra-plugin no report.
    AttachAnswered = "attach.answered", false;
    /// nri-hook: the end of a sandbox that holds devices is here.
    DetachReceived = "detach.received", false;
    /// nri-hook: the claim's CDI id is gone, its links are in the pod.
    DetachUndefined = "detach.undefined", false;
    /// nri-hook: a link is home under its old name, nothing else restored.
    DetachMoved = "detach.moved", false;
    /// nri-hook: a link is as it was, its snapshot still there.
    DetachRestored = "detach.restored", false;
    /// nri-hook: all is home, dra-plugin has no report.
    DetachDone = "detach.done", false;
    /// dra-plugin: the kubelet's Unprepare is here.
    UnprepareReceived = "unprepare.received", true;
    /// nri-hook: an order to release has brought the devices home, dra-plugin has no answer.
    UnprepareHome = "unprepare.home", false;
    /// dra-plugin: the hook has released the devices.
    UnprepareReleased = "unprepare.released", true;
    /// dra-plugin: the removal is in the database's log, not flushed.
    UnprepareStaged = "unprepare.staged", false;
    /// dra-plugin: the record is gone, the kubelet has no answer.
    UnprepareRemoved = "unprepare.removed", true;
    /// discovery: the links are read, routes and files are not.
    ScanDumped = "scan.dumped", false;
    /// discovery: a slice of several is written.
    SliceBetween = "slice.between", false;
    /// discovery: the API server has a slice of which discovery does not know yet.
    SliceWritten = "slice.written", false;
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
