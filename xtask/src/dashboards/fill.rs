//! What the variables of a query stand for when it is asked without Grafana.
//!
//! Not here: which values there are (`stack`, `tidy`).

use std::collections::BTreeMap;

/// Values by the name of a variable.
pub(crate) type Values = BTreeMap<String, String>;

/// Returns the variables that a text names: `$name`, `${name}`, `${name:format}`, `${name.field}`.
pub(crate) fn variables(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        let body = after.strip_prefix('{').unwrap_or(after);
        let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
        let (name, further) = body.split_at(end);
        if !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) {
            found.push(name);
        }
        rest = further;
    }
    found
}

/// Puts values in place of variables. Those without a value stay.
pub(crate) fn fill(text: &str, values: &Values) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{');
        let body = braced.unwrap_or(after);
        let end = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
        let (name, mut further) = body.split_at(end);
        if braced.is_some() {
            further = further.split_once('}').map_or("", |(_, behind)| behind);
        }
        match values.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = further;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Puts a time in place of the macros that Grafana's PostgreSQL data source knows.
pub(crate) fn fill_sql(sql: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("$__timeFilter(") {
        out.push_str(before);
        let (column, behind) = after.split_once(')').unwrap_or((after, ""));
        out.push_str(&format!("{column} BETWEEN '{from}' AND '{to}'"));
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_variable_is_seen_and_filled() {
        let text = "a{b=\"$one\", c=~\"${two:regex}\"}[$__range] ${__value.raw} $1 $";
        assert_eq!(variables(text), ["one", "two", "__range", "__value"]);
        let values = [("one", "x"), ("two", "y|z"), ("__range", "5m")];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(fill(text, &values), "a{b=\"x\", c=~\"y|z\"}[5m] ${__value.raw} $1 $");
    }

    #[test]
    fn the_time_of_sql_is_filled() {
        let sql = "SELECT 1 WHERE $__timeFilter(at) AND 2 > 1";
        assert_eq!(fill_sql(sql, "A", "B"), "SELECT 1 WHERE at BETWEEN 'A' AND 'B' AND 2 > 1");
    }
}
