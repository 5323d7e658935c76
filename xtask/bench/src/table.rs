//! The table: each figure beside its limit and its target.
//!
//! Not here: measuring.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Characters of the first column, at least.
const NARROWEST: usize = 36;

/// What a figure is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    const fn bound(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    limits: Vec<(String, f64)>,
    target: Option<Target>,
}

impl Figure {
    /// Makes a figure without limit or target.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, limits: Vec::new(), target: None }
    }

    /// Sets beside it what the machine can do at best, in the same unit.
    pub(crate) fn limit(mut self, name: impl Into<String>, value: f64) -> Self {
        self.limits.push((name.into(), value));
        self
    }

    /// Says what it is to reach; none changes nothing.
    pub(crate) fn target(mut self, target: impl Into<Option<Target>>) -> Self {
        self.target = target.into().or(self.target);
        self
    }

    fn met(&self) -> Option<bool> {
        self.target.map(|target| target.is_met_by(self.value))
    }

    fn to_json(&self, section: &str) -> Value {
        let limits: Vec<Value> = self
            .limits
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value, "ratio": self.value / value}))
            .collect();
        json!({
            "section": section,
            "figure": self.name,
            "value": self.value,
            "unit": self.unit,
            "limits": limits,
            "target": self.target.map(Target::bound),
            "met": self.met(),
        })
    }
}

/// Figures under headings, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    sections: Vec<(String, Vec<Figure>)>,
}

impl Table {
    /// Begins a section.
    pub(crate) fn section(&mut self, name: impl Into<String>) {
        self.sections.push((name.into(), Vec::new()));
    }

    /// Adds a figure to the present section.
    pub(crate) fn add(&mut self, figure: Figure) {
        if let Some((_, figures)) = self.sections.last_mut() {
            figures.push(figure);
        }
    }

    /// Returns the targets that were missed. A figure that is set in belongs to the one above it.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for (section, figures) in &self.sections {
            let mut above = "";
            for figure in figures {
                let part = figure.name.strip_prefix(' ').map(str::trim_start);
                if part.is_none() {
                    above = &figure.name;
                }
                if figure.met() == Some(false) {
                    missed.push(format!(
                        "{section}: {above}{}{}",
                        part.map_or("", |_| ", "),
                        part.unwrap_or_default()
                    ));
                }
            }
        }
        missed
    }

    /// Returns the table as text.
    pub(crate) fn text(&self) -> String {
        let names = self.sections.iter().flat_map(|(_, figures)| figures.iter().map(|figure| &figure.name));
        let width = names.map(|name| name.chars().count()).max().unwrap_or_default().max(NARROWEST);
        let mut lines = Vec::new();
        for (section, figures) in &self.sections {
            lines.push(String::new());
            lines.push(row(width, [section, "measured", "limit", "ratio", "target", ""]));
            for figure in figures {
                let mut limits = figure.limits.iter();
                let value = format!("{} {}", number(figure.value), figure.unit);
                let (limit, ratio) = beside(figure.value, limits.next());
                let (target, met) = match (figure.target, figure.met()) {
                    (Some(Target::AtLeast(bound)), Some(met)) => {
                        (format!("≥ {}", number(bound)), met_text(met))
                    }
                    (Some(Target::AtMost(bound)), Some(met)) => {
                        (format!("≤ {}", number(bound)), met_text(met))
                    }
                    (_, _) => (String::new(), ""),
                };
                lines.push(row(width, [&figure.name, &value, &limit, &ratio, &target, met]));
                for further in limits {
                    let (limit, ratio) = beside(figure.value, Some(further));
                    lines.push(row(width, ["", "", &limit, &ratio, "", ""]));
                }
            }
        }
        lines.join("\n")
    }

    /// Writes the table as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let all =
            self.sections.iter().flat_map(|(name, figures)| figures.iter().map(move |f| f.to_json(name)));
        let figures: Vec<Value> = all.collect();
        let text = serde_json::to_string_pretty(&json!({ "figures": figures }))?;
        std::fs::write(file, text + "\n").with_context(|| format!("{} cannot be written", file.display()))
    }
}

fn row(width: usize, cells: [&str; 6]) -> String {
    let [name, value, limit, ratio, target, met] = cells;
    format!("{name:<width$}{value:>18}  {limit:<48}{ratio:>7}{target:>11}  {met}").trim_end().to_owned()
}

fn beside(value: f64, limit: Option<&(String, f64)>) -> (String, String) {
    limit.map_or_else(
        || (String::new(), String::new()),
        |(name, limit)| (format!("{}  {name}", number(*limit)), format!("{:.2}", value / limit)),
    )
}

const fn met_text(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

/// Writes a number with three significant digits or more, thousands apart.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(whole, part)| (whole, part));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0
            && (whole.len() - place).is_multiple_of(3)
            && digit.is_ascii_digit()
            && !grouped.ends_with('-')
        {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if fraction.is_empty() { grouped } else { format!("{grouped}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Table, Target, number};

    #[test]
    fn numbers_are_as_exact_as_they_need_to_be() {
        let shown = [0.0, 0.1234, 1.234, 12.34, 123.4, 1_234.5, 1_234_567.0, -123.0].map(number);
        assert_eq!(shown, ["0", "0.123", "1.23", "12.3", "123", "1,234", "1,234,567", "-123"]);
    }

    #[test]
    fn a_target_that_is_missed_is_said_so() {
        let mut table = Table::default();
        table.section("rest");
        table.add(
            Figure::new("requests", 9_000.0, "/s").limit("HTTP", 45_000.0).target(Target::AtLeast(10_000.0)),
        );
        table.add(Figure::new("p99", 25.0, "ms").target(Target::AtMost(25.0)));
        table.add(Figure::new("  p95", 25.0, "ms").target(Target::AtMost(24.0)));
        assert_eq!(table.missed(), ["rest: requests", "rest: p99, p95"]);
        let text = table.text();
        assert!(text.contains("45,000  HTTP") && text.contains("0.20") && text.contains("NOT MET"), "{text}");
    }
}
