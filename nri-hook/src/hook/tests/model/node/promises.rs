//! What must hold after each step (ARCHITECTURE.md, "Promises").

use std::collections::{BTreeMap, BTreeSet};

use network_driver_common::model::{ClaimUid, DeviceName};
use network_driver_netlink::Netns;

use super::super::{DEVICES, Kernel, Seen};
use super::{CLAIMS, Node, uid};
use crate::devices::Devices as _;
use crate::hook::Hook;
use crate::sandbox::HoldingState;

impl<K: Kernel> Node<K> {
    /// I5.
    pub(super) fn others_untouched(&self, claim: usize, before: &[Seen]) -> Result<(), String> {
        for device in (0..DEVICES).filter(|device| !CLAIMS[claim].0.contains(device)) {
            let (before, now) = (before[device], self.kernel.look(device));
            if before != now {
                return Err(format!("I5: device {device} was {before:?} and is {now:?}"));
            }
        }
        Ok(())
    }

    /// Claims whose durable records the hook holds, if it is ready.
    pub(super) fn held_by_hook(&self) -> BTreeSet<ClaimUid> {
        let records = self.registered().map(|hook| hook.records.all());
        let records = records.into_iter().flatten();
        let durable = records.filter(|shown| shown.committed);
        durable
            .map(|shown| shown.record.claim.uid.clone())
            .collect()
    }

    /// What the hook holds is not lost with the database.
    pub(super) fn all_given_back(&self, held: &BTreeSet<ClaimUid>) -> Result<(), String> {
        let lost = held
            .iter()
            .find(|claim| !self.plugin.records.contains_key(*claim));
        match lost {
            Some(claim) => Err(format!("the hook held {claim}, and dra-plugin has lost it")),
            None => Ok(()),
        }
    }

    /// What is in quarantine stays at home.
    pub(super) fn none_is_lent(
        &self,
        quarantined: &BTreeSet<DeviceName>,
        before: &[Seen],
    ) -> Result<(), String> {
        for (device, before) in before.iter().enumerate() {
            let name = DeviceName::of(&self.kernel.identity(device));
            let seen = self.kernel.look(device);
            let lent = !matches!(before, Seen::Pod(_)) && matches!(seen, Seen::Pod(_));
            if lent && quarantined.contains(&name) {
                return Err(format!(
                    "{name} is in quarantine, was {before:?} and is {seen:?}"
                ));
            }
        }
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let mut holders: BTreeMap<&DeviceName, &ClaimUid> = BTreeMap::new();
        for (uid, record) in &self.plugin.records {
            for attachment in &record.attachments {
                if let Some(other) = holders.insert(&attachment.device.name, uid) {
                    let device = &attachment.device.name;
                    return Err(format!(
                        "I2: {device} is in the records of {other} and {uid}"
                    ));
                }
            }
        }
        for device in 0..DEVICES {
            let name = DeviceName::of(&self.kernel.identity(device));
            let lost = |claim: usize| {
                self.plugin.lost.contains(&uid(claim)) && CLAIMS[claim].0.contains(&device)
            };
            let away = matches!(self.kernel.look(device), Seen::Pod(_));
            if away && !holders.contains_key(&name) && !(0..CLAIMS.len()).any(lost) {
                return Err(format!("I3: {name} is away and no record names it"));
            }
        }
        self.pods_keep_what_they_use()?;
        self.registered()
            .map_or(Ok(()), |hook| self.check_hook(&hook))
    }

    /// Nothing is taken from a pod that runs.
    pub(super) fn pods_keep_what_they_use(&self) -> Result<(), String> {
        for sandbox in &self.sandboxes {
            let Some(slot) = sandbox.slot else { continue };
            for (claim, device) in &sandbox.used {
                let seen = self.kernel.look(*device);
                if seen != Seen::Pod(slot) {
                    let (id, pod) = (&sandbox.id, sandbox.pod);
                    return Err(format!(
                        "device {device} of claim {claim} was taken from {id} of pod {pod}: {seen:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// I1: what is on its way home, or could not be brought there, has no id.
    pub(super) fn nothing_that_leaves_is_defined(&self) -> Result<(), String> {
        let Some(hook) = self.registered() else {
            return Ok(());
        };
        let defined = self.defined();
        for (uid, holding) in hook.sandboxes.holdings() {
            if holding.state == HoldingState::Leaving && defined.contains(&uid) {
                return Err(format!("I1: {uid} leaves its pod and its id is defined"));
            }
        }
        Ok(())
    }

    /// What the hook believes is so, and ids are defined for nothing else.
    pub(super) fn check_hook(&self, hook: &Hook<K::Devices>) -> Result<(), String> {
        let mut may_be_defined = BTreeSet::new();
        for (uid, holding) in hook.sandboxes.holdings() {
            match holding.state {
                HoldingState::Attached => {}
                // Its sandbox is over; the way home begins as soon as the hook catches up, with the id.
                HoldingState::Leaving => {
                    may_be_defined.insert(uid);
                    continue;
                }
                HoldingState::Incomplete => continue,
            }
            let claim = (0..CLAIMS.len())
                .find(|claim| super::uid(*claim) == uid)
                .unwrap();
            let netns = holding.netns.as_ref().map(Netns::id);
            for device in CLAIMS[claim].0 {
                let seen = self.kernel.look(*device);
                let there = matches!(seen, Seen::Pod(slot) if Some(self.kernel.id(slot)) == netns);
                if !there {
                    let sandbox = &holding.sandbox;
                    return Err(format!(
                        "{uid} counts as attached in {sandbox}, device {device} is {seen:?}"
                    ));
                }
            }
            may_be_defined.insert(uid);
        }
        let defined = self.defined();
        let mut stale = defined.difference(&may_be_defined);
        match stale.next() {
            Some(uid) => Err(format!(
                "I1: the id of {uid} is defined, its devices are not attached"
            )),
            None => Ok(()),
        }
    }

    /// After the end of everything.
    pub(super) fn all_home(&self) -> Result<(), String> {
        for device in 0..DEVICES {
            let name = DeviceName::of(&self.kernel.identity(device));
            match self.kernel.look(device) {
                Seen::Home { as_before: true } | Seen::Nowhere => {}
                _ if self.plugin.quarantined.contains(&name) => {}
                seen => return Err(format!("in the end, {name} is {seen:?}")),
            }
        }
        let Some(hook) = self.registered() else {
            return Err("in the end, there is no hook".into());
        };
        let left = [
            ("holdings", hook.sandboxes.holdings().len()),
            ("records of the hook", hook.records.all().len()),
            ("kept records", self.kernel.devices().kept().len()),
            ("ids", self.defined().len()),
            ("records", self.plugin.records.len()),
            ("namespaces", self.closed.len()),
        ];
        match left.iter().find(|(_, count)| *count > 0) {
            Some((what, count)) => Err(format!("in the end, {count} {what} are left")),
            None => Ok(()),
        }
    }
}
