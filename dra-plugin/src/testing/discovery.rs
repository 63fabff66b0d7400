//! A discovery that offers what the test says.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use network_driver_common::bus::{self, Component};
use network_driver_proto::bus::inventory_server::{Inventory, InventoryServer};
use network_driver_proto::bus::inventory_session_request::Message as Heard;
use network_driver_proto::bus::inventory_session_response::Message as Said;
use network_driver_proto::bus::{
    DeviceInUse, DevicesInUse, InventorySessionRequest, InventorySessionResponse, InventoryUpdate,
    ListLinksRequest, ListLinksResponse, Protected,
};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::fixture::device;

#[derive(Clone)]
pub(crate) struct FakeDiscovery {
    update: watch::Sender<Option<InventoryUpdate>>,
    /// Devices in use, as they were after each message.
    pub(crate) in_use: Arc<Mutex<Vec<Vec<String>>>>,
    /// All that was told.
    pub(crate) newest: Arc<Mutex<DevicesInUse>>,
    stop: CancellationToken,
}

fn name_of(entry: &DeviceInUse) -> String {
    entry.device.as_ref().unwrap().name.clone()
}

/// As the real one does it, with the devices in order.
fn merge(known: &mut DevicesInUse, news: DevicesInUse) {
    let renewed: Vec<_> = news.devices.iter().map(name_of).collect();
    let is_over = |entry: &DeviceInUse| {
        let name = name_of(entry);
        news.reset || news.released.contains(&name) || renewed.contains(&name)
    };
    known.devices.retain(|entry| !is_over(entry));
    known.devices.extend(news.devices);
    known.devices.sort_by_key(name_of);
    known.quarantined = news.quarantined;
}

impl FakeDiscovery {
    pub(crate) fn start(dir: &Path) -> Self {
        let fake = Self {
            update: watch::Sender::new(None),
            in_use: Arc::default(),
            newest: Arc::default(),
            stop: CancellationToken::new(),
        };
        let listener = bus::listen(dir, Component::Discovery).unwrap();
        let routes = Routes::new(InventoryServer::new(fake.clone()));
        let serve = bus::serve(listener, routes, fake.stop.clone());
        tokio::spawn(async { serve.await.unwrap() });
        fake
    }

    /// Goes away.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Offers these devices, and no others.
    pub(crate) fn offer(&self, names: &[&str]) {
        self.update.send_replace(Some(InventoryUpdate {
            reset: true,
            synced: true,
            changed: names.iter().map(|name| (&device(name)).into()).collect(),
            removed: Vec::new(),
            protected: Some(Protected {
                destinations: vec!["192.0.2.1".into()],
                interface_names: Vec::new(),
            }),
        }));
    }
}

#[tonic::async_trait]
impl Inventory for FakeDiscovery {
    type SessionStream =
        Pin<Box<dyn Stream<Item = Result<InventorySessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<InventorySessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let (lists, newest) = (Arc::clone(&self.in_use), Arc::clone(&self.newest));
        tokio::spawn(async move {
            while let Ok(Some(request)) = inbound.message().await {
                if let Some(Heard::DevicesInUse(list)) = request.message {
                    let mut known = newest.lock().unwrap();
                    merge(&mut known, list);
                    let names = known.devices.iter().map(name_of);
                    lists.lock().unwrap().push(names.collect());
                }
            }
        });
        let updates = WatchStream::new(self.update.subscribe())
            .filter_map(|update| std::future::ready(update.map(Said::Update)));
        let hello = Said::Hello(bus::hello(Component::Discovery));
        let messages = futures::stream::iter([hello])
            .chain(updates)
            .map(|message| {
                Ok(InventorySessionResponse {
                    message: Some(message),
                })
            })
            .take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(messages)))
    }

    async fn list(
        &self,
        _: Request<ListLinksRequest>,
    ) -> Result<Response<ListLinksResponse>, Status> {
        Ok(Response::new(ListLinksResponse::default()))
    }
}
