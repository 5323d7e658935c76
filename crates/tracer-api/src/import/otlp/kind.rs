//! What kind of work a span is, told by its attributes and by its `SpanKind`.
//!
//! The conventions are those of <https://opentelemetry.io/docs/specs/semconv/>.

use super::wire::KeyValue;

/// Attribute by which a client names the step's type itself.
const OWN: &str = "tracer.step.type";
/// `SPAN_KIND_CLIENT`: the span calls another service.
const CLIENT: i32 = 3;

/// Returns the type of the step that a span is, as it is told; none where nothing tells.
///
/// | told by | type |
/// |---|---|
/// | `tracer.step.type` | its value |
/// | `gen_ai.operation.name` = `execute_tool` | `tool` |
/// | any `gen_ai.…` | `llm` |
/// | any `db.…` | `db` |
/// | any `http.…`, on a span that calls | `http` |
#[must_use]
pub fn step_type(span_kind: i32, attributes: &[KeyValue]) -> Option<&str> {
    let any = |prefix: &str| attributes.iter().any(|pair| pair.key.starts_with(prefix));
    if let Some(own) = text(attributes, OWN) {
        return Some(own);
    }
    if text(attributes, "gen_ai.operation.name") == Some("execute_tool") {
        return Some("tool");
    }
    if any("gen_ai.") {
        Some("llm")
    } else if any("db.") {
        Some("db")
    } else if span_kind == CLIENT && any("http.") {
        Some("http")
    } else {
        None
    }
}

/// Returns how the kind of a span is written as an attribute; none if it is internal or not told.
#[must_use]
pub const fn name(span_kind: i32) -> Option<&'static str> {
    match span_kind {
        2 => Some("server"),
        CLIENT => Some("client"),
        4 => Some("producer"),
        5 => Some("consumer"),
        _ => None,
    }
}

/// Returns the value of an attribute that is a text and not empty.
#[must_use]
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    pair.value.as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(span_kind: i32, attributes: &[(&str, &str)]) -> String {
        let pair = |&(key, value): &(&str, &str)| KeyValue { key: key.to_owned(), value: value.into() };
        let attributes: Vec<_> = attributes.iter().map(pair).collect();
        step_type(span_kind, &attributes).unwrap_or("-").to_owned()
    }

    #[test]
    fn the_type_of_a_step_follows_from_the_conventions() {
        assert_eq!(of(1, &[]), "-");
        assert_eq!(of(1, &[("gen_ai.system", "x"), (OWN, "branch")]), "branch");
        assert_eq!(of(3, &[("http.request.method", "POST"), ("gen_ai.request.model", "m")]), "llm");
        assert_eq!(of(1, &[("gen_ai.operation.name", "execute_tool")]), "tool");
        assert_eq!(of(3, &[("http.request.method", "POST"), ("db.system", "elasticsearch")]), "db");
        assert_eq!(of(3, &[("http.request.method", "GET")]), "http");
        assert_eq!(of(2, &[("http.request.method", "GET")]), "-");
        assert_eq!(of(1, &[("dbx", ""), (OWN, "")]), "-");
    }
}
