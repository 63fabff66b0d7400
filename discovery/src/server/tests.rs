use network_driver_common::bus::{Component, channel, hello, listen, serve};
use network_driver_common::metrics::prometheus_client::registry::Registry;
use network_driver_common::model::{DeviceFault, FaultReason};
use network_driver_proto::bus::inventory_client::InventoryClient;
use network_driver_proto::bus::inventory_server::InventoryServer;
use tonic::service::Routes;

use super::session::{Sent, in_use};
use super::*;
use crate::fixture::device;

fn view(names: impl IntoIterator<Item = String>) -> View {
    let links = names.into_iter().zip(1..).map(|(name, index)| {
        Arc::new(LinkView {
            name: name.parse().unwrap(),
            index,
            kind: "veth".into(),
            offered: Offered::As(device(&name)),
        })
    });
    View {
        links: links.collect(),
        ..View::default()
    }
}

fn names(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("n{n:03}"))
}

/// Pages as `[reset][synced] changed/removed`.
fn shape(pages: &[bus::InventoryUpdate]) -> Vec<String> {
    let flag = |set, text| if set { text } else { "" };
    let shape = pages.iter().map(|page| {
        format!(
            "{}{}{}{}/{}",
            flag(page.reset, "reset "),
            flag(page.synced, "synced "),
            flag(page.protected.is_some(), "protected "),
            page.changed.len(),
            page.removed.len()
        )
    });
    shape.collect()
}

#[test]
fn the_whole_inventory_goes_in_pages_and_then_only_changes() {
    let mut sent = Sent::default();
    assert_eq!(
        shape(&sent.pages(&view(names(0..120)))),
        ["reset protected 50/0", "50/0", "synced 20/0"]
    );
    assert!(sent.pages(&view(names(0..120))).is_empty());
    assert_eq!(shape(&sent.pages(&view(names(1..121)))), ["synced 1/1"]);
    assert_eq!(
        shape(&sent.pages(&view(names(1..200)))),
        ["synced 50/0", "synced 29/0"]
    );
}

#[test]
fn an_empty_inventory_and_a_change_of_what_is_protected_are_told() {
    let mut sent = Sent::default();
    assert_eq!(
        shape(&sent.pages(&view([]))),
        ["reset synced protected 0/0"]
    );
    let mut changed = view([]);
    changed.protected.destinations = ["10.0.0.1".parse().unwrap()].into();
    assert_eq!(shape(&sent.pages(&changed)), ["synced protected 0/0"]);
}

fn said(name: &str, claim: &str) -> bus::DeviceInUse {
    bus::DeviceInUse {
        device: Some((&*device(name)).into()),
        claim_uid: claim.into(),
        ..bus::DeviceInUse::default()
    }
}

#[test]
fn an_entry_in_use_that_cannot_be_read_is_not_forgotten() {
    let list = |devices| bus::DevicesInUse {
        devices,
        reset: true,
        ..bus::DevicesInUse::default()
    };
    let before = list(vec![said("a", "c-1"), said("b", "c-2")]);
    let before = in_use(&before, None, None).unwrap();
    assert_eq!(before.len(), 2);
    let mut broken = said("a", "c-1");
    broken.device.as_mut().unwrap().identity = None;
    let unknown = said("z", "/");
    let after = in_use(
        &list(vec![broken.clone(), unknown, bus::DeviceInUse::default()]),
        None,
        Some(Arc::clone(&before)),
    );
    let a = before.iter().next().unwrap();
    assert_eq!(after.unwrap().iter().collect::<Vec<_>>(), [a]);
    // Nor where the list goes on.
    let first = in_use(&list(vec![said("c", "c-3")]), None, Some(before.clone()));
    let rest = bus::DevicesInUse {
        reset: false,
        ..list(vec![broken])
    };
    let after = in_use(&rest, first, Some(before)).unwrap();
    let names: Vec<_> = after.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn changes_are_applied_to_the_list_that_came_before() {
    let news = |devices, released: &[&str]| bus::DevicesInUse {
        devices,
        released: released.iter().map(ToString::to_string).collect(),
        ..bus::DevicesInUse::default()
    };
    assert_eq!(in_use(&news(vec![said("a", "c-1")], &[]), None, None), None);
    let whole = bus::DevicesInUse {
        reset: true,
        ..news(
            vec![said("a", "c-1"), said("b", "c-2"), said("c", "c-3")],
            &[],
        )
    };
    let before = in_use(&whole, None, None);
    let mut broken = said("c", "c-4");
    broken.device.as_mut().unwrap().identity = None;
    let after = news(
        vec![said("b", "c-5"), said("d", "c-6"), broken],
        &["a", "/"],
    );
    let after = in_use(&after, None, before).unwrap();
    let holders = after
        .iter()
        .map(|(name, used)| (name.as_str(), used.claim.as_str()));
    let holders: Vec<_> = holders.collect();
    assert_eq!(holders, [("b", "c-5"), ("c", "c-3"), ("d", "c-6")]);
}

#[test]
fn the_list_shows_reasons_holders_and_what_is_away() {
    let mut view = view(["a".to_owned(), "b".to_owned()]);
    view.links.push(Arc::new(LinkView {
        name: "lo".parse().unwrap(),
        index: 9,
        kind: String::new(),
        offered: Offered::No {
            reason: "is the loopback link".into(),
            protected: false,
        },
    }));
    let used = [("b", "c-1"), ("away", "c-2")].map(|(name, claim)| {
        let device = device(name);
        let claim = claim.parse().unwrap();
        let fault = (name == "away").then(|| DeviceFault {
            reason: FaultReason::CarrierDown,
            message: "net1 has no carrier".into(),
            since: std::time::SystemTime::UNIX_EPOCH,
        });
        let used = InUse {
            device,
            claim,
            fault,
        };
        (used.device.name.clone(), used)
    });
    view.in_use = Arc::new(used.into());
    let shown: Vec<_> = list(&view)
        .into_iter()
        .map(|link| {
            let name = String::from_utf8(link.interface_name).unwrap();
            (
                name,
                link.ifindex,
                link.device.is_some(),
                link.claim_uid,
                link.hidden_because + &link.fault,
            )
        })
        .collect();
    let row = |name: &str, index, offered, claim: &str, why: &str| {
        (
            name.to_owned(),
            index,
            offered,
            claim.to_owned(),
            why.to_owned(),
        )
    };
    assert_eq!(
        shown,
        [
            row("a", 1, true, "", ""),
            row("b", 2, true, "c-1", ""),
            row("lo", 9, false, "", "is the loopback link"),
            row("away", 0, true, "c-2", "net1 has no carrier"),
        ]
    );
}

/// A server on a socket of its own.
struct OnBus {
    dir: tempfile::TempDir,
    view: watch::Sender<Option<Arc<View>>>,
    in_use: watch::Receiver<Option<Arc<Holdings>>>,
    shutdown: CancellationToken,
}

impl OnBus {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (view, view_seen) = watch::channel(None);
        let (in_use_sent, in_use) = watch::channel(None);
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new(&mut Registry::default());
        let server = Server::new(view_seen, in_use_sent, metrics, shutdown.clone());
        let routes = Routes::new(InventoryServer::new(server));
        let listener = listen(dir.path(), Component::Discovery).unwrap();
        tokio::spawn(serve(listener, routes, shutdown.clone()));
        Self {
            dir,
            view,
            in_use,
            shutdown,
        }
    }

    fn client(&self) -> InventoryClient<tonic::transport::Channel> {
        InventoryClient::new(channel(self.dir.path(), Component::Discovery))
    }
}

