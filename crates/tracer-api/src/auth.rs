//! API keys and their scopes: who may do what.
//!
//! Invariant: a secret is hashed when it is read and never kept; hashes are compared in constant time.
//! Not here: which request needs which scope (`http::gate`).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// Most keys that may be set: every request is compared with all of them.
const MOST_KEYS: usize = 1_000;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Record executions and steps.
    Ingest,
    /// Ask about them, and read the metrics.
    Read,
    /// Change what detection and notification do; implies the others.
    Admin,
}

impl Scope {
    /// Returns the word by which settings name the scope.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Ingest => 1,
            Self::Read => 2,
            Self::Admin => 7,
        }
    }
}

/// One key: its name, what it may do, and the hash of its secret.
#[derive(Clone)]
pub struct ApiKey {
    name: Arc<str>,
    scopes: u8,
    hash: [u8; 32],
}

impl ApiKey {
    /// Returns the name by which logs and limits know the key.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns whether the key may do that.
    #[must_use]
    pub const fn allows(&self, scope: Scope) -> bool {
        self.scopes & scope.bit() == scope.bit()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The keys that are set; empty: everything is open. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(Arc<[ApiKey]>);

/// Why a text is not a list of keys. Says which entry, never what it holds.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ApiKeysError {
    /// An entry without its three parts.
    #[error("entry {0}: expected name:scopes:secret")]
    Form(usize),
    /// A name that is empty, too long, or has other characters than letters, digits, `-`, `_` and `.`.
    #[error("entry {0}: a name has 1 to 64 letters, digits, '-', '_' and '.'")]
    Name(usize),
    /// An unknown scope, or none.
    #[error("entry {0}: a scope is ingest, read or admin, joined by +")]
    Scope(usize),
    /// An empty secret, or one that no header can carry.
    #[error("entry {0}: a secret has 1 to 512 visible ASCII characters without comma")]
    Secret(usize),
    /// A hash that is not 64 hexadecimal digits.
    #[error("entry {0}: after sha256: come 64 hexadecimal digits")]
    Hash(usize),
    /// A name that another entry has.
    #[error("entry {0}: another key has the same name")]
    Duplicate(usize),
    /// Too many entries.
    #[error("must not have more than {MOST_KEYS} keys")]
    TooMany,
}

impl ApiKeys {
    /// Returns whether no key is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key with this secret, if one has it. Takes as long whichever it is.
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<&ApiKey> {
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        self.0
            .iter()
            .fold(None, |found, key| if bool::from(key.hash.ct_eq(&hash)) { Some(key) } else { found })
    }
}

impl FromStr for ApiKeys {
    type Err = ApiKeysError;

    fn from_str(text: &str) -> Result<Self, ApiKeysError> {
        let mut keys: Vec<ApiKey> = Vec::new();
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        for (at, entry) in entries.enumerate() {
            let key = parse_key(at + 1, entry)?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(ApiKeysError::Duplicate(at + 1));
            }
            if keys.len() == MOST_KEYS {
                return Err(ApiKeysError::TooMany);
            }
            keys.push(key);
        }
        Ok(Self(keys.into()))
    }
}

fn parse_key(at: usize, entry: &str) -> Result<ApiKey, ApiKeysError> {
    let mut parts = entry.splitn(3, ':');
    let (Some(name), Some(scopes), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ApiKeysError::Form(at));
    };
    let name_fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(name_fits) {
        return Err(ApiKeysError::Name(at));
    }
    let mut bits = 0;
    for scope in scopes.split('+') {
        bits |= match scope {
            "ingest" => Scope::Ingest.bit(),
            "read" => Scope::Read.bit(),
            "admin" => Scope::Admin.bit(),
            _ => return Err(ApiKeysError::Scope(at)),
        };
    }
    let hash = match secret.strip_prefix("sha256:") {
        Some(digits) => parse_hash(digits).ok_or(ApiKeysError::Hash(at))?,
        None if secret.is_empty() || secret.len() > 512 || !secret.bytes().all(|b| b.is_ascii_graphic()) => {
            return Err(ApiKeysError::Secret(at));
        }
        None => Sha256::digest(secret.as_bytes()).into(),
    };
    Ok(ApiKey { name: name.into(), scopes: bits, hash })
}

