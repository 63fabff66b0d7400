//! A trace as a picture: one row a span, in the order of the tree, its bar where it was in time. For the documentation, so
//! it is drawn to be read at the width of a page, in light and dark, and says in words what colours say.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::jaeger::{Span, Trace, short};

const WIDTH: u32 = 860;
const MARGIN: u32 = 16;
/// Where bars begin.
const AXIS: u32 = 330;
/// Room for a duration behind the longest bar.
const RIGHT: u32 = 66;
const HEAD: u32 = 92;
const ROW: u32 = 18;
const INDENT: u32 = 11;
/// Marks on the axis are this many times one of these apart.
const STEPS: [u64; 3] = [1, 2, 5];

/// Services, by the class of their colour.
const SERVICES: [(&str, &str); 3] = [
    ("network-driver-dra-plugin", "plugin"),
    ("network-driver-nri-hook", "hook"),
    ("network-driver-discovery", "discovery"),
];

const STYLE: &str = "
.page{fill:#fff;stroke:#d0d7de}.text{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d0d7de}.band{fill:#f6f8fa}
.plugin{fill:#2f6fdb}.hook{fill:#c2571a}.discovery{fill:#1a7f4b}
@media(prefers-color-scheme:dark){
.page{fill:#0d1117;stroke:#3d444d}.text{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#3d444d}.band{fill:#151b23}
.plugin{fill:#6ea8fe}.hook{fill:#f0883e}.discovery{fill:#3fb950}}
text{font:11.5px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif}
.title{font-size:14px;font-weight:600}.num{font-variant-numeric:tabular-nums}";

/// The newest start of a pod that Jaeger has, whole, as SVG.
///
/// # Errors
/// Jaeger is away, or has none.
pub(crate) fn of_newest_start() -> Result<String> {
    const GATE: &str = "nri.pkg.api.v1alpha1.Plugin/CreateContainer";
    let traces = Trace::named("network-driver-nri-hook", GATE)?;
    let is_start = |trace: &&Trace| trace.has(SERVICES[0].0, "/NodePrepareResources", None);
    let trace = traces.iter().find(is_start);
    Ok(draw(trace.context("Jaeger has no start of a pod")?))
}

/// A span's place in the picture.
struct Row<'a> {
    span: Span<'a>,
    depth: u32,
}

fn draw(trace: &Trace) -> String {
    let mut rows = Vec::new();
    let mut roots: Vec<_> = trace.spans().filter(|s| s.parent().is_none()).collect();
    roots.sort_by_key(|span| span.begin());
    for root in roots {
        place(root, 0, &mut rows);
    }
    let begin = trace.begin();
    let ends = trace.spans().map(|span| span.begin() + span.took());
    let scale = Scale::new(begin, ends.max().unwrap_or(begin));
    let height = HEAD + ROW * u32::try_from(rows.len()).unwrap_or_default() + MARGIN;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-labelledby=\"t\"><title id=\"t\">The start of a pod with a claim as one \
         trace: {} spans of three daemons in {}</title><style>{STYLE}</style><rect class=\"page\" x=\".5\" y=\".5\" \
         width=\"{}\" height=\"{}\" rx=\"6\"/>",
        rows.len(),
        duration(scale.span),
        WIDTH - 1,
        height - 1,
    );
    head(&mut out, rows.len(), &scale);
    for (index, row) in (0..).zip(&rows) {
        if index % 2 == 0 {
            let y = HEAD + index * ROW;
            let width = WIDTH - 2;
            let _ = write!(
                out,
                "<rect class=\"band\" x=\"1\" y=\"{y}\" width=\"{width}\" height=\"{ROW}\"/>"
            );
        }
        draw_row(&mut out, row, HEAD + index * ROW, &scale);
    }
    grid(&mut out, &scale, height - MARGIN);
    out.push_str("</svg>\n");
    out
}

fn place<'a>(span: Span<'a>, depth: u32, rows: &mut Vec<Row<'a>>) {
    rows.push(Row { span, depth });
    for child in span.children() {
        place(child, depth + 1, rows);
    }
}

/// From time to place.
struct Scale {
    begin: u64,
    /// Microseconds from the first begin to the last end.
    span: u64,
}

impl Scale {
    fn new(begin: u64, end: u64) -> Self {
        Self {
            begin,
            span: end.saturating_sub(begin).max(1),
        }
    }

    /// Tenths of a unit of the picture that a time takes.
    fn tenths(&self, micros: u64) -> u64 {
        let room = u64::from(WIDTH - AXIS - RIGHT) * 10;
        micros * room / self.span
    }

    /// Distance of the marks on the axis, microseconds: between 4 and 10 of them.
    fn step(&self) -> u64 {
        let powers = (0..12).map(|power| 10_u64.pow(power));
        let mut steps = powers.flat_map(|power| STEPS.map(|step| step * power));
        steps.find(|step| self.span / step < 8).unwrap_or(self.span)
    }
}

fn head(out: &mut String, spans: usize, scale: &Scale) {
    let _ = write!(
        out,
        "<text class=\"text title\" x=\"{MARGIN}\" y=\"27\">The start of a pod with a claim: one trace, {spans} spans, {}</text>",
        duration(scale.span)
    );
    let mut x = MARGIN;
    for (service, class) in SERVICES {
        let name = service.trim_start_matches("network-driver-");
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"41\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text class=\"text\" x=\"{}\" y=\"51\">{name}</text>",
            x + 16
        );
        x += 100;
    }
    let _ = write!(
        out,
        "<text class=\"faint\" x=\"{x}\" y=\"51\">white space: others at work (sandbox, network, image)</text>"
    );
}

fn grid(out: &mut String, scale: &Scale, bottom: u32) {
    let step = scale.step();
    for mark in (0..)
        .map(|n| n * step)
        .take_while(|mark| *mark <= scale.span)
    {
        let x = u64::from(AXIS) + scale.tenths(mark) / 10;
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{x} {}V{bottom}\" stroke-dasharray=\"2 3\"/>\
             <text class=\"faint num\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEAD - 6,
            HEAD - 10,
            duration(mark)
        );
    }
}

