//! A dashboard: rows of panels, variables, annotations, and the way to the others.

use serde_json::{Value, json};

use super::panel::Panel;
use super::query::Query;

/// The schema of Grafana 11; Grafana 12 reads it.
const SCHEMA: u32 = 39;
/// The tag that all of them have, by which they lead to each other.
const TAG: &str = "tracer";
/// Columns of Grafana's grid.
const WIDTH: u32 = 24;

/// A dashboard.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    /// Its uid, which is also the name of its file.
    pub(crate) uid: &'static str,
    title: &'static str,
    description: &'static str,
    rows: Vec<(&'static str, Vec<Panel>)>,
    variables: Vec<Value>,
    annotations: Vec<Value>,
}

impl Board {
    /// Returns one without panels. All of them choose where their data comes from.
    pub(crate) fn new(uid: &'static str, title: &'static str, description: &'static str) -> Self {
        let variables =
            vec![data_source("datasource", "Prometheus", "prometheus", "tracer-prometheus"), service()];
        Self { uid, title, description, rows: Vec::new(), variables, annotations: vec![incidents()] }
    }

    /// Adds a row.
    pub(crate) fn row(mut self, title: &'static str, panels: Vec<Panel>) -> Self {
        self.rows.push((title, panels));
        self
    }

    /// Adds a variable.
    pub(crate) fn variable(mut self, variable: Value) -> Self {
        self.variables.push(variable);
        self
    }

    /// Adds marks over all graphs.
    pub(crate) fn annotation(mut self, annotation: Value) -> Self {
        self.annotations.push(annotation);
        self
    }

    /// Returns its panels with their ids, in the order in which they are shown.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (u32, &Panel)> {
        // Rows have the ids from 1000 on, so that a new row moves no panel's.
        (1..).zip(self.rows.iter().flat_map(|(_, panels)| panels))
    }

    /// Returns the dashboard as Grafana writes it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "",
            "timepicker": {},
            "links": [to_the_others(), to_the_service()],
            "annotations": {"list": self.annotations},
            "templating": {"list": self.variables},
            "panels": self.grid(),
        })
    }

    /// Sets the panels from left to right, row by row.
    fn grid(&self) -> Vec<Value> {
        let mut grid = Vec::new();
        let (mut id, mut top) = (1, 0);
        for ((title, panels), number) in self.rows.iter().zip(1000..) {
            grid.push(json!({
                "id": number,
                "type": "row",
                "title": title,
                "collapsed": false,
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
                "panels": [],
            }));
            top += 1;
            let (mut left, mut height) = (0, 0);
            for panel in panels {
                if left + panel.size.0 > WIDTH {
                    top += height;
                    (left, height) = (0, 0);
                }
                grid.push(panel.json(id, (left, top)));
                id += 1;
                left += panel.size.0;
                height = height.max(panel.size.1);
            }
            top += height;
        }
        grid
    }
}

/// Returns a variable that chooses a data source; the provisioned one is chosen to begin with.
fn data_source(name: &str, label: &str, kind: &str, uid: &str) -> Value {
    json!({
        "type": "datasource",
        "name": name,
        "label": label,
        "query": kind,
        "current": {"selected": false, "text": label, "value": uid},
        "hide": 0,
        "includeAll": false,
        "multi": false,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": false,
    })
}

/// Returns the variable that chooses where SQL is asked.
pub(crate) fn postgres() -> Value {
    data_source("postgres", "PostgreSQL", "grafana-postgresql-datasource", "tracer-postgres")
}

/// Returns the variable that chooses where traces are asked for.
pub(crate) fn jaeger() -> Value {
    data_source("jaeger", "Traces", "jaeger", "tracer-jaeger")
}

/// Returns the variable that chooses where logs are.
pub(crate) fn loki() -> Value {
    data_source("loki", "Logs", "loki", "tracer-loki")
}

/// Returns the variable that says where people reach the service: links lead there.
fn service() -> Value {
    let url = "http://localhost:8000";
    json!({
        "type": "textbox",
        "name": "tracer_url",
        "label": "Service",
        "description": "Where your browser reaches Tracer; links to executions begin so.",
        "query": url,
        "current": {"selected": true, "text": url, "value": url},
        "options": [{"selected": true, "text": url, "value": url}],
        "hide": 0,
        "skipUrlSync": false,
    })
}

/// Returns a variable with the values of a label: one of them, or any number and all.
pub(crate) fn values(name: &str, label: &str, query: &str, many: bool) -> Value {
    let current =
        if many { json!({"selected": true, "text": ["All"], "value": ["$__all"]}) } else { json!({}) };
    json!({
        "type": "query",
        "name": name,
        "label": label,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "current": current,
        "options": [],
        "includeAll": many,
        "allValue": if many { ".*" } else { "" },
        "multi": many,
        // With the time that is shown: names come and go.
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "skipUrlSync": false,
    })
}

/// Returns marks from when an incident of a kind fires until none does.
fn incidents() -> Value {
    json!({
        "name": "Incidents",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": true,
        "hide": false,
        "iconColor": "red",
        "expr": "max by (kind, severity) (tracer_incidents_firing) > 0",
        "step": "15s",
        "titleFormat": "{{severity}}: {{kind}}",
        "textFormat": "Incidents of this kind fire.",
        "tagKeys": "kind,severity",
        "useValueForTime": false,
    })
}

/// Returns marks for every incident that a condition of SQL selects. Off until asked for: it needs PostgreSQL.
pub(crate) fn each_incident(condition: &str) -> Value {
    let sql = format!(
        "SELECT first_seen_at AS time, resolved_at AS timeend, kind || ' ' || workflow_name || \
         COALESCE(' / ' || step_name, '') AS text, kind || ',' || state AS tags \
         FROM incidents WHERE $__timeFilter(first_seen_at){condition} ORDER BY first_seen_at LIMIT 500"
    );
    let query = Query::Sql(sql);
    json!({
        "name": "Incidents, each (PostgreSQL)",
        "datasource": query.source(),
        "enable": false,
        "hide": false,
        "iconColor": "orange",
        "target": query.target(0, true),
    })
}

fn to_the_others() -> Value {
    json!({
        "type": "dashboards",
        "title": "Tracer",
        "tags": [TAG],
        "asDropdown": false,
        "includeVars": true,
        "keepTime": true,
        "targetBlank": false,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    })
}

fn to_the_service() -> Value {
    json!({
        "type": "link",
        "title": "API",
        "tags": [],
        "asDropdown": false,
        "includeVars": false,
        "keepTime": false,
        "targetBlank": true,
        "icon": "doc",
        "tooltip": "The documentation of the service's API",
        "url": "${tracer_url}/docs",
    })
}
