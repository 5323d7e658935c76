//! What looks the same on every dashboard: units, colours, thresholds.
//!
//! Invariant: a thing has one colour wherever it is drawn.

use serde_json::{Value, json};

/// What a number counts, as Grafana calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share: 1 is all.
    Share,
    /// Times as much: 1 is as much.
    Factor,
    /// Things a second.
    PerSecond,
    /// Things a minute.
    PerMinute,
    /// Requests a second.
    Requests,
    /// Bytes a second.
    BytesPerSecond,
    /// 1 is yes, 0 is no.
    YesNo,
    /// Whatever the columns of a table say of themselves.
    OfColumns,
}

impl Unit {
    /// Returns Grafana's name of it.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Share => "percentunit",
            Self::Factor => "suffix:×",
            Self::PerSecond => "cps",
            Self::PerMinute => "cpm",
            Self::Requests => "reqps",
            Self::BytesPerSecond => "Bps",
            Self::YesNo => "bool_yes_no",
            Self::OfColumns => "none",
        }
    }
}

/// A colour of Grafana's palette, by what it means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// As it should be.
    Good,
    /// A WARNING, or near a limit.
    Warning,
    /// CRITICAL, failed, or beyond a limit.
    Critical,
    /// Between failed and called off: it ran out of time.
    Late,
    /// What is neither good nor bad.
    Plain,
    /// What is compared with.
    Reference,
    /// The middle of a distribution.
    Middle,
    /// Its 95th percentile.
    High,
    /// Its 99th.
    Highest,
}

impl Colour {
    /// Returns Grafana's name of it.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Good => "green",
            Self::Warning => "yellow",
            Self::Critical => "red",
            Self::Late => "orange",
            Self::Plain => "blue",
            Self::Reference => "#8e8e8e",
            Self::Middle => "light-blue",
            Self::High => "blue",
            Self::Highest => "purple",
        }
    }
}

/// Series that a query names itself.
const NAMED: [(&str, Colour); 3] = [("p50", Colour::Middle), ("p95", Colour::High), ("p99", Colour::Highest)];

/// Series that are named by the value of a label.
const LABELLED: [(&str, &[(&str, Colour)]); 5] = [
    (
        "status",
        &[
            ("completed", Colour::Good),
            ("failed", Colour::Critical),
            ("timed_out", Colour::Late),
            ("cancelled", Colour::Reference),
        ],
    ),
    (
        "severity",
        &[
            ("WARNING", Colour::Warning),
            ("CRITICAL", Colour::Critical),
            ("warning", Colour::Warning),
            ("critical", Colour::Critical),
        ],
    ),
    (
        "outcome",
        &[
            ("ok", Colour::Good),
            ("sent", Colour::Good),
            ("taken", Colour::Good),
            ("retried", Colour::Warning),
            ("in_doubt", Colour::Late),
            ("failed", Colour::Critical),
            ("refused", Colour::Critical),
            ("rejected", Colour::Critical),
            ("dropped", Colour::Critical),
        ],
    ),
    (
        "state",
        &[
            ("idle", Colour::Reference),
            ("in_use", Colour::Plain),
            ("active", Colour::Plain),
            ("idle in transaction", Colour::Warning),
        ],
    ),
    ("alertstate", &[("pending", Colour::Warning), ("firing", Colour::Critical)]),
];

/// Returns the overrides that give the series of such a legend their colours; Grafana gives the others theirs.
pub(crate) fn series_colours(legend: &str) -> Vec<Value> {
    let of_label = LABELLED.iter().filter(|(label, _)| legend == format!("{{{{{label}}}}}"));
    let labelled = of_label.flat_map(|(_, series)| series.iter());
    let mut colours: Vec<Value> =
        NAMED.iter().filter(|(name, _)| *name == legend).chain(labelled).map(fixed).collect();
    if let Some((_, what)) =
        legend.rsplit_once(", ").filter(|(_, what)| ["baseline", "objective"].contains(what))
    {
        colours.push(
            json!({"matcher": {"id": "byRegexp", "options": format!("/, {what}$/")}, "properties": dashed()}),
        );
    }
    colours
}

/// What others are compared with is a dashed line over nothing.
fn dashed() -> [Value; 2] {
    [
        json!({"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}}),
        json!({"id": "custom.fillOpacity", "value": 0}),
    ]
}

fn fixed((name, colour): &(&str, Colour)) -> Value {
    let mut properties = vec![json!({"id": "color", "value": {"mode": "fixed", "fixedColor": colour.id()}})];
    if *colour == Colour::Reference {
        properties.extend(dashed());
    }
    json!({"matcher": {"id": "byName", "options": name}, "properties": properties})
}

/// From which value on which colour holds; the first holds below all.
pub(crate) type Steps = &'static [(Option<f64>, Colour)];

/// Nothing is good or bad about it.
pub(crate) const PLAIN: Steps = &[(None, Colour::Plain)];
/// Any is one too many.
pub(crate) const NONE_IS_GOOD: Steps = &[(None, Colour::Good), (Some(1.0), Colour::Critical)];
/// Any is worth a look.
pub(crate) const FEW_IS_GOOD: Steps =
    &[(None, Colour::Good), (Some(1.0), Colour::Warning), (Some(10.0), Colour::Critical)];
/// 1 is as it should be, 0 is not.
pub(crate) const ONE_IS_GOOD: Steps = &[(None, Colour::Critical), (Some(1.0), Colour::Good)];
/// A share of failures: 5 % is where `alerts.failure_rate` begins to count.
pub(crate) const FAILURES: Steps =
    &[(None, Colour::Good), (Some(0.01), Colour::Warning), (Some(0.05), Colour::Critical)];
/// Times the average: the limits that detection ships with.
pub(crate) const FACTORS: Steps =
    &[(None, Colour::Good), (Some(2.0), Colour::Warning), (Some(3.0), Colour::Critical)];
/// What is left of an error budget.
pub(crate) const BUDGET: Steps =
    &[(None, Colour::Critical), (Some(0.0), Colour::Warning), (Some(0.25), Colour::Good)];
/// How fast an error budget burns: the factors of the alerts.
pub(crate) const BURN: Steps = &[
    (None, Colour::Good),
    (Some(1.0), Colour::Warning),
    (Some(6.0), Colour::Late),
    (Some(14.4), Colour::Critical),
];
/// A share of a limit that something has.
pub(crate) const FULL: Steps =
    &[(None, Colour::Good), (Some(0.7), Colour::Warning), (Some(0.9), Colour::Critical)];
/// Seconds for which something waits to be told; the health check degrades after 300.
pub(crate) const WAITING: Steps =
    &[(None, Colour::Good), (Some(60.0), Colour::Warning), (Some(300.0), Colour::Critical)];

/// Returns thresholds as Grafana writes them.
pub(crate) fn thresholds(steps: Steps) -> Value {
    let steps: Vec<Value> =
        steps.iter().map(|(from, colour)| json!({"value": from, "color": colour.id()})).collect();
    json!({"mode": "absolute", "steps": steps})
}
