//! Bounds what users' names cost in `/metrics`: the first names get series of their own, the rest share one.
//!
//! Invariant: neither the number of series nor their bytes exceed what was allowed, however many names come and
//! however long they are. A name that was admitted stays: a series that comes and goes is worth nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// What stands for every name without a series of its own.
pub const OTHER: &str = "_other";

/// Names without a series that are counted; of more, it is only known that they are so many.
const OVERFLOW_COUNTED: usize = 100_000;

/// Series by name: a handle for each that was admitted, and one for all others.
#[derive(Debug)]
pub struct Series<K, H> {
    most: usize,
    most_bytes: usize,
    admitted: RwLock<Admitted<K, H>>,
    other: OnceLock<Arc<H>>,
    overflow: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Admitted<K, H> {
    handles: HashMap<K, Arc<H>>,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, H> Series<K, H> {
    /// Returns an empty set of at most so many series and bytes.
    #[must_use]
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most,
            most_bytes,
            admitted: RwLock::new(Admitted { handles: HashMap::new(), bytes: 0 }),
            other: OnceLock::new(),
            overflow: Mutex::new(HashSet::new()),
            hasher: RandomState::new(),
        }
    }

    /// Returns the handle of a name, admitting it if there is room for its `bytes`.
    ///
    /// `make` makes a handle: of this name, or, given none, of all others. It runs under a lock.
    pub fn get(&self, key: &K, bytes: impl Fn() -> usize, make: impl Fn(Option<&K>) -> H) -> Arc<H> {
        if let Some(handle) = self.admitted.read().unwrap_or_else(PoisonError::into_inner).handles.get(key) {
            return Arc::clone(handle);
        }
        self.admit(key, bytes(), &make).unwrap_or_else(|| {
            let mut overflow = self.overflow.lock().unwrap_or_else(PoisonError::into_inner);
            if overflow.len() < OVERFLOW_COUNTED {
                overflow.insert(self.hasher.hash_one(key));
            }
            drop(overflow);
            Arc::clone(self.other.get_or_init(|| Arc::new(make(None))))
        })
    }

    /// Returns how many names share the series of all others.
    #[must_use]
    pub fn overflow(&self) -> usize {
        self.overflow.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn admit(&self, key: &K, bytes: usize, make: impl Fn(Option<&K>) -> H) -> Option<Arc<H>> {
        let full = |admitted: &Admitted<K, H>| {
            admitted.handles.len() >= self.most || admitted.bytes + bytes > self.most_bytes
        };
        // Once it is full, every further name comes by here: it must not wait for a writer.
        if full(&self.admitted.read().unwrap_or_else(PoisonError::into_inner)) {
            return None;
        }
        let mut admitted = self.admitted.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = admitted.handles.get(key) {
            return Some(Arc::clone(handle));
        }
        if full(&admitted) {
            return None;
        }
        let handle = Arc::new(make(Some(key)));
        admitted.bytes += bytes;
        admitted.handles.insert(key.clone(), Arc::clone(&handle));
        Some(handle)
    }
}

/// Returns the bytes of a label's value as it is written: a quote, a backslash and a line feed are escaped.
#[must_use]
pub fn escaped_len(value: &str) -> usize {
    value.len() + value.bytes().filter(|b| matches!(b, b'"' | b'\\' | b'\n')).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(series: &Series<String, String>, name: &str) -> String {
        series.get(&name.to_owned(), || name.len(), |key| key.map_or(OTHER, |k| k).to_owned()).to_string()
    }

    #[test]
    fn the_first_names_have_series_and_the_rest_share_one() {
        let series = Series::new(2, 1000);
        assert_eq!(
            ["a", "b", "c", "d", "c", "a"].map(|n| handle(&series, n)),
            ["a", "b", OTHER, OTHER, OTHER, "a"]
        );
        assert_eq!(series.overflow(), 2);
    }

    #[test]
    fn a_name_is_admitted_only_while_its_bytes_fit() {
        let series = Series::new(100, 10);
        assert_eq!(
            ["12345678", "123", "12", "1"].map(|n| handle(&series, n)),
            ["12345678", OTHER, "12", OTHER]
        );
    }

    #[test]
    fn escapes_are_counted() {
        assert_eq!([escaped_len("a\"b\\c"), escaped_len("ü")], [7, 2]);
    }
}
