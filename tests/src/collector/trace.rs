//! The spans of one trace as a tree.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Span;

/// Width of the column of names, branches included.
const NAME_WIDTH: usize = 60;

/// Spans that share a trace id, in the order of their start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    spans: Vec<Span>,
}

impl Trace {
    /// The trace that these spans, all of one trace id, make.
    pub fn new(mut spans: Vec<Span>) -> Self {
        spans.sort_by_key(|span| span.start);
        Self { spans }
    }

    /// Its spans in the order of their start.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The first span of this name, or of a gRPC method called so.
    pub fn span(&self, name: &str) -> Option<&Span> {
        self.spans.iter().find(|span| span.is_called(name))
    }

    /// Services that have a span in it.
    pub fn services(&self) -> BTreeSet<String> {
        self.spans.iter().map(|span| span.service.clone()).collect()
    }

    /// Spans whose parent is not here: exactly one when it is a single, complete tree.
    pub fn roots(&self) -> Vec<&Span> {
        let known: BTreeSet<&str> = self.spans.iter().map(|span| span.id.as_str()).collect();
        let is_root = |span: &&Span| span.parent.as_deref().is_none_or(|p| !known.contains(p));
        self.spans.iter().filter(is_root).collect()
    }

    /// Whether a span stands below another in the tree.
    pub fn is_below(&self, span: &Span, ancestor: &Span) -> bool {
        let mut at = span;
        // A chain of parents is never longer than the trace, unless it is a ring.
        for _ in &self.spans {
            let parent = at.parent.as_deref();
            let Some(next) = self.spans.iter().find(|s| Some(s.id.as_str()) == parent) else {
                return false;
            };
            if next.id == ancestor.id {
                return true;
            }
            at = next;
        }
        false
    }

    /// The tree as lines of at most 100 columns: name, service, start and duration in milliseconds.
    pub fn tree(&self) -> String {
        let mut out = format!(
            "{:NAME_WIDTH$} {:<11}{:>12} {:>11}\n",
            "span", "service", "start", "took"
        );
        let roots = self.roots();
        let origin = roots.iter().map(|span| span.start).min().unwrap_or(0);
        for root in roots {
            self.branch(&mut out, root, origin, "", "");
        }
        out
    }

    /// Writes a span and what is below it; `first` stands before its name, `rest` before its children.
    fn branch(&self, out: &mut String, span: &Span, origin: u64, first: &str, rest: &str) {
        let fault = if span.error.is_some() { " (error)" } else { "" };
        let name: String = format!("{first}{}{fault}", short(&span.name))
            .chars()
            .take(NAME_WIDTH)
            .collect();
        let start = millis(span.start.saturating_sub(origin));
        let took = millis(span.end.saturating_sub(span.start));
        let service = span.service.trim_start_matches("network-driver-");
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{name:NAME_WIDTH$} {service:<11}{start:>9} ms {took:>8} ms",
        );
        let below = |s: &&Span| s.parent.as_deref() == Some(span.id.as_str()) && s.id != span.id;
        let children: Vec<&Span> = self.spans.iter().filter(below).collect();
        let count = children.len();
        for (index, child) in children.into_iter().enumerate() {
            let (branch, bar) = if index.saturating_add(1) == count {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            self.branch(
                out,
                child,
                origin,
                &format!("{rest}{branch}"),
                &format!("{rest}{bar}"),
            );
        }
    }
}

/// A gRPC method without its package, an HTTP request without what stands before its resource; any other name as it is.
fn short(name: &str) -> String {
    if let Some((method, path)) = name.split_once(" /") {
        let resource = path
            .rsplit_once("{namespace}/")
            .map_or(path, |(_, rest)| rest);
        return format!("{method} …/{resource}");
    }
    match name.rsplit_once('/') {
        Some((service, method)) => {
            let service = service.rsplit('.').next().unwrap_or(service);
            format!("{service}/{method}")
        }
        None => name.to_owned(),
    }
}

/// Nanoseconds as milliseconds with one decimal.
fn millis(nanos: u64) -> String {
    format!("{}.{}", nanos / 1_000_000, nanos / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn span(id: &str, parent: Option<&str>, start: u64, end: u64) -> Span {
        Span {
            service: "hook".into(),
            trace: "t".into(),
            id: id.into(),
            parent: parent.map(Into::into),
            name: format!("span-{id}"),
            start: Duration::from_millis(start).as_nanos().try_into().unwrap(),
            end: Duration::from_millis(end).as_nanos().try_into().unwrap(),
            attributes: [].into(),
            error: None,
            links: vec![],
        }
    }

    #[test]
    fn a_tree_shows_who_called_whom_and_how_long_it_took() {
        let trace = Trace::new(vec![
            span("d", Some("b"), 4, 5),
            span("a", None, 1, 9),
            span("b", Some("a"), 2, 6),
            span("c", Some("a"), 7, 8),
        ]);
        let tree = trace.tree();
        let names: Vec<&str> = tree
            .lines()
            .skip(1)
            .map(|line| line.split("  ").next().unwrap())
            .collect();
        assert_eq!(names.len(), 4, "{tree}");
        assert!(tree.contains("├─ span-b"), "{tree}");
        assert!(tree.contains("│  └─ span-d"), "{tree}");
        assert!(tree.contains("└─ span-c"), "{tree}");
        assert!(tree.contains("3.0 ms      1.0 ms"), "{tree}");
        assert!(tree.lines().all(|line| line.chars().count() <= 100));
        let by = |name| trace.span(name).unwrap();
        assert!(trace.is_below(by("span-d"), by("span-a")));
        assert!(!trace.is_below(by("span-d"), by("span-c")));
    }

    #[test]
    fn long_names_are_shown_by_their_telling_part() {
        for (name, want) in [
            ("claim.store", "claim.store"),
            (
                "nri.pkg.api.v1alpha1.Plugin/RunPodSandbox",
                "Plugin/RunPodSandbox",
            ),
            (
                "PATCH /apis/resource.k8s.io/v1/namespaces/{namespace}/resourceclaims/{name}/status",
                "PATCH …/resourceclaims/{name}/status",
            ),
        ] {
            assert_eq!(short(name), want);
        }
    }

    #[test]
    fn a_lost_parent_makes_a_second_root() {
        let trace = Trace::new(vec![span("a", None, 1, 2), span("b", Some("gone"), 1, 2)]);
        assert_eq!(trace.roots().len(), 2);
    }
}
