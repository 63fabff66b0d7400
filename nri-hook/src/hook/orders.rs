//! What each order of dra-plugin sets off. Every order may come twice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use network_driver_common::bus::order_span;
use network_driver_common::fail::{self, Point};
use network_driver_common::model::{ClaimUid, InvalidId, Record};
use network_driver_common::telemetry::{self, Side};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Answer;
use network_driver_proto::bus::{Checked, ClaimRef, Done, Order, RefusalClass, Refused, Released};
use tonic::Code;
use tracing::{Instrument, Span};

use super::{Hook, blocking};
use crate::devices::Devices;
use crate::links::Quarantined;

/// An answer that says no.
fn refused(class: RefusalClass, reason: &str, message: impl Into<String>) -> Answer {
    Answer::Refused(Refused {
        class: class.into(),
        reason: reason.to_owned(),
        message: message.into(),
    })
}

fn claim_uid(claim: &ClaimRef) -> Result<ClaimUid, InvalidMessage> {
    let uid = claim.claim_uid.parse();
    uid.map_err(|error: InvalidId| InvalidMessage::new("claim_uid", error.to_string()))
}

/// The span of an order that is part of a trace.
fn span(order: &Kind, traceparent: Option<&str>) -> Span {
    if traceparent.is_none() {
        return Span::none();
    }
    let span = order_span(Side::Server, order);
    telemetry::set_parent(&span, traceparent);
    span
}

impl<D: Devices> Hook<D> {
    /// Carries out an order.
    pub(crate) async fn obey(&self, order: Order) -> Answer {
        self.carry_out(order).await.unwrap_or_else(|error| {
            let text = format!("the order cannot be read: {error}");
            refused(RefusalClass::Internal, "InvalidOrder", text)
        })
    }

    async fn carry_out(&self, order: Order) -> Result<Answer, InvalidMessage> {
        let unknown = || InvalidMessage::new("order", "is of a kind that is not known");
        let traceparent = Some(order.traceparent.as_str()).filter(|text| !text.is_empty());
        let kind = order.order.ok_or_else(unknown)?;
        let span = span(&kind, traceparent);
        let answer = self.obey_kind(kind).instrument(span.clone()).await;
        telemetry::answered(
            &span,
            match &answer {
                Ok(Answer::Refused(_)) => Code::FailedPrecondition,
                Ok(_) => Code::Ok,
                Err(_) => Code::InvalidArgument,
            },
        );
        answer
    }

    async fn obey_kind(&self, kind: Kind) -> Result<Answer, InvalidMessage> {
        Ok(match kind {
            Kind::Check(record) => self.check(Record::try_from(&record)?).await,
            Kind::Commit(record) => {
                self.records.commit(Record::try_from(&record)?);
                self.quarantine_what_is_not_told();
                self.changed.notify_one();
                Answer::Done(Done {})
            }
            Kind::Release(claim) => {
                let claim = claim_uid(&claim)?;
                self.release(&claim).await
            }
            Kind::Abandon(claim) => {
                let claim = claim_uid(&claim)?;
                // The check that it takes back may still run.
                let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
                self.records.abandon(&claim);
                Answer::Done(Done {})
            }
        })
    }

    async fn check(&self, mut record: Record) -> Answer {
        let _turn = self
            .turns
            .take(&BTreeSet::from([record.claim.uid.clone()]))
            .await;
        let (devices, protected) = (Arc::clone(&self.devices), self.records.protected());
        let checking = record.clone();
        let checked = blocking(move || devices.check(&checking, &protected)).await;
        match checked {
            Ok(Ok(snapshots)) => {
                let answer = Checked {
                    snapshots: snapshots.iter().map(Into::into).collect(),
                };
                for (attachment, snapshot) in record.attachments.iter_mut().zip(snapshots) {
                    attachment.snapshot = Some(snapshot);
                }
                self.records.check(record);
                Answer::Checked(answer)
            }
            Ok(Err(refusal)) => refused(refusal.class, refusal.reason, refusal.message),
            Err(panicked) => {
                let text = format!("check of claim {}: {panicked}", record.claim);
                refused(RefusalClass::Internal, "ClaimPrepareFailed", text)
            }
        }
    }

    /// Whether an earlier life of this process lent the claim's devices and nobody has said yet in which sandbox they are.
    async fn may_be_anywhere(&self, claim: &ClaimUid) -> bool {
        if self.adopted.load(Ordering::Acquire) {
            return false;
        }
        self.is_kept(claim).await
    }

    /// Brings every device of a claim home and forgets it, unless something is still away.
    async fn release(&self, claim: &ClaimUid) -> Answer {
        let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
        let quarantined = if self.sandboxes.holding(claim).is_some() {
            let quarantined = self.detach(claim).await;
            if self.sandboxes.holding(claim).is_some() && quarantined.is_empty() {
                let text = "the claim's devices could not be brought home: see the log of nri-hook";
                return refused(RefusalClass::Internal, "ClaimUnprepareFailed", text);
            }
            quarantined
        } else if self.may_be_anywhere(claim).await {
            let text = "the hook does not know yet which sandboxes there are, and the claim's devices may be in one";
            return refused(RefusalClass::Retry, "ClaimUnprepareFailed", text);
        } else if let Some(record) = self.records.committed(claim) {
            // Also where nothing is known to be out: what a lost life of this process left is found by its mark.
            let Some(detached) = self.bring_home(&record, None).await else {
                let text = "bringing the claim's devices home panicked: see the log of nri-hook";
                return refused(RefusalClass::Internal, "ClaimUnprepareFailed", text);
            };
            detached.quarantined
        } else {
            Vec::new()
        };
        fail::pass(Point::UnprepareHome);
        if let Some(Quarantined { reason, .. }) = quarantined.iter().find(|device| device.is_away())
        {
            return refused(RefusalClass::Retry, "ClaimUnprepareFailed", reason.clone());
        }
        self.records.forget(claim);
        self.reports.keep(claim);
        Answer::Released(Released {
            quarantined: quarantined.iter().map(Into::into).collect(),
        })
    }
}
