//! Names in paths: any character, percent-encoded, slashes too.
//!
//! The router decodes before it matches, and leaves what is not UTF-8 as replacement characters; so names are
//! taken from the path as it was sent, and decoded strictly.

use std::borrow::Cow;

use actix_web::HttpRequest;
use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// Returns the name that follows `prefix` in the path: `/stats/a%2Fb` and `/stats/a/b` are both `a/b`.
///
/// Route it with a tail pattern: `/stats/{workflow_name:.+}`.
///
/// # Errors
/// 400 if it is not percent-encoded UTF-8; 404 if the path does not begin so.
pub fn name_after(req: &HttpRequest, prefix: &str) -> Result<String, ApiError> {
    decode(req.uri().path().strip_prefix(prefix).filter(|rest| !rest.is_empty()).ok_or_else(no_such_path)?)
}

/// Returns the two names around `between`, in a path that begins with `prefix` and ends with `suffix`.
///
/// Where `between` occurs more than once, unencoded, the last one separates.
///
/// # Errors
/// 400 if a name is not percent-encoded UTF-8; 404 if the path has another form.
pub fn names_around(
    req: &HttpRequest,
    prefix: &str,
    between: &str,
    suffix: &str,
) -> Result<(String, String), ApiError> {
    let (first, second) = req
        .uri()
        .path()
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(suffix))
        .and_then(|rest| rest.rsplit_once(between))
        .filter(|(first, second)| !first.is_empty() && !second.is_empty())
        .ok_or_else(no_such_path)?;
    Ok((decode(first)?, decode(second)?))
}

/// Decodes percent-encoded UTF-8.
///
/// # Errors
/// 400 if a `%` is not followed by two hexadecimal digits, or the bytes are not UTF-8.
pub fn decode(encoded: &str) -> Result<String, ApiError> {
    let mut escapes = encoded.split('%').skip(1).map(str::as_bytes);
    if escapes
        .any(|rest| !matches!(rest, [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()))
    {
        return Err(ApiError::bad_request("The path is not percent-encoded: a '%' lacks its two digits."));
    }
    percent_decode_str(encoded)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| ApiError::bad_request("The path is not percent-encoded UTF-8."))
}

/// Returns a route's pattern without the expressions in it: `/stats/{name:.+}` is `/stats/{name}`.
#[must_use]
pub fn template(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains(':') {
        return Cow::Borrowed(pattern);
    }
    let (mut depth, mut skip) = (0_u32, false);
    let kept = pattern.chars().filter(|c| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 1 => skip = true,
            _ => {}
        }
        skip = skip && depth > 0;
        !skip
    });
    Cow::Owned(kept.collect())
}

fn no_such_path() -> ApiError {
    ApiError::not_found("There is nothing at this path.")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_name_may_hold_any_character() {
        let name = |path: &str| name_after(&TestRequest::with_uri(path).to_http_request(), "/stats/").ok();
        assert_eq!(name("/stats/a%2Fb").as_deref(), Some("a/b"));
        assert_eq!(name("/stats/a/b").as_deref(), Some("a/b"));
        assert_eq!(name("/stats/%C3%BC%20%25%2B+%F0%9F%9A%80").as_deref(), Some("ü %++🚀"));
        assert_eq!(name("/stats/%2525").as_deref(), Some("%25"));
        for wrong in ["/stats/", "/stats/%FF", "/stats/a%2", "/stats/%zz", "/other/a"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_names_are_parted_by_the_last_separator() {
        let names = |path: &str| {
            let req = TestRequest::with_uri(path).to_http_request();
            names_around(&req, "/stats/", "/steps/", "/rebaseline").ok()
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(names("/stats/a%2Fb/steps/c%20d/rebaseline"), pair("a/b", "c d"));
        assert_eq!(names("/stats/a/steps/b/steps/c/rebaseline"), pair("a/steps/b", "c"));
        assert_eq!(names("/stats/a/steps%2Fb/steps/c%2Fd/rebaseline"), pair("a/steps/b", "c/d"));
        assert_eq!(names("/stats/a/steps//rebaseline"), None);
    }

    #[test]
    fn a_template_has_no_expressions() {
        assert_eq!(template("/workflows/{id}"), "/workflows/{id}");
        assert_eq!(template("/stats/{a:.+}/steps/{b:[^/]{1,9}}/x"), "/stats/{a}/steps/{b}/x");
    }
}
