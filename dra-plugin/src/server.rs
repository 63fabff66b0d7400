//! Serving the hook (`Claims`): one session at a time, a newer one takes over. A session begins with all records; the
//! orders that follow go behind them in the same stream, so that none is overtaken by an older record.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use network_driver_common::bus::{self, Component};
use network_driver_common::model::{DeviceName, Quarantine, Record};
use network_driver_proto::bus::claims_server::{Claims, ClaimsServer};
use network_driver_proto::bus::claims_session_request::Message as Heard;
use network_driver_proto::bus::claims_session_response::Message as Said;
use network_driver_proto::bus::report::Event;
use network_driver_proto::bus::{
    ClaimsSessionRequest, ClaimsSessionResponse, DeviceHealth, Hello, ListClaimsRequest,
    ListClaimsResponse, ListQuarantineRequest, ListQuarantineResponse, OrderResult, Protected,
    QuarantinedDevice, Readiness, Records, ReleaseQuarantineRequest, ReleaseQuarantineResponse,
    Report, ReportAck,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use crate::driver::Driver;
use crate::hook::OpenSession;

/// Records, and devices in quarantine, in a page.
const PAGE: usize = 50;
/// Longest wait for the hook's hello.
const HELLO: Duration = Duration::from_secs(5);
/// Reports and news of devices that may wait to be handled.
const NEWS: usize = 64;

/// The `Claims` service.
#[derive(Debug)]
pub(crate) struct Server {
    driver: Arc<Driver>,
    sessions: TaskTracker,
    shutdown: CancellationToken,
}

type Messages = Pin<Box<dyn Stream<Item = Result<ClaimsSessionResponse, Status>> + Send>>;

impl Server {
    /// Serves until the token is cancelled.
    pub(crate) fn service(driver: Arc<Driver>, shutdown: CancellationToken) -> ClaimsServer<Self> {
        ClaimsServer::new(Self {
            driver,
            sessions: TaskTracker::new(),
            shutdown,
        })
    }

    /// Everything that the session says: the beginning, then what comes up.
    fn outbound(&self, session: OpenSession) -> Messages {
        let mut protected = self.driver.inventory.protected();
        let known = protected.borrow_and_update().clone();
        let beginning = std::iter::once(Said::Hello(bus::hello(Component::DraPlugin)))
            .chain(known.map(Said::Protected))
            .map(message)
            .chain(
                pages(
                    self.driver.book.records(),
                    self.driver.book.quarantined(),
                    self.driver.knows_all(),
                )
                .map(Said::Records)
                .map(message),
            );
        let news = WatchStream::from_changes(protected)
            .filter_map(|protected: Option<Protected>| std::future::ready(protected))
            .map(|protected| message(Said::Protected(protected)));
        let queue = ReceiverStream::new(session.queue);
        let end = session.end.clone();
        // When the hook goes away this stream is dropped, and the reading of the session ends with it.
        let gone = session.end.drop_guard();
        let stream = stream::iter(beginning)
            .chain(stream::select(queue, news))
            .take_until(async move { end.cancelled().await })
            .map(move |message| {
                let _ = &gone;
                Ok(message)
            });
        Box::pin(stream)
    }
}

#[tonic::async_trait]
impl Claims for Server {
    type SessionStream = Messages;

    async fn session(
        &self,
        request: Request<Streaming<ClaimsSessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut inbound = request.into_inner();
        let hello = hello(&mut inbound).await?;
        info!(peer.version = hello.version, "hook session begun");
        let session = self.driver.hook.open();
        let reader = SessionReader {
            driver: Arc::clone(&self.driver),
            generation: session.generation,
            messages: session.messages.clone(),
            end: session.end.clone(),
        };
        let shutdown = self.shutdown.clone();
        self.sessions.spawn(async move {
            tokio::select! {
                () = reader.run(inbound) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(self.outbound(session)))
    }

    async fn list(
        &self,
        _: Request<ListClaimsRequest>,
    ) -> Result<Response<ListClaimsResponse>, Status> {
        let records = self.driver.book.records();
        let records = records.iter().map(|record| (&**record).into()).collect();
        Ok(Response::new(ListClaimsResponse { records }))
    }

    async fn list_quarantine(
        &self,
        _: Request<ListQuarantineRequest>,
    ) -> Result<Response<ListQuarantineResponse>, Status> {
        let quarantined = self.driver.book.quarantined();
        let quarantined = quarantined.values().map(|q| (&**q).into()).collect();
        Ok(Response::new(ListQuarantineResponse { quarantined }))
    }

    async fn release_quarantine(
        &self,
        request: Request<ReleaseQuarantineRequest>,
    ) -> Result<Response<ReleaseQuarantineResponse>, Status> {
        let device = request.into_inner().device.parse::<DeviceName>();
        let device = device.map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.driver.release_quarantine(&device).await?;
        Ok(Response::new(ReleaseQuarantineResponse {}))
    }
}

async fn hello(inbound: &mut Streaming<ClaimsSessionRequest>) -> Result<Hello, Status> {
    let late = || Status::deadline_exceeded("no hello in time");
    let first = tokio::time::timeout(HELLO, inbound.message()).await;
    match first.map_err(|_| late())??.and_then(|first| first.message) {
        Some(Heard::Hello(hello)) => Ok(hello),
        _ => Err(Status::failed_precondition("a session begins with a hello")),
    }
}

fn message(said: Said) -> ClaimsSessionResponse {
    ClaimsSessionResponse {
        message: Some(said),
    }
}

/// The whole list in pages, each made when it is asked for; the last is marked as such, and an empty list is one empty page.
fn pages(
    records: Vec<Arc<Record>>,
    quarantined: BTreeMap<DeviceName, Arc<Quarantine>>,
    complete: bool,
) -> impl Iterator<Item = Records> {
    let quarantined: Vec<_> = quarantined.into_values().collect();
    let count = records.len().max(quarantined.len()).div_ceil(PAGE).max(1);
    (1..=count).map(move |number| {
        let before = number.saturating_sub(1).saturating_mul(PAGE);
        let records = records.iter().skip(before).take(PAGE);
        let quarantined = quarantined.iter().skip(before).take(PAGE);
        Records {
            records: records.map(|record| (&**record).into()).collect(),
            synced: number == count,
            incomplete: number == count && !complete,
            quarantined: quarantined.map(|device| listed(device)).collect(),
        }
    })
}

fn listed(quarantine: &Quarantine) -> QuarantinedDevice {
    QuarantinedDevice {
        device: quarantine.device.to_string(),
        reason: quarantine.reason.clone(),
        lost: quarantine.lost,
    }
}

/// What has to be handled in order: how a device is holds for the sandbox that was reported before, and the hook is ready
/// once what it had to report is kept.
enum News {
    /// While records are given back.
    Result(OrderResult),
    Readiness(Readiness),
    Report(Box<Report>),
    Health(Box<DeviceHealth>),
}

/// Hears what the hook says in one session.
struct SessionReader {
    driver: Arc<Driver>,
    generation: u64,
    messages: mpsc::Sender<ClaimsSessionResponse>,
    end: CancellationToken,
}

impl Drop for SessionReader {
    /// However reading ended, by a panic too: a session that nobody reads must not look open.
    fn drop(&mut self) {
        self.end.cancel();
        self.driver.hook.close(self.generation);
    }
}

impl SessionReader {
    async fn run(&self, inbound: Streaming<ClaimsSessionRequest>) {
        let (news, queue) = mpsc::channel(NEWS);
        tokio::select! {
            () = self.read(inbound, news) => {}
            () = self.handle(queue) => {}
            () = self.end.cancelled() => {}
        }
    }

    async fn read(&self, mut inbound: Streaming<ClaimsSessionRequest>, news: mpsc::Sender<News>) {
        loop {
            let heard = match inbound.message().await {
                Ok(Some(request)) => request.message,
                Ok(None) => return,
                Err(status) => {
                    debug!(err = %status, "hook session broken");
                    return;
                }
            };
            let heard = match heard {
                Some(Heard::Readiness(readiness)) => News::Readiness(readiness),
                Some(Heard::Report(report)) => News::Report(Box::new(report)),
                Some(Heard::Health(health)) => News::Health(Box::new(health)),
                // A record that was given back is kept before its claim's release is answered.
                Some(Heard::Result(result)) if !self.driver.knows_all() => News::Result(result),
                Some(Heard::Result(result)) => {
                    self.driver.hook.resolve(self.generation, result);
                    continue;
                }
                Some(Heard::Hello(_)) => {
                    warn!("the hook said hello twice");
                    continue;
                }
                None => {
                    debug!("the hook said what this release does not know");
                    continue;
                }
            };
            if news.send(heard).await.is_err() {
                return;
            }
        }
    }

    /// Handles news one by one, in order, and acknowledges each report once it is on disk. One that could not be kept
    /// is not acknowledged: the hook sends it again.
    async fn handle(&self, mut news: mpsc::Receiver<News>) {
        while let Some(news) = news.recv().await {
            let report = match news {
                News::Report(report) => *report,
                News::Result(result) => {
                    self.driver.hook.resolve(self.generation, result);
                    continue;
                }
                News::Readiness(readiness) => {
                    self.driver.hook.set_readiness(self.generation, &readiness);
                    self.driver.note_whole().await;
                    continue;
                }
                News::Health(health) => {
                    self.driver.hear_health(&health);
                    continue;
                }
            };
            let id = report.id;
            let gives_back = matches!(report.event, Some(Event::GivenBack(_)));
            if self.driver.report(report).await {
                let ack = message(Said::ReportAck(ReportAck { id }));
                if self.messages.send(ack).await.is_err() {
                    return;
                }
            } else if gives_back {
                // Nothing must be believed to be whole without it.
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{quarantine, record};

    #[test]
    fn a_list_comes_in_pages_of_which_only_the_last_ends_it() {
        for (records, devices, want) in [
            (0, 0, &[(0, 0)][..]),
            (1, 0, &[(1, 0)][..]),
            (50, 50, &[(50, 50)][..]),
            (101, 1, &[(50, 1), (50, 0), (1, 0)][..]),
            (1, 101, &[(1, 50), (0, 50), (0, 1)][..]),
        ] {
            let records: Vec<_> = (0..records)
                .map(|n| Arc::new(record(&format!("c-{n}"), &[])))
                .collect();
            let quarantined: BTreeMap<_, _> = (0..devices)
                .map(|n| quarantine(&format!("eth{n}")))
                .map(|quarantine| (quarantine.device.clone(), Arc::new(quarantine)))
                .collect();
            let devices: Vec<_> = quarantined.keys().map(ToString::to_string).collect();
            let pages: Vec<_> = pages(records, quarantined, false).collect();
            let sizes = pages
                .iter()
                .map(|page| (page.records.len(), page.quarantined.len()));
            assert_eq!(sizes.collect::<Vec<_>>(), want);
            let told = pages.iter().flat_map(|page| &page.quarantined);
            let told: Vec<_> = told.map(|quarantined| quarantined.device.clone()).collect();
            assert_eq!(told, devices);
            let synced = pages.iter().filter(|page| page.synced).count();
            assert!(synced == 1 && pages.last().unwrap().synced);
            assert!(pages.iter().all(|page| page.incomplete == page.synced));
        }
    }
}
