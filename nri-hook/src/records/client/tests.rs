//! The session against a dra-plugin of our own, over a real socket.

use std::pin::Pin;
use std::sync::Mutex;

use network_driver_proto::bus::claims_server::{Claims, ClaimsServer};
use network_driver_proto::bus::order::Order as Kind;
use network_driver_proto::bus::order_result::Result as Answer;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Request, Response};

use super::*;
use crate::nri::PodEvents;
use crate::testing::{FakeDevices, claim, hook_in, record};

type ToHook = mpsc::Sender<Result<wire::ClaimsSessionResponse, Status>>;

/// The other end of one session.
struct Opened {
    to: ToHook,
    from: Streaming<wire::ClaimsSessionRequest>,
}

/// Hands out the sessions that are opened.
#[derive(Debug)]
struct FakePlugin {
    opened: Mutex<mpsc::UnboundedSender<Opened>>,
}

#[tonic::async_trait]
impl Claims for FakePlugin {
    type SessionStream =
        Pin<Box<dyn Stream<Item = Result<wire::ClaimsSessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<wire::ClaimsSessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (to, queue) = mpsc::channel(64);
        let opened = Opened {
            to,
            from: request.into_inner(),
        };
        drop(self.opened.lock().unwrap().send(opened));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn list(
        &self,
        _: Request<wire::ListClaimsRequest>,
    ) -> Result<Response<wire::ListClaimsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn list_quarantine(
        &self,
        _: Request<wire::ListQuarantineRequest>,
    ) -> Result<Response<wire::ListQuarantineResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn release_quarantine(
        &self,
        _: Request<wire::ReleaseQuarantineRequest>,
    ) -> Result<Response<wire::ReleaseQuarantineResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

impl Opened {
    async fn send(&self, message: In) {
        let message = wire::ClaimsSessionResponse {
            message: Some(message),
        };
        self.to.send(Ok(message)).await.unwrap();
    }

    async fn records(&self, records: &[Record], synced: bool) {
        let records = records.iter().map(Into::into).collect();
        let page = wire::Records {
            records,
            synced,
            ..wire::Records::default()
        };
        self.send(In::Records(page)).await;
    }

    async fn next(&mut self) -> Out {
        self.from.message().await.unwrap().unwrap().message.unwrap()
    }

