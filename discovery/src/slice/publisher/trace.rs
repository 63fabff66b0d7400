//! The trace of a cycle that writes slices: from the reading of the node that led to it. One that writes nothing leaves
//! none, so this is told when it is known that something will be written.

use std::time::SystemTime;

use network_driver_common::telemetry::{self, Stretch, Told};
use tracing::{Span, info_span};

use crate::inventory::{Reading, View};
use crate::slice::convert;
use crate::slice::plan::{MAX_DEVICES, Write};

/// What the slices are to be.
pub(super) struct Built {
    /// When that was found out.
    pub(super) when: Stretch,
    /// How many devices are in them.
    pub(super) devices: usize,
}

/// Tells the steps that are over. `before` is the reading of the last cycle: a cycle that follows from no new one has
/// no steps of reading.
pub(super) fn tell(view: &View, before: &Reading, built: &Built) -> Told {
    let Reading {
        trigger,
        events,
        scan,
        protect,
    } = view.reading;
    let scan = scan.filter(|_| scan != before.scan);
    let protect = protect.filter(|_| protect != before.protect);
    let begins = [scan, protect, Some(built.when)].into_iter().flatten();
    let began = begins.map(|step| step.began).min();
    // Somebody else has changed a slice, or a write is tried again.
    let trigger = if scan.is_some() { trigger } else { "slice" };
    let new_events = events.saturating_sub(before.events);
    let told = Told::root(
        "slices.publish-cycle",
        began.unwrap_or_else(SystemTime::now),
        &[
            ("trigger", trigger.into()),
            ("link.events", number(new_events).into()),
        ],
    );
    let counts = view.counts();
    if let Some(scan) = scan {
        let links = [
            ("links.total", number(view.links.len()).into()),
            ("links.offered", number(counts.offered).into()),
        ];
        told.step("links.scan", scan, &links);
    }
    if let Some(protect) = protect {
        let links = [("protected", number(counts.protected).into())];
        told.step("links.protect", protect, &links);
    }
    let slices = built.devices.div_ceil(MAX_DEVICES).max(1);
    let sizes = [
        ("slices", number(slices).into()),
        ("devices", number(built.devices).into()),
    ];
    told.step("slices.build", built.when, &sizes);
    told
}

/// The span of the writing.
pub(super) fn publish_span(told: &Told, writes: &[Write]) -> Span {
    let span = info_span!(parent: None, "slices.publish");
    told.adopt(&span);
    telemetry::set_number(&span, "changed", writes.len());
    let generation = writes.iter().find_map(|write| match write {
        Write::Update { object, .. } | Write::Create { object, .. } => {
            convert::generation(object.data.get("spec")?)
        }
        Write::Delete { .. } => None,
    });
    if let Some(generation) = generation {
        telemetry::set(&span, "generation", generation);
    }
    span
}

fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
