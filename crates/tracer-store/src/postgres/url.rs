//! Reads a connection string, and the parameters of it that the driver does not know.
//!
//! The driver knows `sslmode=disable|prefer|require` and fails on everything else that libpq documents; what is about
//! TLS is taken out here before the driver sees the rest.
//!
//! Invariant: no message repeats any part of the string but the name of a parameter: it may hold a password.
//! Not here: what a mode means for the connection (`tls`).

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;

use crate::error::OpenError;

/// How a connection is to be protected: the values of libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum SslMode {
    /// Never by TLS.
    Disable,
    /// By TLS where the server offers it; nothing is verified. Also what `allow` means here.
    #[default]
    Prefer,
    /// By TLS or not at all; the certificate is verified only if `sslrootcert` is given.
    Require,
    /// By TLS, and the certificate must come from a trusted authority.
    VerifyCa,
    /// By TLS, and the certificate must come from a trusted authority and be the host's.
    VerifyFull,
}

/// What a connection string says.
#[derive(Debug)]
pub(super) struct Target {
    /// What the driver understands of it.
    pub(super) config: Config,
    /// How to protect the connection.
    pub(super) mode: SslMode,
    /// The authorities to trust, in PEM; those of the platform if none.
    pub(super) root_cert: Option<PathBuf>,
}

/// What was said about TLS.
#[derive(Default)]
struct Tls {
    mode: Option<String>,
    root_cert: Option<String>,
}

/// Reads a connection string: a URL (`postgres://…`) or `key=value` pairs.
///
/// # Errors
/// [`OpenError::Url`] says which parameter is wrong.
pub(super) fn parse(text: &str) -> Result<Target, OpenError> {
    let mut tls = Tls::default();
    let rest = match text.split_once('?') {
        Some((base, query)) if text.contains("://") => without_tls_in_query(base, query, &mut tls),
        Some(_) | None if text.contains("://") => text.to_owned(),
        Some(_) | None => without_tls_in_pairs(text, &mut tls)?,
    };
    let config: Config = rest.parse().map_err(|error| refused(explain(&error)))?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(refused("it names no host"));
    }
    let mode = match tls.mode.as_deref() {
        None => SslMode::default(),
        Some("disable") => SslMode::Disable,
        Some("allow" | "prefer") => SslMode::Prefer,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(_) => {
            return Err(refused("sslmode must be disable, allow, prefer, require, verify-ca or verify-full"));
        }
    };
    // libpq's word for the authorities of the platform, which are the default here.
    let root_cert = tls.root_cert.filter(|path| path != "system").map(PathBuf::from);
    Ok(Target { config, mode, root_cert })
}

impl Tls {
    /// Takes a parameter if it is about TLS.
    fn take(&mut self, key: &str, value: &str) -> bool {
        match key {
            "sslmode" => self.mode = Some(value.to_owned()),
            "sslrootcert" => self.root_cert = Some(value.to_owned()),
            _ => return false,
        }
        true
    }
}

fn without_tls_in_query(base: &str, query: &str, tls: &mut Tls) -> String {
    let stays = |pair: &&str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        !tls.take(key, &percent_decode_str(value).decode_utf8_lossy())
    };
    let kept: Vec<&str> = query.split('&').filter(stays).collect();
    if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) }
}

fn without_tls_in_pairs(text: &str, tls: &mut Tls) -> Result<String, OpenError> {
    let mut kept = String::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        if letters.peek().is_none() {
            return Ok(kept);
        }
        let mut key = String::new();
        while let Some(letter) = letters.next_if(|letter| *letter != '=') {
            key.push(letter);
        }
        if letters.next().is_none() {
            return Err(refused("it is neither a URL nor pairs of the form key=value"));
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let value = quoted_value(&mut letters).ok_or_else(|| refused("a quote is not closed"))?;
        if !tls.take(key.trim(), &value) {
            let escaped = value.replace('\\', "\\\\").replace('\'', "\\'");
            kept.push_str(&format!("{}='{escaped}' ", key.trim()));
        }
    }
}

/// Reads a value, bare or in single quotes, with backslash as the escape; none if its quote is not closed.
fn quoted_value(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let quoted = letters.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match letters.next() {
            None => return (!quoted).then_some(value),
            Some('\\') => value.extend(letters.next()),
            Some('\'') if quoted => return Some(value),
            Some(letter) if !quoted && letter.is_whitespace() => return Some(value),
            Some(letter) => value.push(letter),
        }
    }
}

fn explain(error: &tokio_postgres::Error) -> String {
    // Of the driver's causes only these two say nothing but a parameter's name.
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let harmless =
        ["unknown option `", "invalid value for option `"].iter().any(|begin| cause.starts_with(begin));
    if harmless { cause } else { "it is neither a URL nor pairs of the form key=value".to_owned() }
}

fn refused(reason: impl Into<String>) -> OpenError {
    OpenError::Url { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(target) => {
                let user = target.config.get_user().unwrap_or("-");
                let database = target.config.get_dbname().unwrap_or("-");
                let roots = target.root_cert.map_or("platform".into(), |path| path.display().to_string());
                format!("{user} {database} {:?} {roots}", target.mode)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_libpq_understands_of_tls_is_understood() {
        assert_eq!(shown("postgres://u:p@h/d"), "u d Prefer platform");
        assert_eq!(shown("postgres://u@h/d?sslmode=allow"), "u d Prefer platform");
        assert_eq!(
            shown("postgresql://u@h/d?sslmode=verify-full&sslrootcert=%2Fa%20b.pem"),
            "u d VerifyFull /a b.pem"
        );
        assert_eq!(
            shown("postgres://u@h/d?sslrootcert=system&application_name=x&sslmode=verify-ca"),
            "u d VerifyCa platform"
        );
        assert_eq!(shown("host=h user=u dbname=d sslmode=disable"), "u d Disable platform");
        assert_eq!(
            shown(r"host=h user='o\'b' dbname = 'a b' sslrootcert='/c d.pem' sslmode=require"),
            "o'b a b Require /c d.pem"
        );
    }

    #[test]
    fn a_refusal_names_the_parameter_and_nothing_else() {
        for text in [
            "postgres://u:secret@h:secret/d",
            "postgres://u:secret@h/d?sslmode=secret",
            "secret",
            "host='secret",
            "host=h secret",
            "postgres://u:secret@h/d?sslcert=secret",
            "user=secret",
        ] {
            let refusal = shown(text);
            assert!(
                refusal.starts_with("the PostgreSQL connection string cannot be used"),
                "{text}: {refusal}"
            );
            assert!(!refusal.contains("secret"), "{text}: {refusal}");
        }
        assert!(shown("postgres://h/d?sslcert=x").ends_with("unknown option `sslcert`"));
    }
}
