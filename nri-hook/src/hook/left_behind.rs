//! Links at home that carry our mark though nobody knows of their claim: an earlier life of the driver did not end their
//! way home, and what they looked like before is lost. Nothing here can put them right, so an operator is told.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use network_driver_common::model::{ClaimUid, DeviceName};
use tracing::{error, warn};

use super::{Hook, blocking};
use crate::chain;
use crate::devices::Devices;
use crate::links::{MarkedLink, Plight, Quarantined};
use crate::records::Happened;

/// What was told of links that were left behind. A std mutex: no await is held.
#[derive(Debug, Default)]
pub(super) struct LeftBehind(Mutex<BTreeSet<(ClaimUid, DeviceName)>>);

impl LeftBehind {
    /// Whether it was not told before.
    fn is_news(&self, link: &MarkedLink) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((link.claim.clone(), link.device.clone()))
    }
}

impl<D: Devices> Hook<D> {
    /// Reports links that were left behind, each once in this life. Not before the runtime's list was worked through: until
    /// then, little is known.
    pub(super) async fn look_for_left_behind(&self) {
        if !self.adopted.load(Ordering::Acquire) {
            return;
        }
        for link in self.find_left_behind().await {
            // Whoever brought it home meanwhile has taken the mark away.
            let _turn = self.turns.take(&BTreeSet::from([link.claim.clone()])).await;
            // A report that waits is not to be replaced.
            let waits = self.reports.is_waiting(&link.claim);
            if waits || !self.find_left_behind().await.contains(&link) {
                continue;
            }
            if self.left_behind.is_news(&link) {
                self.tell_left_behind(&link);
            }
        }
    }

    fn tell_left_behind(&self, link: &MarkedLink) {
        let MarkedLink {
            name,
            claim,
            device,
            ..
        } = link;
        let reason = format!(
            "device {device} is home as {name} with the mark of claim {claim}, of which nothing is known: it was not put \
             back; when its link is right, take the mark away (ip link set {name} alias \"\")"
        );
        error!(claimUID = %claim, %device, reason, "link left behind");
        let quarantined = vec![Quarantined {
            device: device.clone(),
            reason,
            plight: Plight::Bent,
        }];
        let what = Happened::LeftBehind { quarantined };
        self.reports.add(claim, None, None, what);
    }

    /// Marked links at home whose claim neither dra-plugin, a sandbox nor this node remembers.
    async fn find_left_behind(&self) -> Vec<MarkedLink> {
        let devices = Arc::clone(&self.devices);
        let looked = blocking(move || {
            let marked = devices.marked_at_home()?;
            let kept = if marked.is_empty() {
                Vec::new()
            } else {
                devices.kept()
            };
            Ok((marked, kept))
        });
        let (mut marked, kept) = match looked.await {
            Ok(Ok(found)) => found,
            Ok(Err(failed)) => {
                let failed: crate::links::FindAttachedError = failed;
                warn!(err = chain(&failed), "links with marks at home unknown");
                return Vec::new();
            }
            Err(panicked) => {
                error!(err = %panicked, "looking for marks at home panicked");
                return Vec::new();
            }
        };
        marked.retain(|link| {
            let claim = &link.claim;
            let remembered = kept.iter().any(|record| record.claim.uid == *claim);
            !remembered && !self.records.knows(claim) && self.sandboxes.holding(claim).is_none()
        });
        marked
    }
}
