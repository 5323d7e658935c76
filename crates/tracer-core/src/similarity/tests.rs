use proptest::prelude::*;

use super::*;
use crate::limits;

fn read(text: &str) -> String {
    Tokens::of(text).joined()
}

#[test]
fn a_text_is_read_as_words_without_case_and_punctuation() {
    assert_eq!(
        read("Connection REFUSED: could not connect, (retrying)"),
        "connect connection could not refused retrying"
    );
    assert_eq!(read("ERR_CONNECTION_REFUSED; e.g. read/write"), "connection e err g read refused write");
    assert_eq!(read("Überlauf der Größe"), "der größe überlauf");
    assert_eq!(read("连接 refused"), "refused 接 连");
    assert_eq!(read(" ?! … -- :: // "), "");
}

#[test]
fn what_differs_each_time_counts_as_its_kind() {
    for (text, expected) in [
        ("after 30s, 1.5 s, 1,000 ms, -7 or 99%", "<number> after ms or s"),
        ("at 2026-01-31T12:00:00.123Z", "<number> at"),
        ("0x7ffe03 deadbeef01 at deadbeef", "<hex> at deadbeef"),
        ("job 0197a3c5-b2f8-7c4e-9d1a-2b3c4d5e6f70", "<uuid> job"),
        ("in wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70, st_b7ad6b7169203331", "<id> in"),
        ("run a8f3k2q failed", "<id> failed run"),
        ("10.0.0.7:5432 and ::1 and [fe80::1]:80 and 1.2.3.4", "<address> <number> and"),
        ("to Jane.Doe+x@example.com.", "<email> to"),
        ("GET https://a.b:80/c?d=1, then", "<url> get then"),
        ("open '/var/my data/x.csv': denied", "<path> denied open"),
        ("C:\\Temp\\a.txt src/main.rs:4:2 ./x ~/y", "<path>"),
        ("file=/tmp/x error:/tmp/y", "<path> error file"),
        ("worker-17 worker17 utf8 node2b", "<number> node0b utf0 worker worker0"),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn failures_that_differ_in_numbers_ids_and_addresses_are_one_group() {
    let id = |kind, message| Tokens::of_failure(&Failure::new(kind, message, Some("stack"))).fingerprint();
    let one = id(Some("TimeoutError"), "Query 4711 on 10.0.0.1 timed out after 30s");
    assert_eq!(one, id(Some("TimeoutError"), "query 5 on 10.9.9.9 timed out after 45s!"));
    assert_ne!(one, id(None, "Query 4711 on 10.0.0.1 timed out after 30s"));
    assert_eq!(one.to_string().parse(), Ok(one));
    for text in ["", "8f2c", "+8f2c1de04b7a4d0f9a4f6f1f0e3f2b1", "8f2c1de04b7a4d0f9a4f6f1f0e3f2b1cc"] {
        assert_eq!(text.parse::<FailureId>(), Err(FailureIdError), "{text}");
    }
}

#[test]
fn a_stored_fingerprint_stays_what_it_is() {
    let shown = Tokens::of("Connection refused by 10.0.0.1 after 30s").fingerprint().to_string();
    insta::assert_snapshot!(shown, @"a87971a5ac3cabd69abb75603d1dfbc5");
}

#[test]
fn a_failure_has_a_bounded_number_of_bounded_words() {
    let word =
        |n: usize| format!("w{}", "abcdefghij".chars().nth(n % 10).unwrap().to_string().repeat(n / 10 + 1));
    let many: Vec<String> = (0..500).map(word).collect();
    let tokens = Tokens::of(&many.join(" "));
    assert_eq!(tokens.len(), limits::FAILURE_TOKENS);
    assert!(tokens.as_slice().contains(&many[0]), "the first ones count");
    assert_eq!(Tokens::of(&"x".repeat(8_192)).as_slice(), ["x".repeat(limits::FAILURE_TOKEN_CHARS)]);
}

#[test]
fn similarity_is_the_share_of_what_both_have() {
    let of = |one: &str, other: &str| Tokens::of(one).similarity(&Tokens::of(other));
    assert_eq!(of("disk is full", "disk is full"), 1.0);
    assert_eq!(of("disk is full", "disk was full"), 0.5);
    assert_eq!(of("disk", "full"), 0.0);
    assert_eq!(of("", ""), 1.0);
    assert_eq!(of("", "disk"), 0.0);
    assert_eq!(of("a b c", "a b c d e f g h i j"), 0.3);
}

#[test]
fn what_is_searched_for_is_looked_for_as_it_was_written_where_groups_hide_it() {
    let words = ErrorWords::new("Order 4711 at https://Shop.example/x").unwrap();
    assert_eq!(words.tokens().joined(), "<number> <url> at order");
    assert_eq!(words.literals(), ["4711", "https://shop.example/x"]);
    let failure = |message| Failure::new(Some("E"), message, None);
    assert!(holds(&failure("order 4711: HTTPS://SHOP.example/x?y"), words.literals()));
    assert!(!holds(&failure("order 4712: https://shop.example/x"), words.literals()));
    assert_eq!(ErrorWords::new(" …!"), None);
}

#[test]
fn only_a_similarity_from_three_tenths_to_one_can_be_asked_for() {
    for similarity in [0.3, 0.5, 1.0] {
        assert_eq!(MinSimilarity::new(similarity).map(MinSimilarity::get), Some(similarity));
    }
    for similarity in [0.0, 0.299_999, 1.000_001, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(MinSimilarity::new(similarity), None, "{similarity}");
    }
}

/// Returns the number behind the first letter of a word.
fn number_of(token: &str) -> u64 {
    token.trim_start_matches(char::is_alphabetic).parse().unwrap()
}

#[test]
fn common_words_are_looked_up_for_small_groups_only_and_the_commonest_for_none() {
    let words = |count: usize| Tokens::from_stored((0..count).map(|word| format!("w{word:02}")));
    let shown = |count, least| {
        let search = Search { tokens: words(count), least: MinSimilarity::new(least).unwrap() };
        let prefix = search.prefix(number_of);
        prefix
            .lookups
            .iter()
            .map(|lookup| format!("{} up to {}", lookup.token, lookup.most))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(3, 0.3), ["w00 up to 10", "w01 up to 5", "w02 up to 1"]);
    assert_eq!(shown(10, 0.8), ["w00 up to 12", "w01 up to 10", "w02 up to 8"]);
    assert_eq!(shown(2, 1.0), ["w00 up to 2"]);
    assert_eq!(shown(0, 0.3), [""; 0]);
}

fn sets() -> impl Strategy<Value = Tokens> {
    prop::collection::vec(0_u8..30, 0..20)
        .prop_map(|letters| Tokens::from_stored(letters.iter().map(|letter| format!("t{letter:02}"))))
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic_and_tokens_are_sorted_unique_and_bounded(text in any::<String>(), noise in "[a-z0-9:/.@'\"\\\\ _-]{0,200}") {
        for text in [text, noise] {
            let tokens = Tokens::of(&text);
            prop_assert!(tokens.as_slice().is_sorted_by(|one, next| one < next));
            prop_assert!(tokens.len() <= limits::FAILURE_TOKENS);
            prop_assert!(tokens.as_slice().iter().all(|token| !token.is_empty() && !token.contains(char::is_whitespace)));
            prop_assert_eq!(Tokens::of(&text.to_ascii_uppercase()), Tokens::of(&text.to_ascii_lowercase()));
            prop_assert_eq!(&Tokens::from_stored(tokens.joined().split_whitespace()), &tokens);
            let words = ErrorWords::new(&text);
            prop_assert_eq!(words.is_none(), tokens.is_empty());
            let failure = Failure::new(None, &text, None);
            prop_assert!(words.is_none_or(|words| holds(&failure, words.literals())), "a text holds itself");
        }
    }

    #[test]
    fn the_numbers_in_a_message_do_not_matter(words in "[a-z ]{0,40}", one in 0_u64.., other in 0_u64..) {
        let of = |number: u64| Tokens::of(&format!("{words} {number} and {words}")).fingerprint();
        prop_assert_eq!(of(one), of(other));
    }

    #[test]
    fn similarity_is_symmetric_and_one_for_equal_sets_only(one in sets(), other in sets()) {
        let similarity = one.similarity(&other);
        prop_assert!((0.0..=1.0).contains(&similarity));
        prop_assert_eq!(similarity, other.similarity(&one));
        prop_assert_eq!(similarity == 1.0, one == other);
    }

    #[test]
    fn no_similar_group_is_passed_over(groups in prop::collection::vec(sets(), 0..40), tokens in sets(), least in 0.3_f64..=1.0, counts in prop::collection::vec(0_u64..500, 30)) {
        let search = Search { tokens, least: MinSimilarity::new(least).unwrap() };
        let prefix = search.prefix(|token| counts[usize::try_from(number_of(token)).unwrap()]);
        for group in groups.iter().filter(|group| !group.is_empty() && search.compare(group.as_slice().iter().map(String::as_str)).is_some()) {
            let has = |lookup: &&Lookup| lookup.most >= group.len() && group.as_slice().contains(&lookup.token);
            let shared = prefix.lookups.iter().filter(has).count();
            prop_assert!(prefix.needed(group.len()).is_some_and(|needed| needed > 0 && shared >= needed), "{:?}", group);
        }
    }
}
