//! What the replay counts, on runs small enough to be counted by hand.

use std::fs;
use std::path::Path;

use clap::Parser as _;
use insta::assert_snapshot;
use serde_json::json;
use tempfile::TempDir;

use crate::eta::{self, Coverage, Place};
use crate::files::{Split, View, read_all};
use crate::replay::{Depth, Scores, replay};
use crate::rules::VARIANTS;
use crate::tally::{Rate, Tally};
use crate::{Arguments, evaluate};

/// Writes a run whose tasks follow one another: names without their numbers, and seconds.
fn write(folder: &Path, file: &str, executed_at: &str, tasks: &[(&str, f64)]) {
    let id = |number: usize| format!("t{number}");
    let specification = tasks.iter().enumerate().map(|(number, (name, _))| {
        let parents: Vec<String> = number.checked_sub(1).map(id).into_iter().collect();
        let children: Vec<String> = Some(number + 1).filter(|next| *next < tasks.len()).map(id).into_iter().collect();
        json!({"name": format!("{name}_ID{number:06}"), "id": id(number), "parents": parents, "children": children})
    });
    let execution = tasks
        .iter()
        .enumerate()
        .map(|(number, (_, seconds))| json!({"id": id(number), "runtimeInSeconds": seconds}));
    let run = json!({
        "name": "by hand",
        "schemaVersion": "1.5",
        "workflow": {
            "specification": {"tasks": specification.collect::<Vec<_>>()},
            "execution": {"executedAt": executed_at, "makespanInSeconds": 1, "tasks": execution.collect::<Vec<_>>()},
        },
    });
    fs::write(folder.join(file), run.to_string()).unwrap();
}

/// Three runs of half a second `prepare`, no time at all `mark`, and ten loads of ten seconds, of which
/// the very last takes 25.
fn three_runs() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut tasks = vec![("prepare", 0.5), ("mark", 0.0)];
    tasks.extend([("load", 10.0); 10]);
    // The names do not tell the order of time.
    write(folder.path(), "etl-night-small-002.json", "2026-01-01T00:00:00Z", &tasks);
    write(folder.path(), "etl-night-small-001.json", "2026-01-02T00:00:00Z", &tasks);
    tasks[11].1 = 25.0;
    write(folder.path(), "etl-night-large-001.json", "2026-01-03T00:00:00Z", &tasks);
    folder
}

fn scored(folder: &TempDir, view: View, threshold: f64) -> Scores {
    let runs = read_all(folder.path()).unwrap();
    let policy = VARIANTS[0].policy(threshold);
    replay(&runs.iter().collect::<Vec<_>>(), view, &policy, Depth::Everything).unwrap()
}

fn rate(hits: u64, of: u64) -> Rate {
    Rate { hits, of }
}

#[test]
fn only_steps_with_a_history_count_and_each_is_judged_as_it_was_and_slowed() {
    let tally = Tally::of(&scored(&three_runs(), View::Pooled, 2.0), |_, _| true);
    // The first two runs give `load` 20 samples of 10 s: the ten of the third are scored.
    assert_eq!(tally.flagged, rate(1, 10), "25 s are more than 2 × 10 s");
    // Twice is not more than twice; only the one that was slow already is found.
    assert_eq!(tally.found, [rate(1, 10), rate(10, 10), rate(10, 10)]);
    // Doubled steps are not over the limit, and raise it; fifty seconds are over it all the same.
    assert_eq!(tally.slowed, [rate(1, 10), rate(10, 10), rate(10, 10)]);
}

#[test]
fn a_slow_step_in_flight_is_known_when_it_crosses_the_limit() {
    let tally = Tally::of(&scored(&three_runs(), View::Pooled, 2.0), |_, _| true);
    assert_eq!(tally.known, rate(10, 10));
    let shares: Vec<String> = tally.known_after.iter().map(|share| format!("{share:.3}")).collect();
    // 20 s of 75 s, and of 30 s.
    assert_eq!((shares[0].as_str(), shares[1].as_str(), shares[9].as_str()), ("0.267", "0.667", "0.667"));
    assert_eq!(tally.known_after_percent(50).map(|share| (share * 1e3).round()), Some(667.0));
    let lenient = Tally::of(&scored(&three_runs(), View::Pooled, 4.0), |_, _| true);
    assert_eq!(lenient.known, rate(1, 10), "of the rest, three times as slow is within the limit of 40 s");
}