fn parse_hash(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let [high, low] = pair else { return None };
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

impl<'de> serde::Deserialize<'de> for ApiKeys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A listener that other machines reach, and no key to keep them out.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0} can be reached by other machines, and no API key is set: set TRACER_API_KEYS=name:scopes:secret, \
     listen on 127.0.0.1, or pass --insecure if something in front keeps strangers out"
)]
pub struct Exposed(pub SocketAddr);

/// Checks that nobody is served by accident: without keys, only this machine is, unless `insecure`.
///
/// # Errors
/// [`Exposed`], with the address that others reach.
pub fn check_exposure(listen: &[SocketAddr], keys: &ApiKeys, insecure: bool) -> Result<(), Exposed> {
    if insecure || !keys.is_empty() {
        return Ok(());
    }
    match listen.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
        Some(reachable) => Err(Exposed(*reachable)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> ApiKeys {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_may_do_what_its_scopes_say() {
        let keys = keys("ci:ingest:one, grafana:read:two,app:ingest+read:three,ops:admin:four:with:colons");
        let may = |secret: &str| {
            let key = keys.find(secret)?;
            Some([Scope::Ingest, Scope::Read, Scope::Admin].map(|scope| key.allows(scope)))
        };
        assert_eq!(may("one"), Some([true, false, false]));
        assert_eq!(may("two"), Some([false, true, false]));
        assert_eq!(may("three"), Some([true, true, false]));
        assert_eq!(may("four:with:colons"), Some([true, true, true]));
        assert_eq!(may("five"), None);
        assert_eq!(may(""), None);
    }

    #[test]
    fn the_hash_of_a_secret_stands_for_it() {
        let hash = "sha256:2BD806C97F0E00AF1A1FC3328FA763A9269723C8DB8FAC4F93AF71DB186D6E90";
        assert_eq!(keys(&format!("a:read:{hash}")).find("alice").map(|key| &**key.name()), Some("a"));
    }

    #[test]
    fn what_is_not_a_key_is_refused_by_its_place_without_showing_it() {
        let fault = |text: &str| text.parse::<ApiKeys>().unwrap_err();
        assert_eq!(fault("hunter2"), ApiKeysError::Form(1));
        assert_eq!(fault("a:read:x,b:read"), ApiKeysError::Form(2));
        assert_eq!(fault("a b:read:x"), ApiKeysError::Name(1));
        assert_eq!(fault("a::x"), ApiKeysError::Scope(1));
        assert_eq!(fault("a:write:x"), ApiKeysError::Scope(1));
        assert_eq!(fault("a:read:"), ApiKeysError::Secret(1));
        assert_eq!(fault("a:read:sha256:abc"), ApiKeysError::Hash(1));
        assert_eq!(fault("a:read:x,a:read:y"), ApiKeysError::Duplicate(2));
        assert!(!format!("{:?}", keys("a:read:hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_listener_beyond_this_machine_needs_keys_or_consent() {
        let check = |listen: &str, keys_text: &str, insecure| {
            check_exposure(&[listen.parse().unwrap()], &keys(keys_text), insecure).is_ok()
        };
        for safe in ["127.0.0.1:8000", "127.8.8.8:1", "[::1]:8000", "[::ffff:127.0.0.1]:1"] {
            assert!(check(safe, "", false), "{safe}");
        }
        for reachable in ["0.0.0.0:8000", "[::]:8000", "192.168.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(!check(reachable, "", false), "{reachable}");
            assert!(check(reachable, "", true), "{reachable}");
            assert!(check(reachable, "a:read:x", false), "{reachable}");
        }
    }
}
