//! `Inventory` on the bus: a session tells dra-plugin the devices of this node, and dra-plugin tells which are in use.
//!
//! A session is a stream that compares what it has sent with the newest view, so that a slow reader skips what is past
//! instead of holding it up.

mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use network_driver_proto::bus;
use network_driver_proto::bus::inventory_server::Inventory;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::inventory::{Holdings, InUse, LinkView, Offered, View};
use crate::metrics::Metrics;
use session::Session;

/// The service.
#[derive(Debug, Clone)]
pub struct Server {
    view: watch::Receiver<Option<Arc<View>>>,
    in_use: watch::Sender<Option<Arc<Holdings>>>,
    sessions: Sessions,
    shutdown: CancellationToken,
}

impl Server {
    /// Serves this view; lists of devices in use and in quarantine go to `in_use`. Sessions end when the token is cancelled.
    pub fn new(
        view: watch::Receiver<Option<Arc<View>>>,
        in_use: watch::Sender<Option<Arc<Holdings>>>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            view,
            in_use,
            sessions: Sessions {
                open: Arc::default(),
                metrics,
            },
            shutdown,
        }
    }
}

/// How many sessions are open.
#[derive(Debug, Clone)]
struct Sessions {
    open: Arc<AtomicUsize>,
    metrics: Metrics,
}

/// One open session.
#[derive(Debug)]
struct OpenSession(Sessions);

impl Sessions {
    fn enter(&self) -> OpenSession {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.session(before.saturating_add(1));
        OpenSession(self.clone())
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        let before = self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.session(before.saturating_sub(1));
        tracing::info!("dra-plugin's session has ended");
    }
}

#[tonic::async_trait]
impl Inventory for Server {
    type SessionStream = BoxStream<'static, Result<bus::InventorySessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<bus::InventorySessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|first| first.message);
        let Some(bus::inventory_session_request::Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument(
                "the first message must be a hello",
            ));
        };
        tracing::info!(
            peer = hello.component,
            version = hello.version,
            "session opened"
        );
        let session = Session::new(inbound, self.view.clone(), self.in_use.clone());
        let stream = session.stream(self.sessions.enter(), self.shutdown.clone());
        Ok(Response::new(stream))
    }

    async fn list(
        &self,
        _: Request<bus::ListLinksRequest>,
    ) -> Result<Response<bus::ListLinksResponse>, Status> {
        let view = self.view.borrow().clone();
        let view = view.ok_or_else(|| Status::unavailable("the node has not been read yet"))?;
        let links = list(&view);
        Ok(Response::new(bus::ListLinksResponse { links }))
    }
}

/// All links of a view, those that are away in a pod last.
pub fn list(view: &View) -> Vec<bus::Link> {
    let home = view.links.iter().map(|link| shown(view, link));
    let at_home = |device: &_| {
        view.links
            .iter()
            .any(|l| l.device().is_some_and(|d| d.name == *device))
    };
    let away = view.in_use.iter().filter(|(name, _)| !at_home(name));
    let away = away.map(|(_, used)| bus::Link {
        interface_name: used.device.interface.as_bytes().to_vec(),
        device: Some((&*used.device).into()),
        claim_uid: used.claim.to_string(),
        fault: fault(used),
        ..bus::Link::default()
    });
    home.chain(away).collect()
}

fn shown(view: &View, link: &LinkView) -> bus::Link {
    let mut shown = bus::Link {
        interface_name: link.name.as_bytes().to_vec(),
        ifindex: link.index,
        kind: link.kind.clone(),
        ..bus::Link::default()
    };
    match &link.offered {
        Offered::As(device) => {
            shown.device = Some((&**device).into());
            let used = view.in_use.get(&device.name);
            shown.claim_uid = used.map(|used| used.claim.to_string()).unwrap_or_default();
            shown.fault = used.map(fault).unwrap_or_default();
        }
        Offered::No { reason, .. } => shown.hidden_because.clone_from(reason),
    }
    shown
}

fn fault(used: &InUse) -> String {
    let fault = used.fault.as_ref();
    fault.map(|fault| fault.message.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
