//! One session: what has been sent, what is to be sent next.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use network_driver_common::bus::{Component, devices_in_use_span, hello};
use network_driver_common::model::{ClaimUid, Device, DeviceName, Protected, Quarantine};
use network_driver_common::telemetry::{self, Side};
use network_driver_common::wire::InvalidMessage;
use network_driver_proto::bus;
use network_driver_proto::bus::inventory_session_request::Message as Said;
use network_driver_proto::bus::inventory_session_response::Message as Answer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::Span;

use super::OpenSession;
use crate::inventory::{Holdings, InUse, InUseByDevice, View};

/// Most devices in one message.
const PAGE: usize = 50;

pub(super) struct Session {
    inbound: Streaming<bus::InventorySessionRequest>,
    view: watch::Receiver<Option<Arc<View>>>,
    in_use: watch::Sender<Option<Arc<Holdings>>>,
    /// A list of devices in use that goes on.
    begun: Option<InUseByDevice>,
    sent: Sent,
    queue: VecDeque<Answer>,
}

impl Session {
    /// A session whose hello has been received.
    pub(super) fn new(
        inbound: Streaming<bus::InventorySessionRequest>,
        mut view: watch::Receiver<Option<Arc<View>>>,
        in_use: watch::Sender<Option<Arc<Holdings>>>,
    ) -> Self {
        view.mark_changed();
        Self {
            inbound,
            view,
            in_use,
            begun: None,
            sent: Sent::default(),
            queue: VecDeque::from([Answer::Hello(hello(Component::Discovery))]),
        }
    }

    /// The session as the stream of its answers; it ends with the connection or when the token is cancelled.
    pub(super) fn stream(
        self,
        open: OpenSession,
        shutdown: CancellationToken,
    ) -> BoxStream<'static, Result<bus::InventorySessionResponse, Status>> {
        let state = (self, open, shutdown);
        stream::unfold(state, |(mut session, open, shutdown)| async move {
            let next = tokio::select! {
                next = session.next() => next?,
                () = shutdown.cancelled() => return None,
            };
            let response = next.map(|answer| bus::InventorySessionResponse {
                message: Some(answer),
            });
            Some((response, (session, open, shutdown)))
        })
        .boxed()
    }

    /// The next answer; `None` when the peer is gone.
    async fn next(&mut self) -> Option<Result<Answer, Status>> {
        loop {
            if let Some(answer) = self.queue.pop_front() {
                return Some(Ok(answer));
            }
            tokio::select! {
                said = self.inbound.message() => match said {
                    Ok(Some(request)) => self.hear(request),
                    Ok(None) => return None,
                    Err(status) => return Some(Err(status)),
                },
                changed = self.view.changed() => {
                    changed.ok()?;
                    if let Some(view) = self.view.borrow_and_update().as_deref() {
                        let pages = self.sent.pages(view).into_iter();
                        self.queue.extend(pages.map(Answer::Update));
                    }
                }
            }
        }
    }

    fn hear(&mut self, request: bus::InventorySessionRequest) {
        match request.message {
            Some(Said::DevicesInUse(list)) => {
                // One for each claim that has just been prepared; they end when the list is handed on.
                let _spans = spans(&list);
                let known = self.in_use.borrow().clone();
                let known = known.map(|known| Arc::clone(&known.in_use));
                let Some(in_use) = in_use(&list, self.begun.take(), known) else {
                    tracing::warn!("changes of devices in use came before the whole list");
                    return;
                };
                if list.more {
                    self.begun = Some(in_use);
                    return;
                }
                let holdings = Holdings {
                    quarantined: quarantined(&list),
                    in_use,
                };
                let devices = holdings.in_use.len();
                tracing::debug!(devices, "devices in use received");
                self.in_use.send_replace(Some(Arc::new(holdings)));
            }
            // A second hello changes nothing; a message that is newer than we are is skipped.
            Some(Said::Hello(_)) | None => {}
        }
    }
}

/// The spans of what is new in a list, below the Prepares that it follows from.
fn spans(list: &bus::DevicesInUse) -> Vec<Span> {
    let mut new: BTreeMap<&str, Vec<&bus::DeviceInUse>> = BTreeMap::new();
    for entry in &list.devices {
        if !entry.traceparent.is_empty() {
            new.entry(&entry.traceparent).or_default().push(entry);
        }
    }
    let span = |(parent, entries): (&str, Vec<&bus::DeviceInUse>)| {
        let span = devices_in_use_span(Side::Server);
        telemetry::set_number(&span, "dra.devices.count", entries.len());
        if let [entry] = entries.as_slice()
            && let Some(device) = &entry.device
        {
            telemetry::set(&span, "dra.device.name", device.name.clone());
        }
        if let Some(entry) = entries.first() {
            telemetry::set(&span, "dra.claim.uid", entry.claim_uid.clone());
        }
        telemetry::set_parent(&span, Some(parent));
        span
    };
    new.into_iter().map(span).collect()
}

