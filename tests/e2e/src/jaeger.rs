//! Traces, as the node's Jaeger shows them by its query API.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::node::run;

/// Jaeger's query API; `node/init` starts it.
const API: &str = "http://127.0.0.1:16686/api";

/// One trace.
#[derive(Debug)]
pub(crate) struct Trace(pub(crate) Value);

/// One span of a trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<'a> {
    trace: &'a Trace,
    span: &'a Value,
}

impl Trace {
    /// The trace of this id.
    ///
    /// # Errors
    /// Jaeger does not know it, or is away.
    pub(crate) fn find(id: &str) -> Result<Self> {
        let found = ask(&format!("traces/{id}"))?;
        let trace = found["data"].get(0).cloned();
        trace.map(Self).with_context(|| format!("no trace {id}"))
    }

    /// The newest traces of a service that have a span of this name.
    ///
    /// # Errors
    /// Jaeger is away.
    pub(crate) fn named(service: &str, operation: &str) -> Result<Vec<Self>> {
        let operation = operation.replace('/', "%2F").replace(' ', "%20");
        Self::search(service, &format!("operation={operation}"))
    }

    /// The newest traces of a service that have a span with this tag.
    ///
    /// # Errors
    /// Jaeger is away.
    pub(crate) fn tagged(service: &str, key: &str, value: &str) -> Result<Vec<Self>> {
        Self::search(service, &format!("tags=%7B%22{key}%22:%22{value}%22%7D"))
    }

    fn search(service: &str, query: &str) -> Result<Vec<Self>> {
        let found = ask(&format!(
            "traces?service={service}&limit=100&lookback=1h&{query}"
        ))?;
        let traces = found["data"].as_array().cloned().unwrap_or_default();
        let mut traces: Vec<_> = traces.into_iter().map(Self).collect();
        traces.sort_by_key(|trace| std::cmp::Reverse(trace.begin()));
        Ok(traces)
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        self.0["traceID"].as_str().unwrap_or_default()
    }

    /// When its first span began, microseconds since the Unix epoch.
    pub(crate) fn begin(&self) -> u64 {
        self.spans().map(Span::begin).min().unwrap_or_default()
    }

    /// The first span whose name ends so.
    pub(crate) fn span(&self, name: &str) -> Option<Span<'_>> {
        self.spans().find(|span| span.name().ends_with(name))
    }

    /// All its spans.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        let spans = self.0["spans"].as_array().into_iter().flatten();
        spans.map(|span| Span { trace: self, span })
    }

    /// Whether there is a span of this service whose name ends so, right under one whose name ends as given; no parent
    /// means a root.
    pub(crate) fn has(&self, service: &str, name: &str, parent: Option<&str>) -> bool {
        self.spans().any(|span| {
            let above = span.parent().map(Span::name);
            let under = match (parent, above) {
                (None, None) => true,
                (Some(parent), Some(above)) => above.ends_with(parent),
                _ => false,
            };
            under && span.service() == service && span.name().ends_with(name)
        })
    }

    /// The spans, one a line, for error messages.
    pub(crate) fn listed(&self) -> String {
        let line = |span: Span<'_>| {
            let above = span.parent().map_or("-", |above| above.name());
            let failed = if span.failed() { " (failed)" } else { "" };
            format!(
                "{}: {}{failed} under {above}\n",
                span.service(),
                span.name()
            )
        };
        self.spans().map(line).collect()
    }
}

impl<'a> Span<'a> {
    /// What it is called.
    pub(crate) fn name(self) -> &'a str {
        self.span["operationName"].as_str().unwrap_or_default()
    }

    /// Which of the three daemons made it.
    pub(crate) fn service(self) -> &'a str {
        let process = self.span["processID"].as_str().unwrap_or_default();
        let service = &self.trace.0["processes"][process]["serviceName"];
        service.as_str().unwrap_or_default()
    }

    /// The span that it is a part of.
    pub(crate) fn parent(self) -> Option<Self> {
        let references = self.span["references"].as_array()?;
        let parent = references
            .iter()
            .find(|reference| reference["refType"] == "CHILD_OF")?;
        self.trace
            .spans()
            .find(|span| span.span["spanID"] == parent["spanID"])
    }

    /// Whether it follows from a span of this trace.
    pub(crate) fn is_linked_to(self, trace: &str) -> bool {
        let references = self.span["references"].as_array();
        let mut references = references.into_iter().flatten();
        references.any(|reference| {
            reference["refType"] == "FOLLOWS_FROM" && reference["traceID"] == trace
        })
    }

    /// When it began, microseconds since the Unix epoch.
    pub(crate) fn begin(self) -> u64 {
        self.span["startTime"].as_u64().unwrap_or_default()
    }

    /// How long it took, microseconds.
    pub(crate) fn took(self) -> u64 {
        self.span["duration"].as_u64().unwrap_or_default()
    }

    /// The spans right under it, in the order of their begin.
    pub(crate) fn children(self) -> Vec<Self> {
        let own = &self.span["spanID"];
        let is_child = |span: &Self| {
            let parent = span.parent();
            parent.is_some_and(|parent| &parent.span["spanID"] == own)
        };
        let mut children: Vec<_> = self.trace.spans().filter(is_child).collect();
        children.sort_by_key(|span| span.begin());
        children
    }

    /// One of its attributes, as text.
    pub(crate) fn tag(self, key: &str) -> Option<String> {
        let tags = self.span["tags"].as_array()?;
        let value = &tags.iter().find(|tag| tag["key"] == key)?["value"];
        let text = value.as_str().map(str::to_owned);
        Some(text.unwrap_or_else(|| value.to_string()))
    }

    /// Names of all its attributes.
    pub(crate) fn tags(self) -> impl Iterator<Item = &'a str> {
        let tags = self.span["tags"].as_array().into_iter().flatten();
        tags.filter_map(|tag| tag["key"].as_str())
    }

    /// One of the attributes of the process that made it.
    pub(crate) fn process_tag(self, key: &str) -> Option<&'a str> {
        let process = self.span["processID"].as_str()?;
        let tags = self.trace.0["processes"][process]["tags"].as_array()?;
        tags.iter().find(|tag| tag["key"] == key)?["value"].as_str()
    }

    /// Whether it failed.
    pub(crate) fn failed(self) -> bool {
        self.tag("otel.status_code").as_deref() == Some("ERROR")
    }
}

/// A span's name as people say it: a gRPC method without its package, a request by what it is about.
pub(crate) fn short(name: &str) -> String {
    if let Some((method, path)) = name.split_once(" /") {
        let about = path
            .rsplit_once("{namespace}/")
            .or_else(|| path.split_once("resource.k8s.io/"));
        return format!("{method} …/{}", about.map_or(path, |(_, rest)| rest));
    }
    let Some((service, method)) = name.rsplit_once('/') else {
        return name.to_owned();
    };
    let service = service.rsplit('.').next().unwrap_or(service);
    format!("{service}/{method}")
}

/// Names of all spans that a service has sent.
///
/// # Errors
/// Jaeger is away.
pub(crate) fn operations(service: &str) -> Result<Vec<String>> {
    let found = ask(&format!("services/{service}/operations"))?;
    Ok(serde_json::from_value(found["data"].clone())?)
}

fn ask(path: &str) -> Result<Value> {
    let text = run("curl", &["-sS", "-m5", &format!("{API}/{path}")])?;
    serde_json::from_str(&text).with_context(|| text)
}