    /// Takes the hello and the first readiness.
    async fn greeted(&mut self) -> wire::Readiness {
        assert!(matches!(self.next().await, Out::Hello(hello) if hello.component == "nri-hook"));
        self.send(In::Hello(bus::hello(Component::DraPlugin))).await;
        let Out::Readiness(readiness) = self.next().await else {
            panic!("no readiness")
        };
        readiness
    }
}

struct Fixture {
    hook: Arc<Hook<FakeDevices>>,
    phase: watch::Sender<Phase>,
    received: watch::Receiver<bool>,
    opened: mpsc::UnboundedReceiver<Opened>,
    stop: CancellationToken,
    client: JoinHandle<Result<(), Infallible>>,
    dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let (opened, sessions) = mpsc::unbounded_channel();
    let plugin = ClaimsServer::new(FakePlugin {
        opened: Mutex::new(opened),
    });
    let listener = bus::listen(dir.path(), Component::DraPlugin).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(bus::serve(listener, Routes::new(plugin), stop.clone()));
    let hook = Arc::new(hook_in(dir.path(), None));
    let phase = watch::Sender::new(Phase::Joining);
    let received = watch::Sender::new(false);
    let client = Client {
        channel: bus::channel(dir.path(), Component::DraPlugin),
        hook: Arc::clone(&hook),
        phase: phase.subscribe(),
        work: TaskTracker::new(),
        received: received.clone(),
    };
    Fixture {
        hook,
        phase,
        received: received.subscribe(),
        opened: sessions,
        client: tokio::spawn(client.run(stop.clone())),
        stop,
        dir,
    }
}

#[tokio::test]
async fn records_come_in_pages_and_count_once_they_are_whole() {
    let mut fixture = fixture();
    let mut session = fixture.opened.recv().await.unwrap();
    assert!(!session.greeted().await.ready);
    session.records(&[record("a", &["p"])], false).await;
    let quarantined = |device: &str| wire::QuarantinedDevice {
        device: device.into(),
        reason: "device is bent".into(),
        lost: false,
    };
    let bent = record("a", &["p"]).attachments[0].device.name.to_string();
    let broken = wire::Records {
        records: vec![wire::Record::default()],
        quarantined: vec![quarantined("Not a device"), quarantined(&bent)],
        ..wire::Records::default()
    };
    session.send(In::Records(broken)).await;
    session.records(&[record("b", &["p"])], true).await;
    fixture
        .received
        .wait_for(|received| *received)
        .await
        .unwrap();
    let records = &fixture.hook.records;
    assert_eq!(records.all().len(), 2);
    let why = records.quarantined(&claim("a"));
    assert_eq!(why.as_deref(), Some("device is bent"));
    fixture.stop.cancel();
    fixture.client.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_the_nodes_traffic_depends_on_is_taken_whenever_it_is_told() {
    let mut fixture = fixture();
    let mut session = fixture.opened.recv().await.unwrap();
    session.greeted().await;
    for address in ["192.0.2.1", "192.0.2.2"] {
        let protected = wire::Protected {
            destinations: vec![address.into()],
            interface_names: vec![b"eno1".to_vec()],
        };
        session.send(In::Protected(protected.clone())).await;
        // Messages are taken in their order, so what follows is answered after it.
        let order = Kind::Abandon(wire::ClaimRef {
            claim_uid: "c".into(),
        });
        session
            .send(In::Order(wire::Order {
                order: Some(order),
                ..wire::Order::default()
            }))
            .await;
        while !matches!(session.next().await, Out::Result(_)) {}
        assert_eq!(
            wire::Protected::from(&*fixture.hook.records.protected()),
            protected
        );
    }
}

#[tokio::test]
async fn readiness_is_told_whenever_it_changes() {
    let mut fixture = fixture();
    let mut session = fixture.opened.recv().await.unwrap();
    let readiness = session.greeted().await;
    assert!(
        readiness.reason.contains("not yet synchronised"),
        "{}",
        readiness.reason
    );
    fixture.phase.send_replace(Phase::Synchronised {
        runtime: "containerd v2".into(),
    });
    let Out::Readiness(readiness) = session.next().await else {
        panic!("no readiness")
    };
    assert_eq!(
        readiness.reason,
        "the hook has not received the records of dra-plugin yet"
    );
    session.records(&[], true).await;
    let Out::Readiness(readiness) = session.next().await else {
        panic!("no readiness")
    };
    assert_eq!(
        (readiness.ready, readiness.runtime.as_str()),
        (true, "containerd v2")
    );
    fixture.phase.send_replace(Phase::Away {
        reason: "gone".into(),
    });
    let Out::Readiness(readiness) = session.next().await else {
        panic!("no readiness")
    };
    assert_eq!(
        (readiness.ready, readiness.reason.as_str()),
        (false, "gone")
    );
}

#[tokio::test]
async fn an_old_containerd_is_ready_once_cdi_is_seen_to_work() {
    let mut fixture = fixture();
    let mut session = fixture.opened.recv().await.unwrap();
    session.greeted().await;
    session.records(&[], true).await;
    fixture.received.wait_for(|come| *come).await.unwrap();
    fixture.phase.send_replace(Phase::Synchronised {
        runtime: "containerd v1.7.27".into(),
    });
    let Out::Readiness(readiness) = session.next().await else {
        panic!("no readiness")
    };
    assert!(!readiness.ready);
    assert!(readiness.reason.contains("enable_cdi"), "{readiness:?}");
    fixture.hook.confirmation.seen();
    let Out::Readiness(readiness) = session.next().await else {
        panic!("no readiness")
    };
    assert!(readiness.ready, "{readiness:?}");
}

#[tokio::test]
async fn orders_are_answered_by_their_id() {
    let mut fixture = fixture();
    let mut session = fixture.opened.recv().await.unwrap();
    session.greeted().await;
    let record = record("c", &["p"]);
    for (id, order) in [
        (7, Kind::Check((&record).into())),
        (8, Kind::Commit((&record).into())),
        (
            9,
            Kind::Release(wire::ClaimRef {
                claim_uid: "c".into(),
            }),
        ),
        (
            10,
            Kind::Abandon(wire::ClaimRef {
                claim_uid: "/".into(),
            }),
        ),
    ] {
        let order = wire::Order {
            id,
            traceparent: String::new(),
            order: Some(order),
        };
        session.send(In::Order(order)).await;
        let Out::Result(result) = session.next().await else {
            panic!("no result of {id}")
        };
        assert_eq!(result.id, id);
        let right = match result.result.unwrap() {
            Answer::Checked(checked) => id == 7 && checked.snapshots.len() == 1,
            Answer::Done(_) => id == 8,
            Answer::Released(_) => id == 9,
            Answer::Refused(_) => id == 10,
        };
        assert!(right, "answer to {id}");
    }
}

#[tokio::test]
async fn a_report_is_sent_in_each_session_until_it_is_acknowledged() {
    let mut fixture = fixture();
    let netns = fixture.dir.path().join("s1");
    std::os::unix::fs::symlink("/proc/self/ns/net", &netns).unwrap();
    fixture.hook.records.commit(record("c", &["p"]));
    let pod = crate::testing::pod("s1", "p", netns.to_str());
    fixture
        .hook
        .run_pod_sandbox(pod, crate::testing::request(2000))
        .await
        .unwrap();

    let mut told = record("c", &["p"]);
    for acknowledged in [false, true] {
        let mut session = fixture.opened.recv().await.unwrap();
        session.greeted().await;
        session.records(&[record("c", &["p"])], true).await;
        let Out::Report(report) = session.next().await else {
            panic!("no report")
        };
        assert_eq!(report.claim_uid, "c");
        if acknowledged {
            session
                .send(In::ReportAck(wire::ReportAck { id: report.id }))
                .await;
            told.sandbox = Some("s1".parse().unwrap());
        }
        // Read after what was sent before it.
        session.records(&[told.clone()], true).await;
        let recorded = || {
            fixture
                .hook
                .records
                .committed(&claim("c"))
                .unwrap()
                .sandbox
                .is_some()
        };
        while acknowledged && !recorded() {
            tokio::task::yield_now().await;
        }
    }
    assert!(fixture.hook.reports.after(0).is_empty());
}