#[test]
fn one_configuration_is_no_history_of_another() {
    let tally = Tally::of(&scored(&three_runs(), View::Configured, 2.0), |_, _| true);
    assert_eq!(tally, Tally::default());
}

#[test]
fn injected_slowness_leaves_no_trace() {
    let folder = three_runs();
    let runs = read_all(folder.path()).unwrap();
    let (all, policy): (Vec<_>, _) = (runs.iter().collect(), VARIANTS[0].policy(2.0));
    let flags = |depth| Tally::of(&replay(&all, View::Pooled, &policy, depth).unwrap(), |_, _| true);
    let (alone, everything) = (flags(Depth::StepsAlone), flags(Depth::Everything));
    assert_eq!((alone.flagged, alone.found), (everything.flagged, everything.found));
    assert_eq!((alone.known, alone.slowed[0]), (Rate::default(), Rate::default()));
}

#[test]
fn a_collection_alternates_in_order_of_time_whatever_its_files_are_called() {
    let folder = TempDir::new().unwrap();
    for (file, day) in [("b-x-001", 5), ("a-x-001", 4), ("a-y-001", 3), ("a-x-002", 2), ("b-x-002", 1)] {
        write(folder.path(), &format!("{file}.json"), &format!("2026-01-0{day}T00:00:00Z"), &[("load", 1.0)]);
    }
    fs::write(folder.path().join("LICENSE"), "not a run").unwrap();
    let runs = read_all(folder.path()).unwrap();
    let of = |split: Split| -> Vec<&str> {
        let chosen = runs.iter().zip(split.choose(&runs)).filter(|(_, chosen)| *chosen);
        chosen.map(|(run, _)| run.file.as_str()).collect()
    };
    assert_eq!(of(Split::All), ["b-x-002", "a-x-002", "a-y-001", "a-x-001", "b-x-001"]);
    assert_eq!(of(Split::Tune), ["b-x-002", "a-x-002", "a-x-001"]);
    assert_eq!(of(Split::Test), ["a-y-001", "b-x-001"]);
    assert_eq!((runs[0].configuration.as_str(), runs[0].family.as_str()), ("b-x", "b-x"));
}

#[test]
fn what_is_no_run_is_told_by_its_name() {
    let folder = TempDir::new().unwrap();
    assert!(read_all(folder.path()).unwrap_err().to_string().ends_with("holds no .json file"));
    fs::write(folder.path().join("etl-001.json"), "{}").unwrap();
    let error = read_all(folder.path()).unwrap_err().to_string();
    assert!(error.contains("etl-001.json: $"), "{error}");
}

#[test]
fn the_remaining_time_is_asked_at_each_quarter_and_compared_with_the_true_end() {
    let runs = read_all(three_runs().path()).unwrap();
    let asked = eta::ask(&runs, &[true, false, true], View::Pooled).unwrap();
    let quarters: Vec<(usize, u64, bool)> =
        asked.iter().map(|asked| (asked.run, asked.quarter, asked.answer.is_some())).collect();
    let none_before_the_first = [0, 1, 2, 3].map(|quarter| (0, quarter, false));
    let of_the_third = [0, 1, 2, 3].map(|quarter| (2, quarter, true));
    assert_eq!(quarters, [none_before_the_first, of_the_third].concat());
    // Two runs of 100.5 s are known; this one takes 115.5 s.
    let first = asked[4].answer.unwrap();
    assert_eq!((first.end, format!("{:.3}", first.error)), (Place::Inside, "0.130".to_owned()));
    let coverage = Coverage::of(&asked);
    assert_eq!((coverage.answered, coverage.inside.of), (rate(4, 8), 4));
    assert_eq!(coverage.inside.hits + coverage.earlier.hits + coverage.later.hits, 4);
}

#[test]
fn a_run_that_has_not_ended_is_nothing_to_learn_the_remaining_time_from() {
    let folder = TempDir::new().unwrap();
    let tasks = [("load", 10.0); 10];
    write(folder.path(), "etl-night-001.json", "2026-01-01T00:00:00Z", &tasks);
    write(folder.path(), "etl-night-002.json", "2026-01-01T00:00:40Z", &tasks);
    let runs = read_all(folder.path()).unwrap();
    let asked = eta::ask(&runs, &[true, true], View::Pooled).unwrap();
    // The first one ends when the second has 60 s behind it: between its second and third quarter.
    let answered: Vec<bool> = asked.iter().map(|asked| asked.answer.is_some()).collect();
    assert_eq!(answered, [[false; 4], [false, false, false, true]].concat());
    assert_eq!(asked[7].answer.map(|answer| answer.end), Some(Place::Inside));
}

