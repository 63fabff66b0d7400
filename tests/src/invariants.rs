//! What must hold after whatever was done to the driver, checked in one place: the promises of `ARCHITECTURE.md`, as far
//! as they show once all pods of a story have ended and the daemons are ready again.
//!
//! | | here |
//! | --- | --- |
//! | I2 | no device is in two records |
//! | I4 | links, addresses and routes of home are as before, or what differs is of a card in quarantine |
//! | I5 | records of other claims are as before, and so are their CDI ids; nothing is left of those that ended |
//! | I7 | no uplink is published |
//! | I8 | the runtime has not thrown the hook out for being late |
//! | I9 | what is published is as before, and no slice was deleted |
//! | I10 | no daemon has panicked or ended by itself |
//!
//! I1 (a container has its devices) and I3 (a device that is away has a record) are looked at while pods live:
//! [`AtRest::holds_meanwhile`], and by whoever has the pod. I6 is to do things twice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use network_driver_common::bus::Component;
use network_driver_netlink::testing::State;
use serde_json::Value;

use crate::api_server::PublishedDevice;
use crate::cluster::{Cluster, PATIENCE};
use crate::daemon::ALL;
use crate::node::UPLINK;
use crate::wait::until_true;

/// A cluster at rest, as it has to look when it is at rest again.
#[derive(Debug, Clone)]
pub struct AtRest {
    home: State,
    published: BTreeMap<String, PublishedDevice>,
    slices_deleted: usize,
    /// Devices by claim UID.
    records: Records,
    cdi_files: Vec<String>,
    /// Snapshots of links that are away.
    snapshots: Vec<String>,
    /// How often the runtime has thrown the hook out for being late.
    lates: usize,
}

/// Devices of each claim, by its UID.
pub(crate) type Records = BTreeMap<String, BTreeSet<String>>;

/// How all is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// As it was.
    Whole,
    /// As it was, but for these devices, which the driver says are in quarantine.
    Quarantined(BTreeSet<String>),
}

impl AtRest {
    /// What the cluster looks like now.
    ///
    /// # Errors
    /// It cannot be asked, or an uplink is published.
    pub fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        let rest = Self {
            home: cluster.home()?,
            published: cluster.api.devices(),
            slices_deleted: cluster.api.requests("delete", "resourceslices"),
            records: records(cluster)?,
            cdi_files: cluster.cdi_files(),
            snapshots: cluster.snapshots(),
            lates: lates(cluster).len(),
        };
        ensure!(
            !rest.published.contains_key(UPLINK),
            "I7: the uplink is published"
        );
        Ok(rest)
    }

    /// The same after the runtime has thrown the hook out once more, as it should: the hook stood still.
    #[must_use]
    pub fn with_a_late_answer(mut self) -> Self {
        self.lates = self.lates.saturating_add(1);
        self
    }

    /// Checks that the cluster is so again, or comes to be so by itself.
    ///
    /// # Errors
    /// The promise that is broken, and how.
    pub async fn holds(&self, cluster: &Cluster) -> anyhow::Result<Rest> {
        no_defect(cluster)?;
        let late = lates(cluster);
        ensure!(late.len() == self.lates, "I8: {late:?}");
        let found = records(cluster)?;
        ensure!(
            found == self.records,
            "I5: records are {found:?} and were {:?}",
            self.records
        );
        let (found, wanted) = (cluster.cdi_files(), &self.cdi_files);
        ensure!(
            found == *wanted,
            "I5: CDI files are {found:?} and were {wanted:?}"
        );
        let quarantined = quarantined(cluster)?;
        match cluster.home_is(&self.home).await {
            Ok(()) => ensure!(
                quarantined.is_empty(),
                "I4: {quarantined:?} is in quarantine, but home is as it was"
            ),
            difference => self.told(cluster, &quarantined, difference).await?,
        }
        let (found, wanted) = (cluster.snapshots(), &self.snapshots);
        ensure!(
            found == *wanted,
            "I4: snapshots are {found:?} and were {wanted:?}"
        );
        self.is_published(cluster, &quarantined).await?;
        Ok(if quarantined.is_empty() {
            Rest::Whole
        } else {
            Rest::Quarantined(quarantined)
        })
    }

    /// Checks what must hold at any time at which dra-plugin can be asked, but for what the hook and discovery have yet
    /// to learn.
    ///
    /// # Errors
    /// The promise that is broken, and how.
    pub fn holds_meanwhile(&self, cluster: &Cluster) -> anyhow::Result<()> {
        // Read before the records: what is away now has had its record for a while.
        let home = cluster.links_at_home()?;
        let recorded: BTreeSet<String> = records(cluster)?.into_values().flatten().collect();
        for (name, device) in &self.published {
            ensure!(
                home.iter().any(|link| link == link_of(device)) || recorded.contains(name),
                "I3: {name} is away and no record names it"
            );
        }
        let published = cluster.api.devices();
        ensure!(
            published == self.published,
            "I9: published is {published:?} and was {:?}",
            self.published
        );
        Ok(())
    }

    /// Whether all that is not as it was is of devices in quarantine.
    async fn told(
        &self,
        cluster: &Cluster,
        quarantined: &BTreeSet<String>,
        difference: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if quarantined.is_empty() {
            return difference.context("I4: home is not as it was, and nothing is in quarantine");
        }
        let home = cluster.home()?;
        let devices = quarantined
            .iter()
            .filter_map(|name| self.published.get(name));
        let theirs = devices.map(|device| link_of(device).to_owned()).collect();
        let names = names_of(&theirs, &self.home, &home);
        let lines = self.home.difference(&home);
        let foreign = lines.lines().filter(|line| {
            let mut words = line.split_whitespace();
            !words.any(|word| names.contains(word))
        });
        let foreign: Vec<_> = foreign.collect();
        ensure!(
            foreign.is_empty(),
            "I4: only {quarantined:?} is in quarantine, but home differs also in\n{}",
            foreign.join("\n")
        );
        let told = || {
            let events = cluster.api.events();
            let names = |event: &Value, device: &str| {
                let note = event["note"].as_str().unwrap_or_default();
                let reason = event["reason"].as_str();
                let is_told = matches!(reason, Some("DeviceQuarantined" | "InterfaceLost"));
                is_told && note.contains(device)
            };
            let mut devices = quarantined.iter();
            devices.all(|device| events.iter().any(|event| names(event, device)))
        };
        let waited = until_true("its event", PATIENCE, told).await;
        waited.with_context(|| format!("I4: {quarantined:?} is in quarantine"))
    }

    async fn is_published(
        &self,
        cluster: &Cluster,
        quarantined: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let mut expected = self.published.clone();
        expected.retain(|name, _| !quarantined.contains(name));
        let same = || cluster.api.devices() == expected;
        let waited = until_true("what is published to be as before", PATIENCE, same).await;
        waited.with_context(|| format!("I9: {:?}", cluster.api.devices()))?;
        let deleted = cluster.api.requests("delete", "resourceslices");
        let deleted = deleted.saturating_sub(self.slices_deleted);
        ensure!(
            deleted == 0 || !quarantined.is_empty(),
            "I9: {deleted} slices were deleted"
        );
        Ok(())
    }
}

