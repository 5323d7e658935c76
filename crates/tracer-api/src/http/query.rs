//! Query parameters: known by name, each at most once unless it may repeat, never more than are declared.

use std::borrow::Cow;
use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use super::path;
use crate::error::ApiError;

/// Parameters that a handler understands.
pub trait FromQuery: Sized {
    /// Names that may occur once.
    const ONCE: &'static [&'static str];
    /// Names that may repeat.
    const REPEATED: &'static [&'static str] = &[];

    /// Reads the parameters; unknown and repeated ones have been refused already.
    ///
    /// # Errors
    /// 400 or 422, in the words of the parameter.
    fn from_pairs(pairs: &Pairs<'_>) -> Result<Self, ApiError>;
}

/// Extracts the parameters of a handler.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

/// For handlers without parameters: refuses all.
#[derive(Clone, Copy, Debug)]
pub struct NoParameters;

impl FromQuery for NoParameters {
    const ONCE: &'static [&'static str] = &[];

    fn from_pairs(_: &Pairs<'_>) -> Result<Self, ApiError> {
        Ok(Self)
    }
}

/// Decoded names and values, in the order they were sent.
#[derive(Debug)]
pub struct Pairs<'a>(Vec<(&'static str, Cow<'a, str>)>);

impl<'a> Pairs<'a> {
    /// Parses `name=value&…`.
    ///
    /// # Errors
    /// 400 if it is not percent-encoded UTF-8, or a name is unknown, or repeats and may not.
    pub fn parse(query: &'a str, once: &[&'static str], repeated: &[&'static str]) -> Result<Self, ApiError> {
        let mut pairs: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decode(name)?;
            let known = once.iter().chain(repeated).find(|known| **known == name);
            let Some(known) = known else { return Err(unknown(once, repeated)) };
            if once.contains(known) && pairs.iter().any(|(earlier, _)| earlier == known) {
                return Err(ApiError::bad_request(format!("The query parameter '{known}' must occur once.")));
            }
            pairs.push((known, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// Returns a parameter's text, if it was sent.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Returns every text of a parameter that may repeat.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| &**value)
    }

    /// Parses a parameter, if it was sent; `expected` completes "must be …".
    ///
    /// # Errors
    /// 400 if it is anything else.
    pub fn parsed<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        self.read(name, expected, |text| text.parse().ok())
    }

    /// Reads a parameter by a function that returns nothing for what it does not take.
    ///
    /// # Errors
    /// 400 if it takes it not.
    pub fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let refuse = || ApiError::bad_request(format!("The query parameter '{name}' must be {expected}."));
        self.text(name).map(|text| read(text).ok_or_else(refuse)).transpose()
    }
}

fn unknown(once: &[&str], repeated: &[&str]) -> ApiError {
    let known: Vec<String> = once.iter().chain(repeated).map(|name| format!("'{name}'")).collect();
    ApiError::bad_request(if known.is_empty() {
        "This path takes no query parameters.".to_owned()
    } else {
        format!("A query parameter is unknown; this path takes {}.", known.join(", "))
    })
}

fn decode(text: &str) -> Result<Cow<'_, str>, ApiError> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    path::decode(&text.replace('+', " "))
        .map(Cow::Owned)
        .map_err(|_| ApiError::bad_request("The query is not percent-encoded UTF-8."))
}

impl<T: FromQuery> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pairs = Pairs::parse(req.query_string(), T::ONCE, T::REPEATED);
        ready(pairs.and_then(|pairs| T::from_pairs(&pairs)).map(Query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Pairs<'_>, String> {
        Pairs::parse(query, &["limit", "name"], &["attribute"]).map_err(|error| error.to_string())
    }

    #[test]
    fn parameters_are_decoded_and_some_repeat() {
        let pairs = parse("limit=5&name=a%2Fb+c&attribute=k:v&attribute=k2:%C3%BC&").unwrap();
        assert_eq!(pairs.text("name"), Some("a/b c"));
        assert_eq!(pairs.parsed::<u32>("limit", "a number").unwrap(), Some(5));
        assert_eq!(pairs.all("attribute").collect::<Vec<_>>(), ["k:v", "k2:ü"]);
        assert_eq!(pairs.text("absent"), None);
    }

    #[test]
    fn what_is_unknown_repeated_or_undecodable_is_refused_without_echo() {
        let fault = |query: &str| parse(query).unwrap_err();
        assert_eq!(
            fault("limti=hunter2"),
            "A query parameter is unknown; this path takes 'limit', 'name', 'attribute'."
        );
        assert_eq!(fault("limit=1&limit=2"), "The query parameter 'limit' must occur once.");
        assert_eq!(fault("name=%FF"), "The query is not percent-encoded UTF-8.");
        assert_eq!(fault("name=%F"), "The query is not percent-encoded UTF-8.");
        let refused = parse("limit=many").unwrap().parsed::<u32>("limit", "a whole number from 1 to 1000");
        assert_eq!(
            refused.unwrap_err().to_string(),
            "The query parameter 'limit' must be a whole number from 1 to 1000."
        );
    }
}
