//! What a trace viewer would show.

use std::time::Duration;

use network_driver_common::bus::Component;
use network_driver_tests::cluster::{Cluster, PATIENCE, Setup};
use network_driver_tests::collector::{Span, Trace};
use network_driver_tests::wait::{until, until_true};

/// A pod's start: service, name, name of the parent.
const START: [(&str, &str, &str); 25] = [
    ("dra-plugin", "claim.prepare", "NodePrepareResources"),
    ("dra-plugin", "resourceclaims/{name}", "claim.prepare"),
    ("dra-plugin", "claim.validate", "claim.prepare"),
    ("dra-plugin", "claim.inspect_link", "claim.prepare"),
    ("dra-plugin", "Session check", "claim.inspect_link"),
    ("nri-hook", "Session check", "Session check"),
    ("dra-plugin", "claim.store", "claim.prepare"),
    ("dra-plugin", "Session commit", "claim.prepare"),
    ("nri-hook", "Session commit", "Session commit"),
    ("dra-plugin", "Session devices_in_use", "claim.prepare"),
    (
        "discovery",
        "Session devices_in_use",
        "Session devices_in_use",
    ),
    ("nri-hook", "RunPodSandbox", "claim.prepare"),
    ("nri-hook", "sandbox.attach", "RunPodSandbox"),
    ("nri-hook", "interface.move", "sandbox.attach"),
    ("nri-hook", "interface.configure", "sandbox.attach"),
    ("nri-hook", "interface.verify", "sandbox.attach"),
    ("nri-hook", "cdi.write", "sandbox.attach"),
    ("nri-hook", "Session report", "RunPodSandbox"),
    ("dra-plugin", "Session report", "Session report"),
    ("dra-plugin", "claim.store", "Session report"),
    ("dra-plugin", "claim.status", "Session report"),
    ("dra-plugin", "resourceclaims/{name}", "claim.status"),
    ("dra-plugin", "resourceclaims/{name}/status", "claim.status"),
    ("nri-hook", "CreateContainer", "claim.prepare"),
    ("nri-hook", "container.gate", "CreateContainer"),
];

fn is(span: &Span, name: &str) -> bool {
    span.is_called(name) || span.name.ends_with(name)
}

/// Whether the trace has a span of this service and name right under one of that name.
fn has(trace: &Trace, (service, name, parent): (&str, &str, &str)) -> bool {
    let spans = trace.spans();
    let under = |span: &Span| {
        let above = spans.iter().find(|s| Some(&s.id) == span.parent.as_ref());
        above.is_some_and(|above| is(above, parent))
    };
    let mut of_service = spans.iter().filter(|s| s.service.ends_with(service));
    of_service.any(|span| is(span, name) && under(span))
}

fn is_whole(trace: &Trace) -> bool {
    START.iter().all(|want| has(trace, *want))
}

/// What is missing of a start that is not whole.
fn missing(cluster: &Cluster) -> String {
    let Some(trace) = cluster.collector.trace_with("RunPodSandbox") else {
        return "no RunPodSandbox".to_owned();
    };
    let missing: Vec<_> = START.iter().filter(|want| !has(&trace, **want)).collect();
    format!("missing {missing:?} in\n{}", trace.tree())
}

/// The newest span of this name, once there is one that is as wanted.
async fn span(cluster: &Cluster, name: &str, wanted: impl Fn(&Span) -> bool) -> Span {
    let find = async || {
        let spans = cluster.collector.spans().into_iter().rev();
        let mut called = spans.filter(|span| is(span, name));
        called.find(|span| wanted(span))
    };
    until(&format!("the span {name}"), PATIENCE, find)
        .await
        .unwrap()
}

