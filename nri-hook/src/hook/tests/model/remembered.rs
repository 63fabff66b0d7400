//! Lives in which something was lost once. They are few steps long, and among random ones they are rare.

use super::life::Cut::{BeforeAnswer, BeforeDisk, No};
use super::life::Trouble::{Dies, Fails};
use super::life::What::{
    CatchUp, KillHook, KillPlugin, LoseDatabase, Plug, Prepare, Reboot, Run, Start, StartHook,
    StartPlugin, Stop, Unplug, Unprepare,
};
use super::life::{Op, Trouble, What};

fn calm(what: What) -> Op {
    Op {
        what,
        trouble: Trouble::None,
    }
}

fn troubled(what: What, trouble: Trouble) -> Op {
    Op { what, trouble }
}

/// Each with what went wrong.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(super) fn lives() -> Vec<(&'static str, Vec<Op>)> {
    vec![
        (
            "a claim of two devices, one of them home: its pod got the other alone",
            vec![
                calm(Prepare(2, No)),
                calm(Run(2)),
                troubled(Unprepare(2, No), Fails(2)),
                calm(KillHook),
                calm(LoseDatabase),
                calm(StartHook),
                calm(Run(2)),
            ],
        ),
        (
            "links moved and not marked, then no database: they came home by themselves, and bent",
            vec![
                calm(Prepare(0, No)),
                calm(Prepare(1, No)),
                troubled(Run(0), Dies(4)),
                calm(KillPlugin),
                calm(LoseDatabase),
            ],
        ),
        (
            "the same with a second sandbox of the pod",
            vec![
                calm(Prepare(0, No)),
                calm(Run(0)),
                calm(Prepare(1, No)),
                troubled(Run(0), Dies(6)),
                calm(LoseDatabase),
            ],
        ),
        (
            "a device in quarantine was lent by a hook that had been started anew",
            vec![
                calm(Prepare(0, No)),
                calm(Run(0)),
                calm(Run(1)),
                calm(Unplug(0)),
                calm(Stop(1)),
                calm(KillHook),
                calm(Plug(0)),
                calm(StartHook),
                calm(Run(1)),
            ],
        ),
        (
            "the same after a reboot",
            vec![
                calm(Prepare(0, No)),
                calm(Run(0)),
                calm(Run(1)),
                calm(Unplug(0)),
                calm(Stop(1)),
                calm(Reboot),
                calm(Run(0)),
            ],
        ),
        (
            "a device in quarantine was lent because dra-plugin had died before it noted the unprepare",
            vec![
                calm(Prepare(2, No)),
                calm(Run(2)),
                troubled(Unprepare(2, BeforeDisk), Fails(1)),
            ],
        ),
        (
            "a running pod's other device was taken: since a reboot its claim had been prepared after its sandbox",
            vec![
                calm(Prepare(2, No)),
                calm(Reboot),
                calm(Run(2)),
                calm(Start(2, 2)),
                calm(Unplug(0)),
                calm(Prepare(2, No)),
                calm(KillHook),
                calm(StartHook),
                calm(CatchUp),
            ],
        ),
        (
            "of two claims of a pod, one was moved and not marked: what could not be restored was not told",
            vec![
                calm(Prepare(0, No)),
                calm(Prepare(1, No)),
                troubled(Run(0), Dies(3)),
                calm(StartHook),
                troubled(CatchUp, Fails(1)),
                calm(Prepare(0, No)),
            ],
        ),
        (
            "a running pod's other device was taken: of a claim that lacked one, no record was given back",
            vec![
                calm(Prepare(2, No)),
                calm(Run(2)),
                calm(Start(2, 2)),
                calm(Unplug(0)),
                calm(LoseDatabase),
                calm(KillHook),
                calm(StartHook),
                calm(CatchUp),
            ],
        ),
        (
            "a device was lent twice: of a claim whose devices had just left a pod, the record was lost and kept for its next",
            vec![
                calm(Prepare(0, No)),
                calm(Run(0)),
                calm(Reboot),
                calm(LoseDatabase),
                calm(Prepare(2, No)),
                calm(Run(0)),
                calm(Unprepare(2, BeforeAnswer)),
            ],
        ),
        (
            "a device in quarantine was lent: its claim had been prepared again before dra-plugin heard of it",
            vec![
                calm(Prepare(0, No)),
                calm(Reboot),
                calm(Run(0)),
                calm(Prepare(0, BeforeAnswer)),
                troubled(Run(0), Fails(1)),
                calm(StartPlugin),
                calm(CatchUp),
            ],
        ),
        (
            "a running pod's other device was taken: hook and database were lost, and nobody knew that it was whole once",
            vec![
                calm(Prepare(2, No)),
                calm(Run(2)),
                calm(Start(2, 2)),
                calm(Unplug(2)),
                calm(KillHook),
                calm(LoseDatabase),
                calm(StartHook),
                calm(CatchUp),
            ],
        ),
        (
            "a device in quarantine was lent: of a claim that the node alone remembered, nobody asked which of its devices are",
            vec![
                calm(Prepare(0, No)),
                calm(Run(0)),
                troubled(Run(0), Fails(0)),
                troubled(CatchUp, Fails(0)),
                calm(KillHook),
                calm(LoseDatabase),
                calm(StartHook),
                troubled(Run(0), Fails(2)),
                calm(CatchUp),
                calm(CatchUp),
            ],
        ),
        (
            "a running pod's other device was taken: hook and dra-plugin had died, and the list told of no sandbox",
            vec![
                calm(Prepare(2, No)),
                calm(KillPlugin),
                calm(Run(2)),
                calm(Start(2, 2)),
                calm(Unplug(0)),
                calm(KillHook),
                calm(StartPlugin),
                calm(StartHook),
                calm(CatchUp),
            ],
        ),
        (
            "a device was held by two records: the hook went on with one that dra-plugin had lost, and had not given it back",
            vec![
                calm(Prepare(1, No)),
                calm(Prepare(2, No)),
                calm(Run(2)),
                calm(Run(0)),
                calm(Prepare(2, No)),
                troubled(Run(2), Dies(5)),
                calm(LoseDatabase),
                calm(StartHook),
                calm(Prepare(0, No)),
                calm(LoseDatabase),
            ],
        ),
    ]
}
