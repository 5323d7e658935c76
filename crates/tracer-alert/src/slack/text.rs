//! Text as Slack's mrkdwn reads it: what clients wrote stays what it is.
//!
//! A client's text is shown as code, in which nothing is formatted, and its `&`, `<` and `>` are escaped, so that
//! it mentions nobody and links nowhere. Lengths are counted in UTF-16 code units after escaping: nothing that
//! Slack may count by is more.
//! Not here: what is said (`message`).

use tracer_core::time::Timestamp;

use crate::words::{self, shortened};

/// Returns what Slack shows as this text (<https://docs.slack.dev/messaging/formatting-message-text/#escaping>).
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns a client's text on one line, cut to so many characters, without what would turn the text around it.
pub(super) fn plain(text: &str, most_chars: usize) -> String {
    // Line breaks, and what embeds, overrides or isolates a direction of writing: of the rest of a line it would
    // make something else. Right-to-left letters need none of it.
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text: String = text.chars().map(|c| if is_odd(c) { ' ' } else { c }).collect();
    shortened(&text, most_chars)
}

/// Returns a client's text as code, cut to so many characters.
pub(super) fn code(text: &str, most_chars: usize) -> String {
    // A backtick would end the code; this one looks like it.
    let text = plain(text, most_chars).replace('`', "ˋ");
    match text.trim() {
        "" => "–".to_owned(),
        text => format!("`{}`", escape(text)),
    }
}

/// Returns a link; `label` is ours.
pub(super) fn link(url: &str, label: &str) -> String {
    format!("<{}|{label}>", escape(url))
}

/// Returns a time that every reader sees in their own zone.
pub(super) fn time(at: Timestamp) -> String {
    let unix = at.as_micros().div_euclid(1_000_000);
    format!("<!date^{unix}^{{date_short_pretty}} {{time_secs}}|{}>", words::time(at))
}

/// Returns the number of UTF-16 code units.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Returns as much of a plain text as has so many UTF-16 code units; a cut is marked.
pub(super) fn fit(text: &str, most_units: usize) -> String {
    if units(text) <= most_units {
        return text.to_owned();
    }
    let mut left = most_units.saturating_sub(1);
    let mut fitting: String = text
        .chars()
        .take_while(|c| {
            let fits = c.len_utf16() <= left;
            left = left.saturating_sub(c.len_utf16());
            fits
        })
        .collect();
    fitting.push('…');
    fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_wrote_is_code_that_cannot_be_left() {
        for (text, told) in [
            ("load", "`load`"),
            ("<!channel>", "`&lt;!channel&gt;`"),
            ("a`b```c", "`aˋbˋˋˋc`"),
            ("a\nb\u{202e}c\u{2028}d", "`a b c d`"),
            (" \t", "–"),
            ("שלום", "`שלום`"),
            ("123456789012", "`123456789…`"),
        ] {
            assert_eq!(code(text, 10), told);
        }
    }

    #[test]
    fn a_text_is_cut_by_the_largest_count() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("🔥🔥🔥", 6), "🔥🔥🔥");
        assert_eq!(fit("🔥🔥🔥", 5), "🔥🔥…");
        assert_eq!(fit("🔥🔥🔥", 4), "🔥…");
    }
}
