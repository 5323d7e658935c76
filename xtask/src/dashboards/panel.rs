//! A panel: what it asks and how it shows the answer.
//!
//! Invariant: none is without title, description, unit, and words for when there is nothing to show: without them it
//! cannot be made.
//! Not here: where it stands (`board`).

use serde_json::{Value, json};

use super::query::Query;
use super::style::{self, Colour, Steps, Unit};

/// Whether a panel may be empty although all is well, and what it says then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It always has data under load; until there was some, it says this.
    Until(&'static str),
    /// It may be empty, for the reason that it says.
    Maybe(&'static str),
}

impl Empty {
    /// Returns what is shown in place of data.
    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::Until(text) | Self::Maybe(text) => text,
        }
    }
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Lines over time; stacked ones are areas.
    Graph { stacked: bool },
    /// One large number for each series.
    Stat,
    /// A bar for each series.
    Bars,
    /// A row for each answer.
    Table,
    /// How durations are spread over time.
    Heatmap,
}

/// A panel.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    /// Its title.
    pub(crate) title: &'static str,
    /// What it says, and what to do about it.
    pub(crate) description: &'static str,
    /// What it shows when there is nothing.
    pub(crate) empty: Empty,
    /// What it asks.
    pub(crate) queries: Vec<Query>,
    /// Its width of 24, and its height.
    pub(super) size: (u32, u32),
    kind: Kind,
    unit: Unit,
    steps: Steps,
    links: Vec<Value>,
    columns: Vec<Value>,
    transformations: Vec<Value>,
    most: Option<f64>,
}

/// Returns lines over time.
pub(crate) fn graph(title: &'static str, unit: Unit, description: &'static str, empty: Empty) -> Panel {
    Panel::new(Kind::Graph { stacked: false }, (12, 8), title, unit, description, empty)
}

/// Returns areas over time, which add up.
pub(crate) fn areas(title: &'static str, unit: Unit, description: &'static str, empty: Empty) -> Panel {
    Panel::new(Kind::Graph { stacked: true }, (12, 8), title, unit, description, empty)
}

/// Returns a large number.
pub(crate) fn stat(title: &'static str, unit: Unit, description: &'static str, empty: Empty) -> Panel {
    Panel::new(Kind::Stat, (4, 4), title, unit, description, empty)
}

/// Returns a bar for each series, the longest first.
pub(crate) fn bars(title: &'static str, unit: Unit, description: &'static str, empty: Empty) -> Panel {
    Panel::new(Kind::Bars, (12, 8), title, unit, description, empty)
}

/// Returns a table.
pub(crate) fn table(title: &'static str, unit: Unit, description: &'static str, empty: Empty) -> Panel {
    Panel::new(Kind::Table, (24, 9), title, unit, description, empty)
}

/// Returns how durations are spread over time.
pub(crate) fn heatmap(title: &'static str, unit: Unit, description: &'static str, empty: Empty) -> Panel {
    Panel::new(Kind::Heatmap, (12, 8), title, unit, description, empty)
}

impl Panel {
    fn new(
        kind: Kind,
        size: (u32, u32),
        title: &'static str,
        unit: Unit,
        description: &'static str,
        empty: Empty,
    ) -> Self {
        Self {
            title,
            description,
            empty,
            queries: Vec::new(),
            size,
            kind,
            unit,
            steps: style::PLAIN,
            links: Vec::new(),
            columns: Vec::new(),
            transformations: Vec::new(),
            most: None,
        }
    }

    /// Asks one thing more. What has no time axis asks at the end of the time shown, however it is asked: the last value
    /// of a range is as old as the outage that ended it.
    pub(crate) fn ask(mut self, query: Query) -> Self {
        self.queries.push(if self.kind.is_over_time() { query } else { query.at_the_end() });
        self
    }

    /// Colours what is good and bad.
    pub(crate) const fn steps(mut self, steps: Steps) -> Self {
        self.steps = steps;
        self
    }

    /// Shows values up to this one, whatever there are.
    pub(crate) const fn most(mut self, most: f64) -> Self {
        self.most = Some(most);
        self
    }

    /// Takes so much of the width of 24, and so much height.
    pub(crate) const fn size(mut self, width: u32, height: u32) -> Self {
        self.size = (width, height);
        self
    }

    /// Leads from what is shown to somewhere.
    pub(crate) fn link(mut self, title: &str, url: &str) -> Self {
        self.links.push(json!({"title": title, "url": url}));
        self
    }

