use network_driver_proto::dra_v1::NodePrepareResourcesRequest;
use network_driver_proto::dra_v1::dra_plugin_client::DraPluginClient;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt;

use crate::testing::{Node, claim, dial};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_prepare_is_one_trace_that_the_record_and_the_orders_carry_on() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // Everything of this test runs on its one thread.
    let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let node = Node::start().await;
    let hook = node.hook().await;
    node.api.allocate("c-1", &["eth1"], None);
    let claims = vec![claim("c-1")];
    let mut request = tonic::Request::new(NodePrepareResourcesRequest { claims });
    let kubelet = format!("00-{TRACE}-b7ad6b7169203331-01");
    request
        .metadata_mut()
        .insert("traceparent", kubelet.parse().unwrap());
    let mut client = DraPluginClient::new(dial(&node.paths.dra).await);
    client.node_prepare_resources(request).await.unwrap();

    let record = node.driver.book.records()[0].clone();
    let recorded = record.traceparent.clone().unwrap();
    assert!(recorded.contains(TRACE), "{recorded}");
    let orders = hook.state().traceparents.clone();
    assert_eq!(orders.len(), 2);
    assert!(
        orders.iter().all(|order| order.contains(TRACE)),
        "{orders:?}"
    );

    let spans = exporter.get_finished_spans().unwrap();
    let span = |name: &str| {
        let found = spans.iter().find(|span| span.name == name);
        found.unwrap_or_else(|| panic!("no span {name}"))
    };
    let call = span("k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources");
    assert_eq!(call.span_context.trace_id().to_string(), TRACE);
    let prepare = span("claim.prepare");
    assert_eq!(prepare.parent_span_id, call.span_context.span_id());
    assert!(recorded.contains(&prepare.span_context.span_id().to_string()));
    for name in ["claim.validate", "claim.inspect_link", "claim.store"] {
        let parent = span(name).parent_span_id;
        assert_eq!(parent, prepare.span_context.span_id(), "{name}");
    }
}