/// The devices in use as a message leaves them, which goes on with a list that has `begun` if one has; `None` for changes
/// of what was never told. An entry that cannot be read keeps what was known under its name: to forget it could offer a
/// device that a pod holds.
pub(super) fn in_use(
    list: &bus::DevicesInUse,
    begun: Option<InUseByDevice>,
    known: Option<InUseByDevice>,
) -> Option<InUseByDevice> {
    let before = if list.reset {
        Arc::default()
    } else {
        begun.or_else(|| known.clone())?
    };
    let mut now = Arc::unwrap_or_clone(before);
    let known = known.unwrap_or_default();
    for entry in &list.devices {
        match read(entry) {
            Ok(used) => {
                now.insert(used.device.name.clone(), used);
            }
            Err(error) => {
                tracing::warn!(err = %error, "device in use cannot be read");
                let name = entry
                    .device
                    .as_ref()
                    .and_then(|device| device.name.parse().ok());
                let used = name.and_then(|name: DeviceName| known.get_key_value(&name));
                now.extend(used.map(|(name, used)| (name.clone(), used.clone())));
            }
        }
    }
    for name in list
        .released
        .iter()
        .filter_map(|name| name.parse::<DeviceName>().ok())
    {
        now.remove(&name);
    }
    Some(Arc::new(now))
}

/// Reads a list of devices in quarantine. Of an entry that cannot be read the name is enough.
fn quarantined(list: &bus::DevicesInUse) -> Vec<Quarantine> {
    let read = |entry: &bus::Quarantine| {
        let read = Quarantine::try_from(entry).or_else(|error| {
            tracing::warn!(err = %error, "device in quarantine cannot be read");
            Quarantine::try_from(&bus::Quarantine {
                device: entry.device.clone(),
                reason: entry.reason.clone(),
                ..bus::Quarantine::default()
            })
        });
        read.ok()
    };
    list.quarantined.iter().filter_map(read).collect()
}

fn read(entry: &bus::DeviceInUse) -> Result<InUse, InvalidMessage> {
    let missing = || InvalidMessage::new("device", "is missing");
    let device = entry.device.as_ref().ok_or_else(missing)?;
    let device = Device::try_from(device).map_err(|error| error.within("device"))?;
    let claim = entry.claim_uid.parse::<ClaimUid>();
    Ok(InUse {
        device: Arc::new(device),
        claim: claim.map_err(|error| InvalidMessage::new("claim_uid", error.to_string()))?,
        fault: entry.fault.as_ref().map(Into::into),
    })
}

/// What a peer has been told.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// `None` before the first whole inventory.
    devices: Option<BTreeMap<DeviceName, Arc<Device>>>,
    protected: Option<Protected>,
}

impl Sent {
    /// The messages that bring the peer from what it knows to this view; none when it knows it.
    pub(super) fn pages(&mut self, view: &View) -> Vec<bus::InventoryUpdate> {
        let is_first = self.devices.is_none();
        let known = self.devices.get_or_insert_default();
        let is_news = |device: &&Arc<Device>| known.get(&device.name) != Some(*device);
        let changed: Vec<&Arc<Device>> = view.devices().filter(is_news).collect();
        let present: HashSet<&DeviceName> = view.devices().map(|device| &device.name).collect();
        let gone = known.keys().filter(|name| !present.contains(name));
        let gone: Vec<DeviceName> = gone.cloned().collect();
        for name in &gone {
            known.remove(name);
        }
        for device in &changed {
            known.insert(device.name.clone(), Arc::clone(device));
        }
        let is_protected_news = self.protected.as_ref() != Some(&view.protected);
        if is_protected_news {
            self.protected = Some(view.protected.clone());
        }
        if !is_first && changed.is_empty() && gone.is_empty() && !is_protected_news {
            return Vec::new();
        }
        let mut pages = paged(&changed, !is_first);
        if let Some(first) = pages.first_mut() {
            first.reset = is_first;
            first.removed = gone.iter().map(ToString::to_string).collect();
            first.protected = is_protected_news.then(|| (&view.protected).into());
        }
        if let Some(last) = pages.last_mut() {
            last.synced = true;
        }
        pages
    }
}

/// At least one message, each with a page of the devices.
fn paged(devices: &[&Arc<Device>], synced: bool) -> Vec<bus::InventoryUpdate> {
    let page = |devices: &[&Arc<Device>]| bus::InventoryUpdate {
        changed: devices.iter().map(|device| (&***device).into()).collect(),
        synced,
        ..bus::InventoryUpdate::default()
    };
    if devices.is_empty() {
        vec![page(&[])]
    } else {
        devices.chunks(PAGE).map(page).collect()
    }
}
