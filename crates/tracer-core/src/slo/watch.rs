//! What a process says of budgets that burn, and when: enough to keep their incidents right, and no more.
//!
//! Whether an incident is open is the store's to know. A process only remembers what it has said itself: that a budget
//! burns is said when it begins or becomes worse, and again every minute; that it is over, once, after it has not burned
//! for a while. So after its start a process says once of everything that does not burn that it is over, in case that
//! the one before it had no time to.
//!
//! Invariant: what could not be said is said the next time.
//! Not here: what saying it changes (`record`).

use std::collections::HashMap;

use super::{Sli, SloName};
use crate::detect::Severity;
use crate::time::{Micros, Timestamp};

/// How long a budget must not have burned too fast before its incident is over. With little traffic a short window is
/// empty now and then, and one trouble would otherwise be many incidents.
pub const HOLD: Micros = Micros::from_secs(300);

/// How often it is said again that a budget burns: so soon an incident is right again that was ended by hand, or by a
/// replica that had heard less.
pub const RESENT: Micros = Micros::from_secs(60);

/// What is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// That it burns.
    Burns,
    /// That it is over.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When it was last seen to burn, or else first looked at.
    burned_at: Timestamp,
    /// When it was last said that it burns, and how badly, since it began to.
    said: Option<(Timestamp, Severity)>,
    /// Whether it was said that it is over.
    is_over: bool,
}

/// What a process has seen, and said.
#[derive(Debug, Default)]
pub struct SloWatch {
    seen: HashMap<(SloName, Sli), Seen>,
}

impl SloWatch {
    /// Looks at an indicator, which burns or does not; returns what is to be said. It is to be said again until
    /// [`SloWatch::said`] is told.
    pub fn look(&mut self, slo: &SloName, sli: Sli, burns: Option<Severity>, now: Timestamp) -> Option<Say> {
        let new = Seen { burned_at: now, said: None, is_over: false };
        let seen = self.seen.entry((slo.clone(), sli)).or_insert(new);
        let Some(severity) = burns else {
            let is_quiet = now.since(seen.burned_at) >= HOLD;
            return (is_quiet && !seen.is_over).then_some(Say::Over);
        };
        (seen.burned_at, seen.is_over) = (now, false);
        let is_news = seen.said.is_none_or(|(at, worst)| severity > worst || now.since(at) >= RESENT);
        is_news.then_some(Say::Burns)
    }

    /// Notes that it was said what [`SloWatch::look`] returned.
    pub fn said(&mut self, slo: &SloName, sli: Sli, burns: Option<Severity>, now: Timestamp) {
        let Some(seen) = self.seen.get_mut(&(slo.clone(), sli)) else { return };
        (seen.said, seen.is_over) = (burns.map(|severity| (now, severity)), burns.is_none());
    }
}
