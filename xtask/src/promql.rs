//! Reads PromQL: whether a query parses, and of which metrics it speaks.

use anyhow::{Result, anyhow};
use promql_parser::parser::{self, Expr, VectorSelector};

/// A metric that a query selects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selected {
    /// Its name, as written.
    pub(crate) name: String,
    /// The aggregation next to it, such as `max`; none if there is none.
    pub(crate) within: Option<String>,
}

/// Returns the metrics that a query selects, in the order in which they are written.
///
/// # Errors
/// If it is no PromQL.
pub(crate) fn selected(query: &str) -> Result<Vec<Selected>> {
    let expr = parser::parse(query).map_err(|reason| anyhow!("{reason}"))?;
    let mut found = Vec::new();
    walk(&expr, None, &mut found);
    Ok(found)
}

fn walk(expr: &Expr, within: Option<&str>, found: &mut Vec<Selected>) {
    match expr {
        Expr::Aggregate(aggregate) => {
            let by = aggregate.op.to_string();
            walk(&aggregate.expr, Some(&by), found);
            if let Some(parameter) = &aggregate.param {
                walk(parameter, within, found);
            }
        }
        Expr::Unary(unary) => walk(&unary.expr, within, found),
        Expr::Binary(binary) => {
            walk(&binary.lhs, within, found);
            walk(&binary.rhs, within, found);
        }
        Expr::Paren(inner) => walk(&inner.expr, within, found),
        Expr::Subquery(inner) => walk(&inner.expr, within, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| walk(argument, within, found)),
        Expr::VectorSelector(selector) => found.extend(select(selector, within)),
        Expr::MatrixSelector(range) => found.extend(select(&range.vs, within)),
        // The last is made by nobody here.
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn select(selector: &VectorSelector, within: Option<&str>) -> Option<Selected> {
    let by_label = || selector.matchers.find_matchers("__name__").first().map(|name| name.value.clone());
    let name = selector.name.clone().or_else(by_label)?;
    Some(Selected { name, within: within.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(query: &str) -> String {
        let of = |one: &Selected| match &one.within {
            Some(within) => format!("{within} {}", one.name),
            None => one.name.clone(),
        };
        selected(query).unwrap().iter().map(of).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_metric_of_a_query_is_found_with_what_stands_around_it() {
        let query =
            "topk(3, sum by (a) (rate(x_total{b=~\"c|d\"}[5m])) / max(y)) > on () group_left z offset 1h";
        assert_eq!(shown(query), "sum x_total, max y, z");
        assert_eq!(
            shown("histogram_quantile(0.9, sum by (le) (rate({__name__=\"h_bucket\"}[1m])))"),
            "sum h_bucket"
        );
        assert_eq!(shown("max_over_time(deriv(q:r:s[5m:1m])[1h:])"), "q:r:s");
        assert_eq!(shown("1 + time()"), "");
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for wrong in ["sum(", "rate(x)", "a b", "x{y=}", ""] {
            assert!(selected(wrong).is_err(), "{wrong}");
        }
    }
}
