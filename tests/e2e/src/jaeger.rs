//! Traces, as the node's Jaeger shows them by its query API.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::node::run;

/// Jaeger's query API; `node/init` starts it.
const API: &str = "http://127.0.0.1:16686/api";

/// One trace.
#[derive(Debug)]
pub(crate) struct Trace(Value);

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

    /// The newest traces of a service that have a span with this tag.
    ///
    /// # Errors
    /// Jaeger is away.
    pub(crate) fn tagged(service: &str, key: &str, value: &str) -> Result<Vec<Self>> {
        let tags = format!("tags=%7B%22{key}%22:%22{value}%22%7D");
        let found = ask(&format!(
            "traces?service={service}&limit=100&lookback=1h&{tags}"
        ))?;
        let traces = found["data"].as_array().cloned().unwrap_or_default();
        Ok(traces.into_iter().map(Self).collect())
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
            format!("{}: {} under {above}\n", span.service(), span.name())
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

    /// Whether it follows from a span of another trace.
    pub(crate) fn is_linked(self) -> bool {
        let references = self.span["references"].as_array();
        let mut references = references.into_iter().flatten();
        references.any(|reference| reference["refType"] == "FOLLOWS_FROM")
    }

    /// One of its attributes, as text.
    pub(crate) fn tag(self, key: &str) -> Option<&'a str> {
        let tags = self.span["tags"].as_array()?;
        tags.iter().find(|tag| tag["key"] == key)?["value"].as_str()
    }

    /// Whether it failed.
    pub(crate) fn failed(self) -> bool {
        self.tag("otel.status_code") == Some("ERROR")
    }
}

fn ask(path: &str) -> Result<Value> {
    let text = run("curl", &["-sS", "-m5", &format!("{API}/{path}")])?;
    serde_json::from_str(&text).with_context(|| text)
}
