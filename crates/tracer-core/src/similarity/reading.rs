//! How a text becomes tokens.
//!
//! Text is parted at blanks; what is left of each part after addresses and paths is parted at punctuation. What is
//! different each time becomes a token that says only what it is: `<url>`, `<email>`, `<address>`, `<path>`, `<uuid>`,
//! `<id>`, `<hex>`, `<number>`. No word looks like one of these, because words have no brackets. A number inside a word
//! becomes `0`: `worker-17` and `worker17b` are `worker <number>` and `worker0b`.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::limits;

/// What begins and ends a quotation.
const QUOTES: [char; 3] = ['"', '\'', '`'];
/// Shortest run of hexadecimal digits, at least one of them a digit, that is no word.
const HEX_CHARS: usize = 8;
/// Shortest word with digits in several places that is an id.
const ID_CHARS: usize = 6;
/// Shortest word with a digit that is an id whatever it looks like.
const LONG_ID_CHARS: usize = 32;
/// Most letters that a number may carry as its unit.
const UNIT_CHARS: usize = 3;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Distinct tokens in the order in which they first occurred.
    pub(super) tokens: Vec<String>,
    /// What was masked, in lower case.
    pub(super) literals: Vec<String>,
    seen: HashSet<String>,
}

impl Reading {
    /// Reads texts, one after the other.
    pub(super) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut reading = Self::default();
        for text in texts {
            reading.read(text);
        }
        reading
    }

    fn read(&mut self, text: &str) {
        let mut rest = text.trim_start();
        while !rest.is_empty() && !self.is_full() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            rest = match quoted_path(rest, end) {
                Some((before, path, after)) => {
                    self.read_part(before);
                    self.mask("<path>", path);
                    after
                }
                None => {
                    self.read_part(part);
                    behind
                }
            }
            .trim_start();
        }
    }

    fn is_full(&self) -> bool {
        self.tokens.len() >= limits::FAILURE_TOKENS
    }

    fn add(&mut self, token: &str) {
        if !self.is_full() && !self.seen.contains(token) {
            self.seen.insert(token.to_owned());
            self.tokens.push(token.to_owned());
        }
    }

    fn mask(&mut self, kind: &str, literal: &str) {
        self.add(kind);
        if self.literals.len() < limits::FAILURE_TOKENS {
            self.literals.push(literal.to_ascii_lowercase());
        }
    }

    /// Reads what has no blank.
    fn read_part(&mut self, part: &str) {
        if let Some((before, url, after)) = url(part) {
            self.read_part(before);
            self.mask("<url>", url);
            // What is left is shorter, but a text may hold thousands: these are rarely more than one.
            return self.read_part_behind(after);
        }
        let parts = |c: char| QUOTES.contains(&c) || "=()[]{},;<>|!?*".contains(c);
        for piece in part.split(parts) {
            self.read_piece(piece);
        }
    }

    /// Reads what follows an address: a second one in the same part counts as words.
    fn read_part_behind(&mut self, part: &str) {
        for piece in part.split(|c: char| !c.is_alphanumeric()) {
            self.read_words(piece);
        }
    }

    /// Reads what has neither a blank nor brackets nor quotation marks.
    fn read_piece(&mut self, piece: &str) {
        let piece = piece.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '/');
        let trimmed = piece.trim_start_matches(|c: char| !c.is_alphanumeric() && !"/\\.~".contains(c));
        if is_path(trimmed) {
            return self.mask("<path>", trimmed);
        }
        if let Some((before, path)) = trimmed.split_once(':').filter(|(_, behind)| is_path(behind)) {
            self.read_piece_words(before);
            return self.mask("<path>", path);
        }
        if is_email(trimmed) {
            return self.mask("<email>", trimmed);
        }
        self.read_piece_words(piece);
    }

    fn read_piece_words(&mut self, piece: &str) {
        let parts = |c: char| !c.is_alphanumeric() && !".:-_+".contains(c);
        for atom in piece.split(parts) {
            self.read_atom(atom);
        }
    }

    /// Reads what may be written with dots, colons and dashes in it.
    fn read_atom(&mut self, atom: &str) {
        let edge = |c: char| !c.is_alphanumeric();
        let bare = atom.trim_matches(edge);
        if bare.is_empty() {
            return;
        }
        if [atom, bare].into_iter().any(is_address) {
            self.mask("<address>", bare);
        } else if is_uuid(bare) {
            self.mask("<uuid>", bare);
        } else if is_own_id(bare) {
            self.mask("<id>", bare);
        } else if is_number(bare) {
            self.mask("<number>", bare);
        } else {
            bare.split(edge).for_each(|words| self.read_words(words));
        }
    }

    /// Reads letters and digits. Where they are of a script without blanks, each is a word.
    fn read_words(&mut self, words: &str) {
        let mut rest = words;
        while let Some(first) = rest.chars().next() {
            let alone = is_ideographic(first);
            let end = if alone { first.len_utf8() } else { rest.find(is_ideographic).unwrap_or(rest.len()) };
            let (word, behind) = rest.split_at(end);
            self.read_word(&word.to_lowercase(), word);
            rest = behind;
        }
    }

    fn read_word(&mut self, word: &str, as_written: &str) {
        let is_digit = |c: char| c.is_numeric();
        let chars = word.chars().count();
        if !word.contains(is_digit) {
            let cut: String = word.chars().take(limits::FAILURE_TOKEN_CHARS).collect();
            return self.add(&cut);
        }
        let hex = word.strip_prefix("0x").unwrap_or(word);
        let is_hex = !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let unit = word.trim_start_matches(is_digit);
        let runs = word.split(|c: char| !is_digit(c)).filter(|run| !run.is_empty()).count();
        if unit.is_empty() {
            self.mask("<number>", as_written);
        } else if is_hex && (chars >= HEX_CHARS || hex.len() < word.len()) {
            self.mask("<hex>", as_written);
        } else if unit.len() < word.len() && unit.chars().count() <= UNIT_CHARS && !unit.contains(is_digit) {
            self.mask("<number>", as_written);
        } else if (runs > 1 && chars >= ID_CHARS) || chars >= LONG_ID_CHARS {
            self.mask("<id>", as_written);
        } else {
            self.mask(&without_digits(word), as_written);
        }
    }
}

