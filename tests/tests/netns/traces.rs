//! What a trace viewer would show.

use network_driver_common::bus::Component;
use network_driver_tests::cluster::{Cluster, Setup};
use network_driver_tests::collector::Trace;

#[tokio::test(flavor = "multi_thread")]
async fn netns_the_start_of_a_pod_is_one_trace_tree() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let builder = cluster.claim("nic").device("eth1");
    let claim = builder.interface("net1", "10.1.1.2/24").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    pod.end().await.unwrap();
    let complete = |trace: &Trace| trace.span("claim.report").is_some();
    let trace = cluster
        .collector
        .wait_for_trace("RunPodSandbox", complete)
        .await
        .unwrap();
    let tree = trace.tree();
    let [root] = trace.roots()[..] else {
        panic!("more than one root\n{tree}")
    };
    assert!(root.is_called("NodePrepareResources"), "{tree}");
    for name in [
        "claim.prepare",
        "claim.store",
        "RunPodSandbox",
        "sandbox.attach",
        "interface.move",
        "interface.configure",
        "interface.verify",
        "claim.report",
    ] {
        let span = trace
            .span(name)
            .unwrap_or_else(|| panic!("no {name} in\n{tree}"));
        assert!(
            trace.is_below(span, root),
            "{name} is not below the root\n{tree}"
        );
        assert_eq!(span.error, None, "{tree}");
    }
    let attach = trace.span("sandbox.attach").unwrap();
    assert!(
        attach.service.ends_with("nri-hook") && root.service.ends_with("dra-plugin"),
        "{tree}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_spans_of_all_three_daemons_arrive_also_when_they_are_stopped() {
    let setup = Setup::default().nics(&["eth1"]).tracing();
    let cluster = Cluster::start(setup).await.unwrap();
    let claim = cluster.claim("nic").device("eth1").create();
    let pod = cluster.pod("web", &[&claim]);
    pod.start().await.unwrap();
    for component in [
        Component::NriHook,
        Component::DraPlugin,
        Component::Discovery,
    ] {
        cluster.stop_daemon(component).unwrap();
    }
    let spans = cluster.collector.spans();
    for (service, name) in [
        ("discovery", "slices.publish-cycle"),
        ("dra-plugin", "claim.report"),
        ("nri-hook", "sandbox.attach"),
    ] {
        let arrived = |span: &&network_driver_tests::collector::Span| {
            span.service.ends_with(service) && span.is_called(name)
        };
        assert!(
            spans.iter().any(|span| arrived(&span)),
            "{service} sent no {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netns_a_failed_attach_is_an_error_in_its_trace() {
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
    let complete = |trace: &Trace| trace.span("NodePrepareResources").is_some();
    let trace = cluster
        .collector
        .wait_for_trace("RunPodSandbox", complete)
        .await
        .unwrap();
    assert!(
        trace.span("RunPodSandbox").unwrap().error.is_some(),
        "{}",
        trace.tree()
    );
}