    /// Shows a column of a table in a unit of its own.
    pub(crate) fn column(mut self, name: &str, unit: Unit, steps: Steps) -> Self {
        let mut properties = vec![json!({"id": "unit", "value": number_of(unit)})];
        if unit == Unit::Count {
            properties.push(json!({"id": "decimals", "value": 0}));
        }
        if steps != style::PLAIN {
            properties.push(json!({"id": "thresholds", "value": style::thresholds(steps)}));
            properties.push(json!({"id": "custom.cellOptions", "value": {"type": "color-text"}}));
        }
        self.columns.push(json!({"matcher": {"id": "byName", "options": name}, "properties": properties}));
        self
    }

    /// Leads from a column of a table to somewhere.
    pub(crate) fn column_links(mut self, name: &str, links: &[(&str, &str)]) -> Self {
        let links: Vec<Value> =
            links.iter().map(|(title, url)| json!({"title": title, "url": url})).collect();
        self.columns.push(json!({
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "links", "value": links}],
        }));
        self
    }

    /// Puts the answers of several queries side by side, by their labels, and names the columns.
    pub(crate) fn joined(mut self, names: &[(&str, &str)], left_out: &[&str]) -> Self {
        let renamed: serde_json::Map<String, Value> =
            names.iter().map(|(from, to)| ((*from).to_owned(), json!(to))).collect();
        let order: serde_json::Map<String, Value> =
            names.iter().enumerate().map(|(place, (from, _))| ((*from).to_owned(), json!(place))).collect();
        let hidden: serde_json::Map<String, Value> =
            ["Time"].iter().chain(left_out).map(|name| ((*name).to_owned(), json!(true))).collect();
        self.transformations.push(json!({"id": "merge", "options": {}}));
        self.transformations.push(json!({
            "id": "organize",
            "options": {"excludeByName": hidden, "renameByName": renamed, "indexByName": order},
        }));
        self
    }

    /// Sorts the rows of a table, the greatest first.
    pub(crate) fn sorted(mut self, column: &str) -> Self {
        self.transformations
            .push(json!({"id": "sortBy", "options": {"sort": [{"field": column, "desc": true}]}}));
        self
    }

    /// Returns the panel as Grafana writes it.
    pub(super) fn json(&self, id: u32, at: (u32, u32)) -> Value {
        let in_table = self.kind == Kind::Table;
        let targets: Vec<Value> =
            self.queries.iter().enumerate().map(|(place, query)| query.target(place, in_table)).collect();
        let mut panel = json!({
            "id": id,
            "type": self.kind.id(),
            "title": self.title,
            "description": self.description,
            "gridPos": {"x": at.0, "y": at.1, "w": self.size.0, "h": self.size.1},
            "datasource": self.queries.first().map(Query::source),
            "fieldConfig": {"defaults": self.defaults(), "overrides": self.overrides()},
            "options": self.kind.options(),
            "targets": targets,
        });
        if !self.transformations.is_empty()
            && let Some(panel) = panel.as_object_mut()
        {
            panel.insert("transformations".to_owned(), json!(self.transformations));
        }
        panel
    }

    fn defaults(&self) -> Value {
        let mut defaults = json!({
            "unit": if self.kind.is_over_time() { self.unit.id() } else { number_of(self.unit) },
            "noValue": self.empty.says(),
            "color": self.kind.colour(),
            "thresholds": style::thresholds(self.steps),
            "links": self.links,
            "mappings": self.kind.mappings(self.empty),
            "custom": self.kind.custom(self.steps),
        });
        if let Some(defaults) = defaults.as_object_mut() {
            // A bar begins at nothing. A line may go below: a budget can be overspent.
            if self.unit == Unit::Share && self.kind == Kind::Bars {
                defaults.insert("min".to_owned(), json!(0));
            }
            // Prometheus extrapolates: three of something may be 3.2.
            if self.unit == Unit::Count && !self.kind.is_over_time() {
                defaults.insert("decimals".to_owned(), json!(0));
            }
            if let Some(most) = self.most {
                defaults.insert("max".to_owned(), json!(most));
            }
        }
        defaults
    }

    fn overrides(&self) -> Vec<Value> {
        let is_graph = matches!(self.kind, Kind::Graph { .. });
        let legends = self.queries.iter().filter_map(Query::legend).filter(|_| is_graph);
        legends.flat_map(style::series_colours).chain(self.columns.iter().cloned()).collect()
    }
}

/// Returns Grafana's name of a unit where a number stands by itself: a count is written out there, not `1 K`.
const fn number_of(unit: Unit) -> &'static str {
    if matches!(unit, Unit::Count) { "locale" } else { unit.id() }
}

