//! The devices of this node, as discovery tells them. What was received once stays good while discovery is away: the
//! hook verifies existence, identity and uplink when it checks a record.

mod in_use;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use network_driver_common::bus::{self, Backoff, Component};
use network_driver_common::error::sentence;
use network_driver_common::health::Part;
use network_driver_common::model::{Device, DeviceName};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus::inventory_client::InventoryClient;
use network_driver_proto::bus::inventory_session_request::Message as Said;
use network_driver_proto::bus::inventory_session_response::Message as Heard;
use network_driver_proto::bus::{InventorySessionRequest, InventoryUpdate, Protected};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tracing::{debug, info, warn};

use crate::health::HealthBook;
use crate::metrics::Metrics;
use crate::store::Book;
use in_use::Holdings;

/// Most devices that discovery may tell of.
const MAX_DEVICES: usize = 16_384;
/// Longest wait for discovery's hello.
const HELLO: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Devices of this node.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// A std lock: held for a map access, never over an await.
    state: RwLock<State>,
    protected: watch::Sender<Option<Protected>>,
    changed: watch::Sender<u64>,
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Lookup {
    /// No inventory was received yet.
    NotReceived,
    /// Discovery does not offer it.
    Missing,
    /// It is offered.
    Found(Arc<Device>),
}

#[derive(Debug, Default)]
struct State {
    /// `None` until a whole inventory was received.
    devices: Option<BTreeMap<DeviceName, Arc<Device>>>,
    /// Pages of a whole inventory that is being received.
    incoming: Option<BTreeMap<DeviceName, Arc<Device>>>,
}

/// Why a session with discovery ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("discovery cannot be reached: {0}")]
    Call(String),
    #[error("discovery closed the session")]
    Closed,
    #[error("discovery said no hello within {} s", HELLO.as_secs())]
    NoHello,
    #[error("discovery sent what makes no sense")]
    Invalid(#[source] InvalidMessage),
    #[error("discovery sent more than {MAX_DEVICES} devices")]
    TooMany,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            state: RwLock::default(),
            protected: watch::Sender::new(None),
            changed: watch::Sender::new(0),
        }
    }
}

impl Inventory {
    /// Looks a device up.
    pub(crate) fn device(&self, name: &DeviceName) -> Lookup {
        match &self.read().devices {
            None => Lookup::NotReceived,
            Some(devices) => match devices.get(name) {
                None => Lookup::Missing,
                Some(device) => Lookup::Found(Arc::clone(device)),
            },
        }
    }

    /// Names of all devices.
    pub(crate) fn names(&self) -> Vec<DeviceName> {
        let state = self.read();
        state
            .devices
            .iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect()
    }

