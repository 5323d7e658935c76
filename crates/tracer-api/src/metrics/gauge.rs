//! Gauges of what is a property of the database: absent rather than old.
//!
//! Rendered by ourselves, because the exporter keeps a gauge for ever, and what is no longer there, or a database
//! that does not answer, must leave none behind.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// The labels of a sample, in the order in which they are shown.
pub(super) type Labels<const N: usize> = [String; N];

/// What the database said last, and when, by `N` labels.
#[derive(Debug)]
pub(super) struct Gauge<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    stale_after: Duration,
    last: Option<(Instant, BTreeMap<Labels<N>, f64>)>,
}

impl<const N: usize> Gauge<N> {
    /// Returns a gauge that nothing has been said about yet.
    pub(super) const fn new(
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        stale_after: Duration,
    ) -> Self {
        Self { name, help, labels, stale_after, last: None }
    }

    /// Takes the present numbers in place of all earlier ones; those of equal labels add up.
    pub(super) fn set(&mut self, now: Instant, samples: impl Iterator<Item = (Labels<N>, f64)>) {
        let mut by_label = BTreeMap::new();
        for (labels, value) in samples {
            *by_label.entry(labels).or_default() += value;
        }
        self.last = Some((now, by_label));
    }

    /// Appends the gauge, unless what is known is stale.
    pub(super) fn render(&self, now: Instant, text: &mut String) {
        let Some((at, by_label)) = &self.last else { return };
        if now.saturating_duration_since(*at) > self.stale_after || by_label.is_empty() {
            return;
        }
        let Self { name, help, .. } = self;
        put(text, format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (values, number) in by_label {
            let escaped =
                |value: &String| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let pairs = self.labels.iter().zip(values);
            let pairs: Vec<String> =
                pairs.map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            put(text, format_args!("{name}{{{}}} {number}\n", pairs.join(",")));
        }
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a text cannot fail.
    text.write_fmt(arguments).unwrap_or_default();
}
