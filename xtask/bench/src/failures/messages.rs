//! Invented failures: messages, and executions whose steps fail with them.
//!
//! A hundred kinds of failure, each with words and details of its own and a hundred variants. Words are drawn as they are in
//! language: the n-th most frequent one about 1/n as often as the first, so that a few are in most messages. Each time
//! a failure occurs its numbers, addresses and ids are others.
//!
//! Invariant: the same number gives the same failure, and different numbers differ in their words.

use std::io::Write as _;

use tracer_core::time::Timestamp;

use crate::script::{Script, with_body};

/// Kinds of failures.
const KINDS: u64 = 100;
/// Different words.
const WORDS: f64 = 3_000.0;
/// Failed steps of each execution.
pub(crate) const STEPS: u64 = 10;

/// Returns the message of a failure, as it reads when it occurs for the n-th time.
pub(crate) fn message(failure: u64, time: u64) -> String {
    let (kind, variant) = (failure % KINDS, failure / KINDS);
    let noise = mix(failure ^ mix(time));
    let mut text = String::with_capacity(160);
    for place in 0..6 + kind % 6 {
        push(&mut text, &frequent_word(mix(kind * 64 + place)));
    }
    for place in 0..3 {
        push(&mut text, &frequent_word(mix(failure * 64 + 32 + place)));
    }
    // What makes each variant another one.
    push(&mut text, &word(10_000 + variant * KINDS + kind));
    let (host, id, millis) = (noise % 250, noise >> 8, noise % 30_000);
    let parts = [
        format!(" on host 10.0.7.{host}"),
        format!(", request a1{id:014x}"),
        format!(" after {millis} ms"),
        format!(": /var/run/{millis}.sock"),
    ];
    for (place, part) in parts.iter().enumerate() {
        if mix(kind) >> place & 1 == 1 {
            text.push_str(part);
        }
    }
    text
}

/// Returns words that most messages have.
pub(crate) fn commonest(words: u64) -> String {
    let all: Vec<String> = (0..words).map(word).collect();
    all.join(" ")
}

fn push(text: &mut String, word: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(word);
}

/// Draws a word.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number below a few thousand"
)]
fn frequent_word(noise: u64) -> String {
    let part = (noise >> 11) as f64 / (1_u64 << 53) as f64;
    word(WORDS.powf(part) as u64 - 1)
}

/// Returns the word of a number: of letters alone.
fn word(number: u64) -> String {
    let mut left = number + 26;
    let mut word = String::new();
    while left > 0 {
        word.push(char::from(b'a' + u8::try_from(left % 26).unwrap_or_default()));
        left /= 26;
    }
    word
}

/// Mixes the bits of a number (SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Returns the execution of a number, as `POST /import` takes it.
fn execution(number: u64, distinct: u64, started_at: i64, out: &mut Vec<u8>) {
    let (from, to) = (Timestamp::from_micros(started_at), Timestamp::from_micros(started_at + 1_000_000));
    let id = u128::from(mix(number)) << 64 | u128::from(number + 1);
    // Writing into memory does not fail.
    let _written = write!(
        out,
        r#"{{"workflow_id":"wf_{id:032x}","workflow_name":"flow {}","started_at":"{from}","ended_at":"{to}","status":"failed","steps":["#,
        number % 20
    );
    for place in 0..STEPS {
        let occurrence = number * STEPS + place;
        let (failure, time) = (occurrence % distinct, occurrence / distinct);
        let comma = if place > 0 { "," } else { "" };
        let _written = write!(
            out,
            r#"{comma}{{"step_id":"st_{:016x}","step_name":"work","started_at":"{from}","duration_ms":{},"status":"failed","error":{{"type":"TaskError","message":"{}"}}}}"#,
            occurrence + 1,
            50 + occurrence % 100,
            message(failure, time),
        );
    }
    out.extend_from_slice(b"]}");
}

/// Imports every n-th execution.
pub(crate) struct Imports {
    pub(crate) next: u64,
    pub(crate) every: u64,
    pub(crate) executions: u64,
    pub(crate) distinct: u64,
    /// Microseconds since 1970 from which on they start, and how far apart.
    pub(crate) from: i64,
    pub(crate) apart: i64,
    pub(crate) body: Vec<u8>,
}

impl Script for Imports {
    const OPERATIONS: &'static [&'static str] = &["POST /import"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        if self.next >= self.executions {
            return None;
        }
        self.body.clear();
        let started_at = self.from + self.apart * i64::try_from(self.next).ok()?;
        execution(self.next, self.distinct, started_at, &mut self.body);
        with_body(out, "POST", &[b"/import"], &self.body);
        self.next += self.every;
        Some(0)
    }

    fn take(&mut self, status: u16, _: &[u8]) -> bool {
        status == 201
    }
}

/// Asks for each of some paths once.
pub(crate) struct Each(pub(crate) std::vec::IntoIter<String>);

impl Script for Each {
    const OPERATIONS: &'static [&'static str] = &["GET"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        out.extend_from_slice(&crate::script::get(&self.0.next()?));
        Some(0)
    }

    fn take(&mut self, status: u16, _: &[u8]) -> bool {
        status == 200
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tracer_core::similarity::Tokens;

    use super::*;

    #[test]
    fn failures_differ_by_their_number_and_not_by_their_time() {
        let id = |failure, time| Tokens::of(&message(failure, time)).fingerprint();
        let all: HashSet<_> = (0..10_000).map(|failure| id(failure, 0)).collect();
        assert_eq!(all.len(), 10_000);
        assert!((0..1_000).all(|failure| id(failure, 1) == id(failure, 77)));
    }
}