    /// What the node's own traffic depends on; `None` until discovery has said it.
    pub(crate) fn protected(&self) -> watch::Receiver<Option<Protected>> {
        self.protected.subscribe()
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in what discovery says. A device that a record holds as it is now (`held`) is kept once.
    fn apply(
        &self,
        update: InventoryUpdate,
        held: impl Fn(&DeviceName) -> Option<Arc<Device>>,
    ) -> Result<(), SessionError> {
        if let Some(protected) = update.protected {
            self.protected.send_replace(Some(protected));
        }
        let state = self.state.write();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if update.reset {
            state.incoming = Some(BTreeMap::new());
        }
        let State { devices, incoming } = &mut *state;
        let target = match incoming {
            Some(incoming) => incoming,
            None => devices.get_or_insert_default(),
        };
        for device in &update.changed {
            let device = Device::try_from(device).map_err(SessionError::Invalid)?;
            let known = held(&device.name).filter(|held| **held == device);
            let device = known.unwrap_or_else(|| Arc::new(device));
            target.insert(device.name.clone(), device);
        }
        for name in &update.removed {
            target.retain(|device, _| device.as_str() != name);
        }
        if target.len() > MAX_DEVICES {
            return Err(SessionError::TooMany);
        }
        if update.synced
            && let Some(whole) = incoming.take()
        {
            info!(devices = whole.len(), "inventory received");
            *devices = Some(whole);
        }
        drop(state);
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a session with discovery, for ever. `part` is ready while an inventory is known and the session is open. Where
/// records were lost, discovery is told of devices in use once the hook has `told` of them; what it was told before holds
/// until then.
pub(crate) async fn follow(
    inventory: Arc<Inventory>,
    channel: Channel,
    book: Book,
    health: Arc<HealthBook>,
    told: watch::Receiver<bool>,
    metrics: Metrics,
    part: Part,
) -> std::convert::Infallible {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut said = String::new();
    part.not_ready("no session with discovery");
    loop {
        let Err(error) = session(
            &inventory,
            &channel,
            (&book, &health),
            told.clone(),
            |open| {
                if open {
                    backoff.reset();
                    said.clear();
                    part.ready();
                }
                metrics.connected(Component::Discovery.as_str(), open);
            },
        )
        .await;
        metrics.connected(Component::Discovery.as_str(), false);
        let text = sentence(&error);
        part.not_ready(format!("no session with discovery: {text}"));
        if text == said {
            debug!(err = text, "no session with discovery; will retry");
        } else {
            warn!(err = text, "no session with discovery; will retry");
            said = text;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// One session, until it ends. `opened` is told once discovery has sent its whole inventory.
async fn session(
    inventory: &Inventory,
    channel: &Channel,
    (book, health): (&Book, &HealthBook),
    mut told: watch::Receiver<bool>,
    mut opened: impl FnMut(bool),
) -> Result<std::convert::Infallible, SessionError> {
    // One: a list is made when there is room for it, so a slow peer gets the newest and none in between.
    let (say, requests) = mpsc::channel(1);
    let (mut records, mut healths) = (book.changes(), health.changes());
    let message = |said| InventorySessionRequest {
        message: Some(said),
    };
    let closed = |_| SessionError::Closed;
    let hello = bus::hello(Component::DraPlugin);
    say.send(message(Said::Hello(hello)))
        .await
        .map_err(closed)?;
    let mut in_use: Option<Holdings> = None;
    // The page of them that discovery has not yet been told.
    let mut next_page = None;
    let mut dirty = false;
    let mut client = InventoryClient::new(channel.clone());
    let call = client.session(ReceiverStream::new(requests));
    let response = tokio::time::timeout(HELLO, call)
        .await
        .map_err(|_| SessionError::NoHello)?;
    let mut heard = response.map_err(SessionError::from)?.into_inner();
    loop {
        tokio::select! {
            response = heard.message() => {
                let response = response.map_err(SessionError::from)?;
                match response.ok_or(SessionError::Closed)?.message {
                    Some(Heard::Hello(hello)) => {
                        debug!(peer.version = hello.version, "session with discovery begun");
                    }
                    Some(Heard::Update(update)) => {
                        let synced = update.synced;
                        inventory.apply(update, |device| book.device(device))?;
                        if synced {
                            opened(true);
                        }
                    }
                    None => {}
                }
            }
            () = until_told(&mut told), if in_use.is_none() => {
                in_use = Some(Holdings::of(book, health));
                next_page = Some(0_usize);
            }
            changed = either(&mut records, &mut healths) => {
                changed.map_err(|_| SessionError::Closed)?;
                dirty = true;
            }
            room = say.reserve(), if dirty || next_page.is_some() => {
                let room = room.map_err(|_| SessionError::Closed)?;
                let Some(before) = &mut in_use else {
                    dirty = false;
                    continue;
                };
                if let Some(number) = next_page {
                    let page = before.page(number);
                    next_page = page.more.then(|| number.saturating_add(1));
                    room.send(message(Said::DevicesInUse(page)));
                    continue;
                }
                dirty = false;
                let now = Holdings::of(book, health);
                if let Some((list, _spans)) = now.changes(before) {
                    *before = now;
                    room.send(message(Said::DevicesInUse(list)));
                }
            }
        }
    }
}

async fn until_told(told: &mut watch::Receiver<bool>) {
    if told.wait_for(|told| *told).await.is_err() {
        std::future::pending::<()>().await; // the daemon is about to end
    }
}

/// Waits for a change of one of the two.
async fn either(
    one: &mut watch::Receiver<u64>,
    other: &mut watch::Receiver<u64>,
) -> Result<(), watch::error::RecvError> {
    tokio::select! {
        changed = one.changed() => changed,
        changed = other.changed() => changed,
    }
}

impl From<tonic::Status> for SessionError {
    /// A status prints as a struct: the message is all that a person wants of it.
    fn from(status: tonic::Status) -> Self {
        Self::Call(status.message().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::device;

    fn update(names: &[&str]) -> InventoryUpdate {
        InventoryUpdate {
            changed: names.iter().map(|name| (&device(name)).into()).collect(),
            ..InventoryUpdate::default()
        }
    }

    fn apply(inventory: &Inventory, update: InventoryUpdate) {
        inventory.apply(update, |_| None).unwrap();
    }

    fn known(inventory: &Inventory, name: &str) -> Option<bool> {
        match inventory.device(&name.parse().unwrap()) {
            Lookup::NotReceived => None,
            found => Some(found != Lookup::Missing),
        }
    }

    #[test]
    fn a_whole_inventory_shows_only_when_all_of_it_is_there() {
        let inventory = Inventory::default();
        let first = InventoryUpdate {
            reset: true,
            ..update(&["eth1"])
        };
        apply(&inventory, first.clone());
        assert_eq!(known(&inventory, "eth1"), None);
        let last = InventoryUpdate {
            synced: true,
            ..update(&["eth2"])
        };
        apply(&inventory, last);
        assert_eq!(known(&inventory, "eth1"), Some(true));
        assert_eq!(known(&inventory, "eth3"), Some(false));
        apply(&inventory, first);
        assert_eq!(
            known(&inventory, "eth2"),
            Some(true),
            "the former one stays meanwhile"
        );
    }

    #[test]
    fn changes_patch_the_inventory() {
        let inventory = Inventory::default();
        apply(
            &inventory,
            InventoryUpdate {
                reset: true,
                synced: true,
                ..update(&["eth1", "eth2"])
            },
        );
        apply(
            &inventory,
            InventoryUpdate {
                removed: vec!["eth1".into(), "never".into()],
                synced: true,
                ..update(&["eth3"])
            },
        );
        let names: Vec<_> = inventory.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["eth2", "eth3"]);
    }

    #[test]
    fn protected_destinations_come_with_any_update() {
        let inventory = Inventory::default();
        let protected = Protected {
            destinations: vec!["10.0.0.1".into()],
            interface_names: vec![],
        };
        let mut seen = inventory.protected();
        apply(
            &inventory,
            InventoryUpdate {
                protected: Some(protected.clone()),
                ..InventoryUpdate::default()
            },
        );
        assert_eq!(*seen.borrow_and_update(), Some(protected));
    }
}