#[test]
fn the_tables_show_the_counts() {
    let folder = three_runs();
    let path = folder.path().to_str().unwrap();
    let words = ["detect-eval", path, "--split", "all", "--rule", "factor", "--by-step", "--roc"];
    let text = evaluate(&Arguments::parse_from(words)).unwrap().replace(path, "DIR");
    // How long the interval of the remaining time is, is for the tests of the estimate to say.
    let (rules, rest) = text.split_once("\n\nremaining time").unwrap();
    assert_snapshot!(rules, @r"
    3 of 3 runs in DIR, with 36 steps.
    All of them are replayed, those on which anything was tuned too.
    Scored are steps of at least 1 s with at least 20 completed ones in their history when they began.

    unmodified        steps as they were, flagged by the rule
    one step slowed   the same ones, found had one of them alone taken so many times as long
    whole run slowed  flagged where every step of the run took so many times as long
    3× in flight      steps so slow that are known before they end, and after which share of their duration
    95 %              of the rate to its left, when runs are drawn anew

    pooled: a workflow is a family, over all its configurations and input sizes

            ---- unmodified ----  --- one step slowed ----  --- whole run slowed ----  ------- 3× in flight -------
    rule    steps  flags %  95 %  2× %   3× %  95 %   5× %  steps  2× %   3× %   5× %  steps  known %  median   p90
    factor     10     10.0     -  10.0  100.0     -  100.0     10  10.0  100.0  100.0     10    100.0    0.67  0.67

    by workflow, rule factor

               - unmodified -  - one step slowed -  --- whole run slowed ----  ------- 3× in flight -------
    workflow   steps  flags %   2× %   3× %   5× %  steps  2× %   3× %   5× %  steps  known %  median   p90
    etl-night     10     10.0   10.0  100.0  100.0     10  10.0  100.0  100.0     10    100.0    0.67  0.67
      load        10     10.0   10.0  100.0  100.0     10  10.0  100.0  100.0     10    100.0    0.67  0.67

    configured: a workflow is one configuration, run again and again

            ---- unmodified ----  -- one step slowed ---  -- whole run slowed ---  ------ 3× in flight -------
    rule    steps  flags %  95 %  2× %  3× %  95 %  5× %  steps  2× %  3× %  5× %  steps  known %  median  p90
    factor      0        -     -     -     -     -     -      0     -     -     -      0        -       -    -
    ");
    assert_snapshot!(rest.split("\n\nROC of factor, ").nth(1).unwrap(), @r"
    pooled (* is the one scored above)

               - unmodified -  - one step slowed -
    threshold  steps  flags %   2× %   3× %   5× %
    1.25          10     10.0  100.0  100.0  100.0
    1.5           10     10.0  100.0  100.0  100.0
    1.75          10     10.0  100.0  100.0  100.0
    2 *           10     10.0   10.0  100.0  100.0
    2.25          10     10.0   10.0  100.0  100.0
    2.5           10      0.0   10.0  100.0  100.0
    3             10      0.0   10.0   10.0  100.0
    4             10      0.0   10.0   10.0  100.0
    5             10      0.0    0.0   10.0   10.0
    ");
}

#[test]
fn a_fortnight_says_what_people_were_told_because_of_a_fault_and_otherwise() {
    let folder = three_runs();
    let arguments = Arguments::parse_from(["eval", folder.path().to_str().unwrap(), "--fortnight"]);
    let text = evaluate(&arguments).unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(" as slow: ") || line.starts_with("with the"))
        .take(2)
        .collect();
    assert_snapshot!(told.join("\n"), @r"
    with the faults    144       0           33         63         13        17             11
    load of etl-night 4 times as slow: 3 stuck_step opened, first after 0.0 h; 3 stuck_step worsened, first after 0.0 h; 3 stuck_step resolved, first after 0.1 h; 1 regression opened, first after 0.0 h; 1 regression resolved, first after 24.0 h
    ");
}
