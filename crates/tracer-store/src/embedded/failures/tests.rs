use proptest::prelude::*;
use rusqlite::Connection;
use tracer_core::similarity::MinSimilarity;
use tracer_core::test_util::fixtures::{NOON, start, workflow};

use super::super::{file, migrate};
use super::*;

fn noted(tokens: Tokens, steps: u64) -> NewFailure {
    NewFailure {
        message: tokens.joined(),
        tokens,
        kind: None,
        steps,
        of_execution: false,
        step: None,
        workflow: workflow("etl"),
        recorded_at: NOON,
        seen: (NOON, NOON),
        noted_at: NOON,
    }
}

/// Returns a database with these groups, each seen so often.
fn database(groups: &[(Tokens, u64)]) -> Connection {
    let mut connection = file::open_in_memory().unwrap();
    migrate::migrate(&mut connection).unwrap();
    let mut set = WorkingSet::default();
    for (tokens, times) in groups {
        set.new_failures.insert((start("etl").id, tokens.fingerprint()), noted(tokens.clone(), *times));
    }
    let tx = connection.transaction().unwrap();
    save(&tx, &set).unwrap();
    tx.commit().unwrap();
    connection
}

/// Sets of words of which some are in most sets and some in few.
fn sets() -> impl Strategy<Value = Tokens> {
    let word = prop_oneof![0_u8..4, 0_u8..20, 0_u8..120];
    prop::collection::vec(word, 1..16)
        .prop_map(|words| Tokens::from_stored(words.iter().map(|word| format!("word{word}"))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_found_is_what_comparing_with_all_finds(
        groups in prop::collection::vec((sets(), 1_u64..9), 0..80),
        asked in prop::collection::vec(sets(), 6),
        least in 0.3_f64..=1.0,
    ) {
        let mut connection = database(&groups);
        let tx = connection.transaction().unwrap();
        let mut all: HashMap<FailureId, (&Tokens, u64)> = HashMap::new();
        for (tokens, times) in &groups {
            all.entry(tokens.fingerprint()).or_insert((tokens, 0)).1 += times;
        }
        let own = groups.first().map(|(tokens, _)| tokens.clone());
        for tokens in asked.into_iter().chain(own) {
            let search = Search { tokens, least: MinSimilarity::new(least).unwrap() };
            let alike = all.iter().map(|(id, (tokens, count))| (search.compare(tokens.as_slice().iter().map(String::as_str)), (*count, *id)));
            let alike = alike.filter_map(|(similarity, group)| Some((similarity?, group))).collect();
            let expected = best(alike, 20, |group| *group);
            let found = similar(&tx, &search, 20).unwrap();
            let found: Vec<_> = found.iter().map(|found| (found.similarity, (found.group.count, found.group.id))).collect();
            prop_assert_eq!(found, expected);

            let holding = all.iter().filter(|(_, (group, _))| group.shared(&search.tokens) == search.tokens.len());
            let mut holding: Vec<FailureId> = holding.map(|(id, _)| *id).collect();
            holding.sort_unstable();
            prop_assert_eq!(ids_with(&tx, &search.tokens).unwrap(), holding);
        }
    }
}
