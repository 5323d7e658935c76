//! One linear look at a body before it is parsed: nesting, and pairs of surrogates.
//!
//! A parser would refuse both too, but not everywhere (it skips what a type ignores), and not with a status
//! that says "out of bounds".

use tracer_core::limits;

use crate::error::ApiError;

/// Checks that a text is an object, not nested too deeply, and without half a surrogate pair in an escape.
///
/// # Errors
/// 400 if it is no object, 422 for the others. What is not JSON at all is left to the parser.
pub(super) fn check(text: &str) -> Result<(), ApiError> {
    let bytes = text.as_bytes();
    if bytes.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')) != Some(&b'{') {
        return Err(ApiError::bad_request("The body must be a JSON object."));
    }
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > limits::JSON_DEPTH {
                    let most = limits::JSON_DEPTH;
                    return Err(ApiError::Unprocessable(
                        format!("The body must not be nested more than {most} levels deep.").into(),
                    ));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = skip_string(bytes, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// Returns where the string that began before `at` has ended.
fn skip_string(bytes: &[u8], mut at: usize) -> Result<usize, ApiError> {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at + 1),
            b'\\' if bytes.get(at + 1) == Some(&b'u') => at = skip_unicode(bytes, at)?,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    Ok(at)
}

/// Returns where the `\u` escape at `at`, or the pair of them, has ended.
fn skip_unicode(bytes: &[u8], at: usize) -> Result<usize, ApiError> {
    let lone =
        || ApiError::Unprocessable("The body holds half a surrogate pair, which is no character.".into());
    match unit(bytes, at) {
        Some(0xdc00..=0xdfff) => Err(lone()),
        Some(0xd800..=0xdbff) => match unit(bytes, at + 6) {
            Some(0xdc00..=0xdfff) => Ok(at + 12),
            _ => Err(lone()),
        },
        Some(_) => Ok(at + 6),
        // Not four digits: the parser says so.
        None => Ok(at + 2),
    }
}

/// Returns the 16 bits of a `\uXXXX` escape at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = bytes.get(at..at + 6)? else { return None };
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}
