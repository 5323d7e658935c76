//! What a panel asks, and whom.
//!
//! Not here: what its variables stand for when it is asked without Grafana (`fill`).

use serde_json::{Value, json};

/// One question of a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// PromQL over the time shown.
    Range {
        /// The query.
        expr: String,
        /// What a series is called: text, or labels as `{{label}}`.
        legend: String,
    },
    /// PromQL at the end of the time shown.
    Instant {
        /// The query.
        expr: String,
        /// What a series is called.
        legend: String,
    },
    /// PromQL over the time shown, of the buckets of a histogram.
    Buckets {
        /// The query, which leaves the label `le` alone.
        expr: String,
    },
    /// SQL, whose answer is a table.
    Sql(String),
    /// The traces of a service, by the Jaeger API of Tracer.
    Traces {
        /// The service; every workflow is one.
        service: String,
        /// How many, newest first.
        limit: u32,
    },
}

/// Returns PromQL over the time shown.
pub(crate) fn range(legend: &str, expr: impl Into<String>) -> Query {
    Query::Range { expr: expr.into(), legend: legend.to_owned() }
}

/// Returns PromQL at the end of the time shown.
pub(crate) fn instant(legend: &str, expr: impl Into<String>) -> Query {
    Query::Instant { expr: expr.into(), legend: legend.to_owned() }
}

impl Query {
    /// Returns the query at the end of the time shown in place of over it.
    pub(crate) fn at_the_end(self) -> Self {
        match self {
            Self::Range { expr, legend } => Self::Instant { expr, legend },
            Self::Instant { .. } | Self::Buckets { .. } | Self::Sql(_) | Self::Traces { .. } => self,
        }
    }

    /// Returns what series are called, where the query says so.
    pub(crate) fn legend(&self) -> Option<&str> {
        match self {
            Self::Range { legend, .. } | Self::Instant { legend, .. } => Some(legend),
            Self::Buckets { .. } | Self::Sql(_) | Self::Traces { .. } => None,
        }
    }

    /// Returns the data source that is asked: a variable of the dashboard.
    pub(crate) fn source(&self) -> Value {
        let (kind, variable) = match self {
            Self::Range { .. } | Self::Instant { .. } | Self::Buckets { .. } => ("prometheus", "datasource"),
            Self::Sql(_) => ("grafana-postgresql-datasource", "postgres"),
            Self::Traces { .. } => ("jaeger", "jaeger"),
        };
        json!({"type": kind, "uid": format!("${{{variable}}}")})
    }

    /// Returns the query as Grafana writes it; in tables a query of Prometheus answers with a table, too.
    pub(crate) fn target(&self, place: usize, in_table: bool) -> Value {
        let reference = char::from(b'A'.saturating_add(u8::try_from(place).unwrap_or(25))).to_string();
        let prometheus = |expr: &str, legend: &str, format: &str, instant: bool| {
            json!({
                "refId": reference,
                "datasource": self.source(),
                "editorMode": "code",
                "expr": expr,
                "format": format,
                "instant": instant,
                "range": !instant,
                "legendFormat": legend,
            })
        };
        match self {
            Self::Range { expr, legend } => prometheus(expr, legend, "time_series", false),
            Self::Instant { expr, legend } => {
                prometheus(expr, legend, if in_table { "table" } else { "time_series" }, true)
            }
            Self::Buckets { expr } => prometheus(expr, "{{le}}", "heatmap", false),
            Self::Sql(sql) => json!({
                "refId": reference,
                "datasource": self.source(),
                "editorMode": "code",
                "format": "table",
                "rawQuery": true,
                "rawSql": sql,
            }),
            Self::Traces { service, limit } => json!({
                "refId": reference,
                "datasource": self.source(),
                "queryType": "search",
                "service": service,
                "operation": "",
                "tags": "",
                "minDuration": "",
                "maxDuration": "",
                "limit": limit,
            }),
        }
    }
}
