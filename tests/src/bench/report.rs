//! The report: a table for people, JSON for machines.

use serde_json::{Value, json};

use super::machine::{Machine, load};
use super::sample::Samples;

/// The unit of a row's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Millis,
    MiB,
    /// Of one processor.
    Percent,
    Count,
}

impl Unit {
    fn as_str(self) -> &'static str {
        match self {
            Self::Millis => "ms",
            Self::MiB => "MiB",
            Self::Percent => "%",
            Self::Count => "",
        }
    }
}

/// What a median may be at most; of counts, the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Budget {
    /// So many times the floor's.
    Ratio(f64),
    /// So much, in the row's unit.
    Value(f64),
    /// So much for 99 of 100, in the row's unit.
    P99(f64),
}

/// One thing that was measured.
#[derive(Debug, Clone)]
pub(super) struct Row {
    what: String,
    unit: Unit,
    values: Samples,
    floor: Option<(&'static str, Samples)>,
    budget: Option<Budget>,
}

impl Row {
    /// A row without floor and budget.
    pub(super) fn new(what: impl Into<String>, unit: Unit, values: Samples) -> Self {
        Self {
            what: what.into(),
            unit,
            values,
            floor: None,
            budget: None,
        }
    }

    /// Beside what it is shown.
    #[must_use]
    pub(super) fn against(mut self, what: &'static str, floor: &Samples) -> Self {
        self.floor = Some((what, floor.clone()));
        self
    }

    /// What it may be.
    #[must_use]
    pub(super) fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    fn ratio(&self) -> Option<f64> {
        let (_, floor) = self.floor.as_ref()?;
        Some(self.values.median() / floor.median())
    }

    /// Whether the budget is kept; `None` without one.
    fn is_met(&self) -> Option<bool> {
        match self.budget? {
            Budget::Ratio(most) => Some(self.ratio()? <= most),
            Budget::Value(most) if self.unit == Unit::Count => {
                Some(self.values.percentile(100) <= most)
            }
            Budget::Value(most) => Some(self.values.median() <= most),
            Budget::P99(most) => Some(self.values.percentile(99) <= most),
        }
    }

    fn cells(&self) -> [String; 8] {
        let value = |value: f64| format!("{} {}", number(value), self.unit.as_str());
        let floor = self.floor.as_ref();
        let budget = match self.budget {
            None => String::new(),
            Some(Budget::Ratio(most)) => format!("≤ {most}×"),
            Some(Budget::Value(most)) => format!("≤ {most} {}", self.unit.as_str()),
            Some(Budget::P99(most)) => format!("p99 ≤ {most} {}", self.unit.as_str()),
        };
        let met = match self.is_met() {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        [
            self.what.clone(),
            value(self.values.median()),
            value(self.values.percentile(99)),
            floor.map_or_else(String::new, |(what, _)| (*what).to_owned()),
            floor.map_or_else(String::new, |(_, floor)| value(floor.median())),
            self.ratio()
                .map_or_else(String::new, |r| format!("{r:.2}×")),
            budget,
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let stated = |samples: &Samples| {
            json!({
                "p50": samples.median(),
                "p99": samples.percentile(99),
                "max": samples.percentile(100),
                "count": samples.count(),
            })
        };
        let floor = self.floor.as_ref();
        let budget = self.budget.map(|budget| match budget {
            Budget::Ratio(most) => json!({"ratio": most}),
            Budget::Value(most) => json!({"value": most}),
            Budget::P99(most) => json!({"p99": most}),
        });
        json!({
            "what": self.what,
            "unit": self.unit.as_str(),
            "values": stated(&self.values),
            "against": floor.map(|(what, _)| what),
            "floor": floor.map(|(_, floor)| stated(floor)),
            "ratio": self.ratio(),
            "budget": budget,
            "met": self.is_met(),
        })
    }
}

/// Three digits that matter, and no more than a thousandth.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 3,
        medium if medium < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// Everything that was measured on a machine.
#[derive(Debug)]
pub(super) struct Report {
    machine: Machine,
    rows: Vec<Row>,
    load_after: String,
}

impl Report {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            rows: Vec::new(),
            load_after: String::new(),
        }
    }

    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Notes what the machine is like after the last measurement.
    pub(super) fn finish(&mut self) {
        self.load_after = load();
    }

    pub(super) fn table(&self) -> String {
        let heads = [
            "WHAT", "P50", "P99", "AGAINST", "P50", "RATIO", "BUDGET", "",
        ];
        let rows = self.rows.iter().map(Row::cells);
        let rows: Vec<[String; 8]> = std::iter::once(heads.map(str::to_owned))
            .chain(rows)
            .collect();
        let mut widths = [0_usize; 8];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = self.machine.header(&self.load_after);
        text.push('\n');
        for row in &rows {
            let cells = row.iter().zip(widths);
            let line: String = cells
                .map(|(cell, width)| format!("{cell:width$}  "))
                .collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "machine": self.machine.json(&self.load_after),
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_judged_by_the_median() {
        let row = |budget| {
            let row = Row::new("attach", Unit::Millis, Samples::one(21.0));
            row.against("raw", &Samples::one(20.0)).budget(budget)
        };
        for (budget, met) in [
            (Budget::Ratio(1.1), true),
            (Budget::Ratio(1.0), false),
            (Budget::Value(21.0), true),
            (Budget::Value(20.9), false),
        ] {
            assert_eq!(row(budget).is_met(), Some(met), "{budget:?}");
        }
        let counts = Samples::from(vec![0.0, 0.0, 2.0]);
        let row_of_counts = Row::new("writes", Unit::Count, counts).budget(Budget::Value(0.0));
        assert_eq!(
            row_of_counts.is_met(),
            Some(false),
            "one too many is too many"
        );
        let [what, p50, _, against, floor, ratio, budget, met] = row(Budget::Ratio(1.0)).cells();
        assert_eq!(
            [what, p50, against, floor, ratio, budget, met],
            [
                "attach", "21.0 ms", "raw", "20.0 ms", "1.05×", "≤ 1×", "MISSED"
            ]
        );
    }
}
