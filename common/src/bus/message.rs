//! The messages of the bus's sessions as calls of a trace. Both ends show the same call, so both take it from here.

use network_driver_proto::bus::order::Order;
use tracing::Span;

use crate::telemetry::{self, Call, Side};

/// The span of an order of dra-plugin to nri-hook.
pub fn order_span(side: Side, order: &Order) -> Span {
    let (message, claim) = match order {
        Order::Check(record) => ("check", &record.claim_uid),
        Order::Commit(record) => ("commit", &record.claim_uid),
        Order::Release(claim) => ("release", &claim.claim_uid),
        Order::Abandon(claim) => ("abandon", &claim.claim_uid),
    };
    of_claims(side, message, claim)
}

/// The span of a report of nri-hook to dra-plugin about a claim, named by its UID.
pub fn report_span(side: Side, claim: &str) -> Span {
    of_claims(side, "report", claim)
}

/// The span of what dra-plugin tells discovery of devices in use.
pub fn devices_in_use_span(side: Side) -> Span {
    span(
        side,
        "network_driver.bus.v1.Inventory/Session",
        "devices_in_use",
    )
}

fn of_claims(side: Side, message: &'static str, claim: &str) -> Span {
    let span = span(side, "network_driver.bus.v1.Claims/Session", message);
    telemetry::set(&span, "dra.claim.uid", claim.to_owned());
    span
}

fn span(side: Side, method: &str, message: &'static str) -> Span {
    let call = Call {
        system: "grpc",
        method,
        message: Some(message),
        address: None,
    };
    call.span(side)
}
