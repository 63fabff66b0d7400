//! What each order of dra-plugin sets off. Every order may come twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use network_driver_common::model::{ClaimUid, Record};
use network_driver_common::telemetry;
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Answer;
use network_driver_proto::bus::{Checked, Done, Order, Refused, RefusalClass, Released};
use tracing::{Instrument, Span, info_span};

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

fn unreadable(error: &InvalidMessage) -> Answer {
    let text = format!("the order cannot be read: {error}");
    refused(RefusalClass::Internal, "InvalidOrder", text)
}

impl<D: Devices> Hook<D> {
    /// Carries out an order.
    pub(crate) async fn obey(&self, order: Order) -> Answer {
        let traceparent = Some(order.traceparent.as_str()).filter(|text| !text.is_empty());
        let in_span = |span: Span| {
            telemetry::set_parent(&span, traceparent);
            span
        };
        match order.order {
            Some(Kind::Check(record)) => match Record::try_from(&record) {
                Ok(record) => {
                    let span = in_span(info_span!("claim.inspect_link", dra.claim.uid = %record.claim.uid));
                    self.check(record).instrument(span).await
                }
                Err(error) => unreadable(&error),
            },
            Some(Kind::Commit(record)) => match Record::try_from(&record) {
                Ok(record) => {
                    self.records.commit(record);
                    self.changed.notify_one();
                    Answer::Done(Done {})
                }
                Err(error) => unreadable(&error),
            },
            Some(Kind::Release(claim)) => match claim.claim_uid.parse() {
                Ok(claim) => {
                    let span = in_span(info_span!("claim.release", dra.claim.uid = %claim));
                    self.release(&claim).instrument(span).await
                }
                Err(error) => unreadable(&InvalidMessage::new("claim_uid", error)),
            },
            Some(Kind::Abandon(claim)) => match claim.claim_uid.parse() {
                Ok(claim) => {
                    self.records.abandon(&claim);
                    Answer::Done(Done {})
                }
                Err(error) => unreadable(&InvalidMessage::new("claim_uid", error)),
            },
            None => unreadable(&InvalidMessage::new("order", "is of a kind that is not known")),
        }
    }

    async fn check(&self, mut record: Record) -> Answer {
        let _turn = self.turns.take(&BTreeSet::from([record.claim.uid.clone()])).await;
        let (devices, protected) = (Arc::clone(&self.devices), self.records.protected());
        let checking = record.clone();
        let checked = blocking(move || devices.check(&checking, &protected)).await;
        match checked {
            Ok(Ok(snapshots)) => {
                let answer = Checked { snapshots: snapshots.iter().map(Into::into).collect() };
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

    /// Brings every device of a claim home and forgets it, unless something is still away.
    async fn release(&self, claim: &ClaimUid) -> Answer {
        self.adopted().await;
        let _turn = self.turns.take(&BTreeSet::from([claim.clone()])).await;
        let quarantined = if self.sandboxes.holding(claim).is_some() {
            let quarantined = self.detach(claim).await;
            if self.sandboxes.holding(claim).is_some() && quarantined.is_empty() {
                let text = "the claim's devices could not be brought home: see the log of nri-hook";
                return refused(RefusalClass::Internal, "ClaimUnprepareFailed", text);
            }
            quarantined
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
        if let Some(Quarantined { reason, .. }) = quarantined.iter().find(|device| device.away) {
            return refused(RefusalClass::Retry, "ClaimUnprepareFailed", reason.clone());
        }
        self.records.forget(claim);
        Answer::Released(Released {
            quarantined: quarantined.iter().map(Into::into).collect(),
        })
    }
}