/// The name of a device's link, at rest.
fn link_of(device: &PublishedDevice) -> &str {
    let name = device.attributes.get("ifName");
    let name = name.and_then(|value| value["string"].as_str());
    name.unwrap_or(&device.name)
}

/// Names by which lines of a state tell of these links: those of home before, and those that the same links have now.
fn names_of(wanted: &BTreeSet<String>, before: &State, after: &State) -> BTreeSet<String> {
    // link NAME KIND … mac ADDRESS …
    let links = |state: &State| -> Vec<(String, String)> {
        let text = state.to_string();
        let links = text.lines().filter_map(|line| {
            let mut words = line.strip_prefix("link ")?.split_whitespace();
            let name = words.next()?.to_owned();
            let address = words.skip_while(|word| *word != "mac").nth(1)?;
            Some((name, address.to_owned()))
        });
        links.collect()
    };
    let before = links(before);
    let addresses = before.iter().filter(|(name, _)| wanted.contains(name));
    let addresses: BTreeSet<_> = addresses.map(|(_, address)| address.clone()).collect();
    let now = links(after).into_iter();
    let now = now.filter(|(_, address)| addresses.contains(address));
    let now = now.map(|(name, _)| name);
    wanted.iter().cloned().chain(now).collect()
}

fn no_defect(cluster: &Cluster) -> anyhow::Result<()> {
    for component in ALL {
        let (name, log) = (component.as_str(), cluster.log(component));
        if let Some(panic) = log.lines().find(|line| line.contains("panicked at")) {
            bail!("I10: {name}: {panic}");
        }
        ensure!(
            !cluster.has_ended(component),
            "I10: {name} has ended by itself"
        );
    }
    Ok(())
}

/// What the runtime says of answers that came too late.
fn lates(cluster: &Cluster) -> Vec<String> {
    let mut log = cluster.runtime.log();
    log.retain(|line| line.contains("deadline exceeded"));
    log
}

/// The records that dra-plugin has.
pub(crate) fn records(cluster: &Cluster) -> anyhow::Result<Records> {
    let text = cluster.ask(Component::DraPlugin, &["claims", "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let texts = |value: &Value, pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let mut records = Records::new();
    let mut holders = BTreeMap::new();
    for record in list.as_array().context("no list of records")? {
        let uid = texts(record, "/uid").context("a record without UID")?;
        let devices = record["devices"]
            .as_array()
            .context("a record without devices")?;
        for device in devices {
            let device = texts(device, "/device").context("a device without name")?;
            if let Some(other) = holders.insert(device.clone(), uid.clone()) {
                bail!("I2: {device} is in the records of {other} and {uid}");
            }
            records.entry(uid.clone()).or_default().insert(device);
        }
    }
    Ok(records)
}

/// The devices that dra-plugin says are in quarantine.
fn quarantined(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let text = cluster.ask(Component::DraPlugin, &["quarantine", "list", "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let list = list.as_array().context("no list of devices")?.iter();
    let names = list.filter_map(|entry| entry["device"].as_str());
    Ok(names.map(str::to_owned).collect())
}