fn request(message: bus::inventory_session_request::Message) -> bus::InventorySessionRequest {
    bus::InventorySessionRequest {
        message: Some(message),
    }
}

#[tokio::test]
async fn a_session_tells_the_inventory_and_hears_what_is_in_use() {
    use bus::inventory_session_request::Message::{DevicesInUse, Hello};
    use bus::inventory_session_response::Message;
    let mut node = OnBus::new();
    let (say, said_to_it) = tokio::sync::mpsc::channel(4);
    let outbound = tokio_stream::wrappers::ReceiverStream::new(said_to_it);
    say.send(request(Hello(hello(Component::DraPlugin))))
        .await
        .unwrap();
    let session = node.client().session(outbound).await.unwrap();
    let mut inbound = session.into_inner();
    let first = inbound.message().await.unwrap().unwrap().message.unwrap();
    assert!(matches!(first, Message::Hello(hello) if hello.component == "discovery"));

    // Nothing is told before the node has been read.
    node.view.send_replace(Some(Arc::new(view(names(0..1)))));
    let update = inbound.message().await.unwrap().unwrap().message.unwrap();
    let Message::Update(update) = update else {
        panic!("{update:?}");
    };
    assert!(update.reset && update.synced);
    assert_eq!(update.changed[0].name, "n000");

    let fault = Some(bus::DeviceFault {
        reason: "CarrierDown".into(),
        ..bus::DeviceFault::default()
    });
    let quarantined = |device: &str, claim_uid: &str| bus::Quarantine {
        device: device.into(),
        reason: "bent".into(),
        claim_uid: claim_uid.into(),
        ..bus::Quarantine::default()
    };
    let list = bus::DevicesInUse {
        reset: true,
        devices: vec![bus::DeviceInUse {
            fault,
            ..said("n000", "c-1")
        }],
        // Of the second only the name can be read, of the third nothing.
        quarantined: vec![
            quarantined("n001", "c-2"),
            quarantined("n002", "/"),
            quarantined("no/name", ""),
        ],
        ..bus::DevicesInUse::default()
    };
    say.send(request(DevicesInUse(list))).await.unwrap();
    let heard = node.in_use.wait_for(Option::is_some).await.unwrap().clone();
    let heard = heard.unwrap();
    assert_eq!(heard.in_use.values().next().unwrap().claim.as_str(), "c-1");
    let fault = heard
        .in_use
        .values()
        .next()
        .unwrap()
        .fault
        .as_ref()
        .unwrap();
    assert_eq!(fault.reason, FaultReason::CarrierDown);
    let names = heard.quarantined.iter().map(|q| q.device.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["n001", "n002"]);
    assert_eq!(heard.quarantined[1].reason, "bent");

    node.shutdown.cancel();
    while let Ok(Some(_)) = inbound.message().await {}
}

#[tokio::test]
async fn a_session_without_a_hello_is_refused() {
    let node = OnBus::new();
    let list = bus::inventory_session_request::Message::DevicesInUse(bus::DevicesInUse::default());
    let outbound = tokio_stream::iter([request(list)]);
    let refused = node.client().session(outbound).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let unread = node.client().list(bus::ListLinksRequest {}).await;
    assert_eq!(unread.unwrap_err().code(), tonic::Code::Unavailable);
}
