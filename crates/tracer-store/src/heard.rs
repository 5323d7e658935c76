//! Which services and operations this process has written already, so that what is heard of all the time costs nothing.
//!
//! A name is written when it is first heard of, and then once an hour, which is how exactly a store knows when it was
//! last seen. Names are remembered by their hashes.
//!
//! Invariant: what is remembered was committed; and it is bounded, whatever names come.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use tracer_core::limits;
use tracer_core::record::ServiceChanges;
use tracer_core::span::SpanKind;
use tracer_core::time::{Micros, Timestamp};

/// How long a name is known without being written again.
const KNOWN: Micros = Micros::from_secs(3_600);
/// Most operations that are remembered of all services together: some 5 MB. Beyond, all is forgotten, which costs a
/// few writes.
const REMEMBERED: usize = 200_000;

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    hasher: RandomState,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// By service: its operations, each with when it was written.
    services: HashMap<u64, HashMap<u64, Timestamp>>,
    operations: usize,
    swept_at: Timestamp,
}

/// What is to be written because it is new, or has not been written for long.
#[derive(Debug, Default)]
pub(crate) struct News<'a> {
    /// Services, sorted.
    pub(crate) services: Vec<&'a str>,
    /// Operations, sorted.
    pub(crate) operations: Vec<(&'a str, &'a str, SpanKind)>,
    /// What to remember of it once it is committed.
    pub(crate) marks: Marks,
}

/// What to remember once it is committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    operations: Vec<(u64, u64)>,
    at: Timestamp,
}

impl Heard {
    /// Returns what of these changes is to be written at `now`. Of names beyond those that are kept, nothing is.
    pub(crate) fn news<'a>(&self, changes: &'a ServiceChanges, now: Timestamp) -> News<'a> {
        let mut news = News { marks: Marks { at: now, ..Marks::default() }, ..News::default() };
        if changes.operations.is_empty() {
            return news;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.sweep(now);
        for (service, operations) in &changes.operations {
            let of_service = self.hasher.hash_one(service);
            let known = written.services.get(&of_service);
            if known.is_none() && written.services.len() >= limits::SERVICES {
                continue;
            }
            let before = news.operations.len();
            let each =
                operations.iter().flat_map(|(name, kinds)| kinds.iter().map(move |kind| (name, *kind)));
            for (name, kind) in each {
                let of_operation = self.hasher.hash_one((name, kind));
                let is_wanted = match known.map(|known| (known.get(&of_operation), known.len())) {
                    Some((Some(at), _)) => now.since(*at) >= KNOWN,
                    Some((None, others)) => others < limits::SERVICE_OPERATIONS,
                    None => true,
                };
                if is_wanted {
                    news.operations.push((service, name, kind));
                    news.marks.operations.push((of_service, of_operation));
                }
            }
            if news.operations.len() > before {
                news.services.push(service);
            }
        }
        news
    }

    /// Remembers what was committed.
    pub(crate) fn remember(&self, marks: Marks) {
        if marks.operations.is_empty() {
            return;
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.operations + marks.operations.len() > REMEMBERED {
            *written = Written { swept_at: written.swept_at, ..Written::default() };
        }
        for (service, operation) in marks.operations {
            let is_new = written.services.entry(service).or_default().insert(operation, marks.at).is_none();
            written.operations += usize::from(is_new);
        }
    }
}

impl Written {
    /// Forgets what would be written again anyway, which makes room for other names.
    fn sweep(&mut self, now: Timestamp) {
        if now.since(self.swept_at) < KNOWN {
            return;
        }
        self.swept_at = now;
        self.services.retain(|_, operations| {
            operations.retain(|_, at| now.since(*at) < KNOWN);
            !operations.is_empty()
        });
        self.operations = self.services.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn changes(names: impl IntoIterator<Item = (String, String)>) -> ServiceChanges {
        let mut operations: BTreeMap<String, BTreeMap<String, BTreeSet<SpanKind>>> = BTreeMap::new();
        for (service, name) in names {
            operations.entry(service).or_default().insert(name, BTreeSet::from([SpanKind::Server]));
        }
        ServiceChanges { operations, ..ServiceChanges::default() }
    }

    fn write(heard: &Heard, secs: i64, changes: &ServiceChanges) -> usize {
        let news = heard.news(changes, Timestamp::from_millis(secs * 1_000));
        let written = news.operations.len();
        heard.remember(news.marks);
        written
    }

    #[test]
    fn a_name_is_written_once_an_hour() {
        let heard = Heard::default();
        let known = changes([("shop".into(), "pay".into())]);
        let written = [0, 1, 3_599, 3_600, 3_601, 7_300].map(|secs| write(&heard, 10_000 + secs, &known));
        assert_eq!(written, [1, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn what_is_not_committed_is_not_remembered() {
        let heard = Heard::default();
        let known = changes([("shop".into(), "pay".into())]);
        for _ in 0..2 {
            assert_eq!(heard.news(&known, Timestamp::from_millis(0)).services, ["shop"]);
        }
    }

    #[test]
    fn of_names_without_end_a_bounded_number_is_written() {
        let heard = Heard::default();
        let mut written = 0;
        for batch in 0..50 {
            let names = (0..100).map(|number| ("shop".to_owned(), format!("{batch}-{number}")));
            written += write(&heard, 1, &changes(names));
        }
        assert_eq!(written, limits::SERVICE_OPERATIONS);
        // An hour later there is room again.
        assert_eq!(write(&heard, 4_000, &changes([("shop".into(), "another".into())])), 1);
        for batch in 0..30 {
            let names = (0..100).map(|number| (format!("{batch}-{number}"), "run".to_owned()));
            written += write(&heard, 4_000, &changes(names));
        }
        assert_eq!(written, limits::SERVICE_OPERATIONS + limits::SERVICES);
    }
}