impl Kind {
    /// Returns whether it has a time axis; what has none says how things are at the end of the time shown.
    const fn is_over_time(self) -> bool {
        match self {
            Self::Graph { .. } | Self::Heatmap => true,
            Self::Stat | Self::Bars | Self::Table => false,
        }
    }

    /// Returns what is shown in place of no number. Without it Grafana gives what is absent the colour of the smallest
    /// number, which is mostly green, and a share of nothing is `NaN`.
    fn mappings(self, empty: Empty) -> Value {
        let (which, shown) = match self {
            Self::Graph { .. } | Self::Heatmap => return json!([]),
            Self::Stat | Self::Bars => ("null+nan", empty.says()),
            Self::Table => ("nan", "–"),
        };
        let result = json!({"text": shown, "color": Colour::Reference.id(), "index": 0});
        json!([{"type": "special", "options": {"match": which, "result": result}}])
    }

    const fn id(self) -> &'static str {
        match self {
            Self::Graph { .. } => "timeseries",
            Self::Stat => "stat",
            Self::Bars => "bargauge",
            Self::Table => "table",
            Self::Heatmap => "heatmap",
        }
    }

    fn colour(self) -> Value {
        match self {
            Self::Graph { .. } | Self::Heatmap => json!({"mode": "palette-classic-by-name"}),
            Self::Stat | Self::Bars | Self::Table => json!({"mode": "thresholds"}),
        }
    }

    fn custom(self, steps: Steps) -> Value {
        match self {
            Self::Graph { stacked } => json!({
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": if stacked { 40 } else { 8 },
                "showPoints": "never",
                // A gap of two scrapes is a line, a longer one is a gap.
                "spanNulls": 60_000,
                "stacking": {"mode": if stacked { "normal" } else { "none" }, "group": "A"},
                "axisSoftMin": 0,
                "thresholdsStyle": {"mode": if steps == style::PLAIN { "off" } else { "dashed" }},
            }),
            Self::Table => json!({"align": "auto", "filterable": true}),
            Self::Stat | Self::Bars | Self::Heatmap => json!({}),
        }
    }

    fn options(self) -> Value {
        let last = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
        match self {
            Self::Graph { .. } => json!({
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Self::Stat => json!({
                "reduceOptions": last,
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "textMode": "auto",
                "wideLayout": true,
            }),
            Self::Bars => json!({
                "reduceOptions": last,
                "displayMode": "gradient",
                "orientation": "horizontal",
                "valueMode": "color",
                "showUnfilled": true,
            }),
            Self::Table => json!({"showHeader": true, "cellHeight": "sm", "footer": {"show": false}}),
            Self::Heatmap => json!({
                "calculate": false,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Blues", "steps": 64, "reverse": false},
                "yAxis": {"unit": "s", "axisPlacement": "left"},
                "rowsFrame": {"layout": "auto"},
                "tooltip": {"mode": "single", "yHistogram": true, "showColorScale": false},
                "legend": {"show": true},
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::{instant, range};
    use super::*;

    const NONE: Empty = Empty::Until("Nobody answers");

    fn shown(panel: Panel) -> Value {
        panel.ask(range("", "up")).ask(instant("", "up")).json(1, (0, 0))
    }

    #[test]
    fn what_has_no_time_axis_asks_how_things_are_now() {
        let instants = |panel: Panel| {
            let panel = shown(panel);
            ["/targets/0/instant", "/targets/1/instant"].map(|at| panel.pointer(at) == Some(&json!(true)))
        };
        for kind in [stat, bars, table] {
            assert_eq!(instants(kind("Up", Unit::Count, "Who is", NONE)), [true, true]);
        }
        for kind in [graph, areas] {
            assert_eq!(instants(kind("Up", Unit::Count, "Who is", NONE)), [false, true]);
        }
    }

    #[test]
    fn what_is_absent_or_no_number_is_said_in_no_colour_of_health() {
        let options =
            |panel: Panel| shown(panel).pointer("/fieldConfig/defaults/mappings/0/options").cloned();
        let said = json!({
            "match": "null+nan",
            "result": {"text": "Nobody answers", "color": "#8e8e8e", "index": 0},
        });
        assert_eq!(options(stat("Up", Unit::Count, "Who is", NONE)), Some(said));
        assert_eq!(options(graph("Up", Unit::Count, "Who is", NONE)), None);
    }

    #[test]
    fn a_count_that_stands_by_itself_is_whole() {
        let decimals =
            |unit| shown(stat("Up", unit, "Who is", NONE)).pointer("/fieldConfig/defaults/decimals").cloned();
        assert_eq!(decimals(Unit::Count), Some(json!(0)));
        assert_eq!(decimals(Unit::Seconds), None);
    }
}