/// Returns a word with a single `0` for each number in it.
fn without_digits(word: &str) -> String {
    let mut masked = String::with_capacity(word.len());
    for c in word.chars() {
        if !c.is_numeric() {
            masked.push(c);
        } else if !masked.ends_with('0') {
            masked.push('0');
        }
    }
    masked
}

/// Finds a quoted path that begins before `end`; it may hold blanks. Returns what is before, within and behind.
fn quoted_path(text: &str, end: usize) -> Option<(&str, &str, &str)> {
    let (part, _) = text.split_at(end);
    let open = part.find(QUOTES)?;
    let (before, quoted) = text.split_at(open);
    let mut chars = quoted.chars();
    let quote = chars.next()?;
    let (path, behind) = chars.as_str().split_once(quote)?;
    (is_path(path) && !path.contains('\n')).then_some((before, path, behind))
}

/// Finds an address with a scheme; returns what is before it, the address, and what is behind.
fn url(part: &str) -> Option<(&str, &str, &str)> {
    let (scheme, _) = part.split_at(part.find("://")?);
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let before = scheme.trim_end_matches(is_scheme);
    if before.len() == scheme.len() {
        return None;
    }
    let (before, url) = part.split_at(before.len());
    let end = url.find(|c: char| QUOTES.contains(&c) || "<>()[]{},;|".contains(c)).unwrap_or(url.len());
    let (url, behind) = url.split_at(end);
    Some((before, url.trim_end_matches(['.', ':', '!', '?']), behind))
}

/// Whether it begins as a path does, or has folders and a file with an extension.
fn is_path(text: &str) -> bool {
    let begins = ["/", "./", "../", "~/", "\\\\", ".\\", "..\\"].iter().any(|root| text.starts_with(root));
    let mut chars = text.chars();
    let drive = chars.next().is_some_and(|letter| letter.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && chars.next().is_some_and(|separator| "/\\".contains(separator));
    let has_name = text.contains(char::is_alphanumeric);
    let (folders, file) = text.rsplit_once(['/', '\\']).unwrap_or_default();
    let with_extension = !folders.is_empty()
        && file.split_once('.').is_some_and(|(name, extension)| !name.is_empty() && !extension.is_empty());
    has_name && (begins || drive || with_extension)
}

fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.split_once('@') else { return false };
    name.contains(char::is_alphanumeric) && domain.split_once('.').is_some_and(|(host, _)| !host.is_empty())
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') && lengths.eq([8, 4, 4, 4, 12])
}

/// Whether it is an id of this service: of an execution, a step or an incident.
fn is_own_id(text: &str) -> bool {
    let Some((kind, digits)) = text.split_once('_') else { return false };
    let length = match kind.to_ascii_lowercase().as_str() {
        "wf" | "inc" => 32,
        "st" => 16,
        _ => return false,
    };
    digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it is a number, a version, a date or a time of day.
fn is_number(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(char::is_numeric) && chars.all(|c| c.is_numeric() || ".:-_+tTzZ".contains(c))
}

/// Whether it is a word by itself: Han, Hiragana and Katakana are written without blanks.
const fn is_ideographic(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}