/// What a span is linked to: `dra.link` and the trace.
fn links(span: &Span) -> Vec<(&str, &str)> {
    let links = span.links.iter().map(|link| {
        let kind = link.attributes.get("dra.link");
        (kind.map_or("", String::as_str), link.trace.as_str())
    });
    links.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_the_start_of_a_pod_is_one_trace_and_its_end_is_linked_to_it() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let builder = cluster.claim("nic").device("eth1");
    let claim = builder.interface("net1", "10.1.1.2/24").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let found = cluster.collector.wait_for_trace("RunPodSandbox", is_whole);
    let trace = found
        .await
        .unwrap_or_else(|_| panic!("{}", missing(&cluster)));
    let tree = trace.tree();
    let [root] = trace.roots()[..] else {
        panic!("more than one root\n{tree}")
    };
    assert!(root.is_called("NodePrepareResources"), "{tree}");
    for span in trace.spans() {
        assert_eq!(span.error, None, "{}\n{tree}", span.name);
        assert!(!span.attributes.contains_key("error.type"), "{}", span.name);
    }
    assert_eq!(trace.services().len(), 3, "{tree}");

    pod.end().await.unwrap();
    let stop = span(&cluster, "StopPodSandbox", |_| true).await;
    assert_ne!(stop.trace, root.trace);
    assert_eq!(links(&stop), [("attach", root.trace.as_str())]);
    let unprepare = span(&cluster, "claim.unprepare", |_| true).await;
    assert_ne!(unprepare.trace, root.trace);
    assert_eq!(links(&unprepare), [("prepare", root.trace.as_str())]);
    for span in cluster.collector.spans() {
        assert_eq!(span.error, None, "{}", span.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_of_two_claims_one_is_the_parent_of_the_sandbox_and_the_other_is_linked() {
    let setup = Setup::default().nics(&["eth1", "eth2"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let (one, two) = (
        cluster.claim("one").device("eth1").create(),
        cluster.claim("two").device("eth2").create(),
    );
    let pod = cluster.pod("web", &[&one, &two]);
    pod.start().await.unwrap();
    let run = span(&cluster, "RunPodSandbox", |_| true).await;
    let [link] = run.links.as_slice() else {
        panic!("{:?}", run.links)
    };
    assert_eq!(link.attributes["dra.link"], "prepare");
    // They are dra-plugin's, which sends them when it likes.
    let claim_of = async |id: &str| {
        until("the span of a claim", PATIENCE, async || {
            let mut spans = cluster.collector.spans().into_iter();
            let span = spans.find(|span| span.id == id)?;
            Some(span.attributes["dra.claim.name"].clone())
        })
        .await
        .unwrap()
    };
    assert_eq!(claim_of(run.parent.as_ref().unwrap()).await, "one");
    assert_eq!(claim_of(&link.span).await, "two");
    assert_eq!(run.attributes["dra.claims.count"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_failed_attach_is_an_error_in_its_trace_and_its_retry_is_linked_to_it() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let claim = cluster
        .claim("nic")
        .device("eth1")
        .interface("eth0", "10.1.1.2/24")
        .create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap();
    pod.run().await.unwrap_err();
    let first = span(&cluster, "RunPodSandbox", |_| true).await;
    assert!(first.error.is_some());
    assert_eq!(first.attributes["error.type"], "InterfaceNameConflict");
    assert_eq!(first.attributes["rpc.status_code"], "UNKNOWN");
    let attach = span(&cluster, "sandbox.attach", |_| true).await;
    assert_eq!(attach.attributes["error.type"], "InterfaceNameConflict");
    let prepare = span(&cluster, "claim.prepare", |_| true).await;
    assert_eq!(prepare.trace, first.trace, "a start is one trace");
    assert_eq!(prepare.error, None, "what went well is not marked");

    pod.run().await.unwrap_err();
    let second = span(&cluster, "RunPodSandbox", |span| span.id != first.id).await;
    assert_ne!(second.trace, first.trace);
    let start = first.trace.as_str();
    assert_eq!(links(&second), [("prepare", start), ("attach", start)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_failed_prepare_is_an_error_and_the_next_is_linked_to_it() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let claim = cluster.claim("nic").device("eth9").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.prepare().await.unwrap_err();
    let first = span(&cluster, "claim.prepare", |_| true).await;
    assert!(first.error.is_some());
    assert_eq!(first.attributes["error.type"], "DeviceNotFound");
    pod.prepare().await.unwrap_err();
    let second = span(&cluster, "claim.prepare", |span| span.id != first.id).await;
    assert_eq!(links(&second), [("prepare", first.trace.as_str())]);
    let call = span(&cluster, "NodePrepareResources", |_| true).await;
    assert_eq!(
        call.attributes["rpc.status_code"], "OK",
        "the call answered"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_cycle_that_publishes_is_a_trace_and_one_that_does_not_is_none() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let whole = |trace: &Trace| {
        [
            ("discovery", "links.scan", "slices.publish-cycle"),
            ("discovery", "links.protect", "slices.publish-cycle"),
            ("discovery", "slices.build", "slices.publish-cycle"),
            ("discovery", "slices.publish", "slices.publish-cycle"),
            ("discovery", "resourceslices", "slices.publish"),
        ]
        .iter()
        .all(|want| has(trace, *want))
    };
    let found = cluster
        .collector
        .wait_for_trace("slices.publish-cycle", whole);
    let trace = found.await.unwrap();
    let [root] = trace.roots()[..] else {
        panic!("{}", trace.tree())
    };
    for span in trace.spans() {
        assert_eq!(span.error, None);
        let within = span.start >= root.start && span.end <= root.end;
        assert!(within, "{}", trace.tree());
    }
    // A pod's start and end change what discovery knows, and nothing of what is published.
    let claim = cluster.claim("nic").device("eth1").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.end().await.unwrap();
    drop(span(&cluster, "claim.unprepare", |_| true).await);
    let spans = cluster.collector.spans();
    let cycles = spans.iter().filter(|s| s.name == "slices.publish-cycle");
    for cycle in cycles {
        let publishes =
            |s: &&Span| s.name == "slices.publish" && s.parent.as_ref() == Some(&cycle.id);
        assert!(spans.iter().any(|s| publishes(&s)), "{cycle:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_no_span_is_lost_when_the_daemons_are_stopped() {
    // Nothing is sent before the daemons end.
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let setup = setup.export_delay(Duration::from_mins(10));
    let cluster = Cluster::start(setup).await.unwrap();
    let claim = cluster.claim("nic").device("eth1").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    let shown = || {
        let claim = cluster.api.claim("default", "nic").unwrap_or_default();
        claim["status"]["devices"][0]["networkData"].is_object()
    };
    until_true("the claim's status", PATIENCE, shown)
        .await
        .unwrap();
    assert!(cluster.collector.spans().is_empty(), "sent before the end");
    for component in [
        Component::NriHook,
        Component::DraPlugin,
        Component::Discovery,
    ] {
        cluster.stop_daemon(component).unwrap();
    }
    let trace = cluster.collector.trace_with("RunPodSandbox");
    assert!(trace.is_some_and(|t| is_whole(&t)), "{}", missing(&cluster));
    let spans = cluster.collector.spans();
    let published = spans.iter().any(|span| span.name == "slices.publish-cycle");
    assert!(published, "discovery's own trace is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_collector_that_is_away_disturbs_nobody_and_is_warned_of_once() {
    let setup = Setup::default().nics(&["eth1"]).tracing_to_nobody();
    let cluster = Cluster::start(setup).await.unwrap();
    let home = cluster.home().unwrap();
    for round in 0..3 {
        let claim = cluster
            .claim(&format!("nic-{round}"))
            .device("eth1")
            .create();
        let pod = cluster.pod(&format!("web-{round}"), &[&claim]);
        pod.start().await.unwrap();
        pod.end().await.unwrap();
        // Each round is sent on its own, and fails on its own.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    cluster.home_is(&home).await.unwrap();
    for component in [
        Component::NriHook,
        Component::DraPlugin,
        Component::Discovery,
    ] {
        let began = std::time::Instant::now();
        cluster.stop_daemon(component).unwrap();
        assert!(began.elapsed() < Duration::from_secs(8), "{component}");
        let log = cluster.log(component);
        let warnings = log
            .lines()
            .filter(|line| line.contains("traces cannot be sent"));
        assert_eq!(warnings.count(), 1, "{component}:\n{log}");
        let noise = |line: &&str| line.contains("opentelemetry") && !line.contains(" DEBUG ");
        assert_eq!(log.lines().find(noise), None, "{component}");
    }
}
