use std::collections::BTreeMap;
use std::time::{Duration, Instant, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::nri::Event;
use crate::sandbox::HoldingState;
use crate::testing::{claim, pod, record, request};

const PREPARE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER: &str = "1af7651916cd43dd8448eb211c80319c";
const EARLIER: &str = "2af7651916cd43dd8448eb211c80319c";

#[expect(clippy::unnecessary_wraps, reason = "as records and requests hold it")]
fn context(trace: &str, sampled: bool) -> Option<String> {
    let flags = u8::from(sampled);
    Some(format!("00-{trace}-b7ad6b7169203331-{flags:02x}"))
}

/// A claim that was prepared just now, in this trace.
fn prepared(uid: &str, trace: &str) -> Arc<Record> {
    Arc::new(Record {
        prepared: SystemTime::now(),
        traceparent: context(trace, true),
        ..record(uid, &["p"])
    })
}

/// The spans that code makes on this thread.
fn spans(code: impl FnOnce()) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), code);
    exporter.get_finished_spans().unwrap()
}

fn trace_of(span: &SpanData) -> String {
    span.span_context.trace_id().to_string()
}

/// What a span is linked to: `dra.link` and the trace.
fn links(span: &SpanData) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| pair.value.to_string();
    let links = span.links.links.iter();
    links
        .map(|link| {
            let to = link
                .attributes
                .iter()
                .find(|a| a.key.as_str() == "dra.link");
            (
                to.map(text).unwrap(),
                link.span_context.trace_id().to_string(),
            )
        })
        .collect()
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    let pairs = span.attributes.iter();
    pairs
        .map(|pair| (pair.key.to_string(), pair.value.to_string()))
        .collect()
}

/// The span of a sandbox of the pod, with the claims' records as given.
fn run(records: &[(Arc<Record>, Served)], caller: Option<&str>) -> Vec<SpanData> {
    let (records, served): (Vec<_>, Vec<_>) = records.iter().cloned().unzip();
    let mut request = request(2000);
    request.traceparent = caller.and_then(|trace| context(trace, true));
    spans(|| {
        drop(run_span(
            &pod("s", "p", None),
            &request,
            &records,
            &served,
            "boot",
        ));
    })
}

#[test]
fn the_first_sandbox_is_part_of_the_first_claims_start_and_the_other_claim_is_linked() {
    let (one, two) = (prepared("a", PREPARE), prepared("b", OTHER));
    let spans = run(&[(one, Served::First), (two, Served::First)], None);
    assert_eq!(trace_of(&spans[0]), PREPARE);
    assert_eq!(links(&spans[0]), [("prepare".into(), OTHER.into())]);
}

#[test]
fn a_later_sandbox_is_a_trace_of_its_own_linked_to_the_prepare_and_to_the_one_before() {
    let served = Served::Again(context(EARLIER, true));
    let spans = run(&[(prepared("a", PREPARE), served)], None);
    assert!(![PREPARE, EARLIER].contains(&trace_of(&spans[0]).as_str()));
    assert_eq!(
        links(&spans[0]),
        [
            ("prepare".into(), PREPARE.into()),
            ("attach".into(), EARLIER.into())
        ]
    );
}

#[test]
fn a_sandbox_long_after_its_prepare_or_of_another_boot_is_only_linked() {
    let old = Record {
        prepared: UNIX_EPOCH,
        ..Record::clone(&prepared("a", PREPARE))
    };
    let other_boot = Record {
        boot_id: "other".into(),
        ..Record::clone(&prepared("a", PREPARE))
    };
    for record in [old, other_boot] {
        let spans = run(&[(Arc::new(record), Served::First)], None);
        assert_ne!(trace_of(&spans[0]), PREPARE);
        assert_eq!(links(&spans[0]), [("prepare".into(), PREPARE.into())]);
    }
}

#[test]
fn a_runtime_that_traces_is_linked_to_a_start_and_is_the_parent_of_the_rest() {
    let record = prepared("a", PREPARE);
    let start = run(&[(Arc::clone(&record), Served::First)], Some(OTHER));
    assert_eq!(trace_of(&start[0]), PREPARE);
    assert_eq!(links(&start[0]), [("caller".into(), OTHER.into())]);
    let later = run(&[(record, Served::Again(None))], Some(OTHER));
    assert_eq!(trace_of(&later[0]), OTHER);
    assert_eq!(links(&later[0]), [("prepare".into(), PREPARE.into())]);
}