fn draw_row(out: &mut String, row: &Row<'_>, y: u32, scale: &Scale) {
    let Row { span, depth } = row;
    let class = SERVICES
        .iter()
        .find(|(service, _)| *service == span.service());
    let class = class.map_or("faint", |(_, class)| class);
    let x = MARGIN + depth * INDENT;
    let (name, took) = (escape(&short(span.name())), duration(span.took()));
    let failed = if span.failed() { ", failed" } else { "" };
    let full = escape(span.name());
    let at = u64::from(AXIS) * 10 + scale.tenths(span.begin().saturating_sub(scale.begin));
    // What is too short to be seen is drawn as a line.
    let wide = scale.tenths(span.took()).max(15);
    let _ = write!(
        out,
        "<g><title>{full}: {}, {took}{failed}</title>\
         <rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"4\" height=\"10\" rx=\"1\"/>\
         <text class=\"text\" x=\"{}\" y=\"{}\">{name}</text>\
         <rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"10\" rx=\"1.5\"/>\
         <text class=\"faint num\" x=\"{}\" y=\"{}\">{took}{failed}</text></g>",
        span.service(),
        y + 4,
        x + 9,
        y + 13,
        tenths(at),
        y + 4,
        tenths(wide),
        tenths(at + wide + 50),
        y + 13,
    );
}

/// A number of tenths as SVG writes it.
fn tenths(number: u64) -> String {
    format!("{}.{}", number / 10, number % 10)
}

/// Microseconds for people.
fn duration(micros: u64) -> String {
    match micros {
        0 => "0".to_owned(),
        1..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn span(id: &str, parent: Option<&str>, name: &str, begin: u64, took: u64) -> Value {
        let references = parent.map(|id| json!({"refType": "CHILD_OF", "spanID": id}));
        json!({
            "spanID": id, "operationName": name, "processID": "p1", "startTime": begin, "duration": took,
            "references": references.into_iter().collect::<Vec<_>>(), "tags": [],
        })
    }

    fn trace(spans: &[Value]) -> Trace {
        let service = "network-driver-nri-hook";
        let processes = json!({"p1": {"serviceName": service, "tags": []}});
        Trace(json!({"traceID": "t", "spans": spans, "processes": processes}))
    }

    #[test]
    fn rows_follow_the_tree_and_bars_the_time() {
        let picture = draw(&trace(&[
            span("c", Some("a"), "late", 1_600, 400),
            span("a", None, "x.Y/Root", 1_000, 1_000),
            span("b", Some("a"), "a<b", 1_250, 500),
        ]));
        let at = |text: &str| {
            picture
                .find(text)
                .unwrap_or_else(|| panic!("{text}: {picture}"))
        };
        assert!(at(">Y/Root<") < at(">a&lt;b<") && at(">a&lt;b<") < at(">late<"));
        // A quarter of the time is a quarter of the room, which is 464 wide.
        assert!(picture.contains("x=\"446.0\""), "{picture}");
        assert!(picture.contains("width=\"232.0\""), "{picture}");
        for tag in ["g", "svg", "title", "text", "style"] {
            let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
            let starts = |c: Option<char>| matches!(c, Some(' ' | '>'));
            let opened = picture.match_indices(&opened);
            let opened = opened.filter(|(i, m)| starts(picture[i + m.len()..].chars().next()));
            assert_eq!(opened.count(), picture.matches(&closed).count(), "{tag}");
        }
    }

    #[test]
    fn a_long_trace_stays_small_enough_for_a_page() {
        let child = |n: u64| {
            span(
                &n.to_string(),
                Some("a"),
                "interface.configure",
                n * 1_000,
                900,
            )
        };
        let mut spans = vec![span("a", None, "root", 0, 60_000)];
        spans.extend((0..60).map(child));
        let picture = draw(&trace(&spans));
        assert!(picture.len() < 40_000, "{}", picture.len());
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        for (micros, said) in [
            (0, "0"),
            (7, "7 µs"),
            (1_500, "1.5 ms"),
            (12_345, "12 ms"),
            (2_300_000, "2.3 s"),
        ] {
            assert_eq!(duration(micros), said);
        }
        for (span, step) in [(700_000, 100_000), (5_000, 1_000), (81_000, 20_000)] {
            assert_eq!(Scale::new(0, span).step(), step);
        }
    }
}