#[test]
fn a_start_that_was_not_sampled_is_not_sampled_here() {
    let record = Record {
        traceparent: context(PREPARE, false),
        ..Record::clone(&prepared("a", PREPARE))
    };
    assert!(run(&[(Arc::new(record), Served::First)], None).is_empty());
}

#[test]
fn containers_belong_to_the_start_of_their_sandbox_for_five_minutes() {
    let container = Container {
        id: "c1".into(),
        sandbox: "s".parse().ok(),
        pod: Some(pod("s", "p", None).owner),
        name: "main".into(),
        env: Vec::new(),
    };
    let new = Origin::new(context(PREPARE, true));
    let old = Origin {
        since: Instant::now()
            .checked_sub(Duration::from_secs(301))
            .unwrap(),
        ..new.clone()
    };
    let records = [prepared("a", PREPARE)];
    let create = |origin: Option<&Origin>| {
        spans(|| drop(create_span(&container, &request(2000), origin, &records))).remove(0)
    };
    let span = create(Some(&new));
    assert_eq!(trace_of(&span), PREPARE);
    assert_eq!(attributes(&span)["container.id"], "c1");
    assert_eq!(attributes(&span)["k8s.pod.uid"], "p");
    let span = create(Some(&old));
    assert_ne!(trace_of(&span), PREPARE);
    assert_eq!(links(&span), [("attach".into(), PREPARE.into())]);
    let span = create(None);
    assert_ne!(trace_of(&span), PREPARE);
    assert_eq!(links(&span), [("prepare".into(), PREPARE.into())]);
}

#[test]
fn the_end_of_a_sandbox_is_linked_once_to_what_attached_its_claims() {
    let holding = |traceparent| {
        Arc::new(Holding {
            sandbox: "s".parse().unwrap(),
            pod: None,
            netns: None,
            path: None,
            record: prepared("a", PREPARE),
            interfaces: Vec::new(),
            state: HoldingState::Attached,
            traceparent,
            watch: None,
        })
    };
    let stop = |held: &[Arc<Holding>]| {
        let request = Request {
            event: Event::RemovePodSandbox,
            ..request(2000)
        };
        spans(|| drop(stop_span(&pod("s", "p", None), &request, held))).remove(0)
    };
    let attached = holding(context(OTHER, true));
    let span = stop(&[Arc::clone(&attached), attached]);
    assert_eq!(span.name, "nri.pkg.api.v1alpha1.Plugin/RemovePodSandbox");
    assert_eq!(links(&span), [("attach".into(), OTHER.into())]);
    let adopted = stop(&[holding(None)]);
    assert_eq!(links(&adopted), [("prepare".into(), PREPARE.into())]);
}

#[test]
fn a_refused_container_shows_why_and_an_allowed_one_no_error() {
    let claims = [claim("a")];
    let end = |missing: Option<&ClaimUid>| {
        let request = request(2000);
        let spans = spans(|| {
            let span = event("CreateContainer", &request);
            span.in_scope(|| drop(gate_span(&claims, missing)));
            outcome(&span, &request, missing.map(|_| "ClaimNotAttached"));
        });
        let of = |name: &str| {
            let span = spans.iter().find(|span| span.name.ends_with(name));
            attributes(span.unwrap())
        };
        (of("container.gate"), of("CreateContainer"))
    };
    let (gate, call) = end(None);
    assert_eq!(gate["allowed"], "true");
    assert_eq!(call["rpc.status_code"], "OK");
    assert!(!gate.contains_key("error.type") && !call.contains_key("error.type"));
    let (gate, call) = end(Some(&claims[0]));
    assert_eq!(gate["allowed"], "false");
    assert_eq!(gate["dra.claim.uid"], "a");
    assert_eq!(call["rpc.status_code"], "UNKNOWN");
    assert_eq!(call["error.type"], "ClaimNotAttached");
}

#[test]
fn a_sandbox_belongs_to_a_start_of_this_boot_within_five_minutes() {
    let record = record("c", &["p"]);
    let after = |seconds| record.prepared + Duration::from_secs(seconds);
    assert!(belongs(&record, after(300), "boot"));
    assert!(!belongs(&record, after(301), "boot"));
    assert!(!belongs(&record, after(1), "other"));
}
