//! Names of every kind: kept to the letter, and never mixed up.

use super::Lab;
use crate::record::{StartExecution, StartStep};
use crate::repository::ExecutionFilter;
use crate::test_util::fixtures::{
    attributes, completed, correlation, rebaseline, start, step_type, version, whole, workflow,
};

const ODD: [&str; 20] = [
    "a/b/c",
    "100% sure",
    "under_score",
    "it's; DROP TABLE x; --",
    "\"quoted\"",
    "back\\slash\\",
    "$1 :name ?1 @x",
    "{\"json\": [1]}",
    " leading and trailing ",
    "é",
    "e\u{301}",
    "E",
    "e",
    "漢字かな",
    "🚀👩‍👩‍👧",
    "עברית \u{202e}and back",
    "\u{feff}bom",
    "a\u{a0}b",
    "\u{10ffff}",
    "NULL",
];

pub async fn names_of_every_kind_of_character_are_kept_apart(lab: Lab) {
    for name in ODD {
        let given = StartExecution {
            correlation_id: Some(correlation(name)),
            version: Some(version(name)),
            attributes: attributes(serde_json::json!({ name: name })),
            ..start(name)
        };
        let id = lab.start_as(given.clone()).await;
        let short = name.chars().take(64).collect::<String>();
        lab.record(StartStep { step_type: step_type(&short), ..whole(id, name, completed(5)) }).await;
        let found = lab.execution(id).await;
        assert_eq!((&found.workflow, &found.correlation_id), (&given.workflow, &given.correlation_id));
        assert_eq!((&found.version, &found.attributes), (&given.version, &given.attributes));
        let [step] = &lab.steps(id).await[..] else { panic!("one step") };
        assert_eq!((step.name.as_str(), step.step_type.as_str()), (name, name));
    }
    for name in ODD {
        let known = lab.history(name).await.expect("known");
        let [(step, baseline)] = &known.steps[..] else { panic!("{name}: {:?}", known.steps) };
        assert_eq!((step.as_str(), baseline.measured().moments.count()), (name, 1));
        let by_workflow = ExecutionFilter { workflow: Some(workflow(name)), ..Default::default() };
        let by_id = ExecutionFilter { correlation_id: Some(correlation(name)), ..Default::default() };
        assert_eq!((lab.list(&by_workflow).await.len(), lab.list(&by_id).await.len()), (1, 1), "{name}");
        lab.record(rebaseline(name, name)).await;
    }
}

pub async fn names_of_full_length_are_kept(lab: Lab) {
    let names = ["a".repeat(200), "漢".repeat(200), "🚀".repeat(200), format!("{}b", "a".repeat(199))];
    for name in &names {
        let id = lab.start(name).await;
        lab.took(id, name, 5).await;
        assert_eq!(lab.execution(id).await.workflow.as_str(), name);
        assert_eq!(lab.steps(id).await[0].name.as_str(), name);
        lab.end(id).await;
    }
    for name in &names {
        let known = lab.history(name).await.expect("known");
        assert_eq!((known.steps.len(), known.executions.measured().endings.total()), (1, 1));
    }
}

pub async fn names_do_not_match_as_patterns(lab: Lab) {
    for name in ["load_1", "loadx1", "load%", "load*", "load?"] {
        let id = lab.start(name).await;
        lab.took(id, name, 5).await;
    }
    for name in ["load_1", "load%", "load*", "load?"] {
        let filter = ExecutionFilter { workflow: Some(workflow(name)), ..Default::default() };
        assert_eq!(lab.list(&filter).await.len(), 1, "{name}");
        assert_eq!(lab.history(name).await.expect("known").steps.len(), 1, "{name}");
    }
    assert!(lab.history("load__").await.is_none());
}

pub async fn workflows_with_odd_names_are_paged(lab: Lab) {
    for name in ODD {
        lab.start(name).await;
    }
    let (mut found, mut after) = (Vec::new(), None);
    while let Some(summary) = lab.store().workflows(after.as_ref(), 1).await.expect("an answer").pop() {
        found.push(summary.name.as_str().to_owned());
        after = Some(summary.name);
        assert!(found.len() <= ODD.len(), "the pages go round in circles: {found:?}");
    }
    found.sort();
    let mut expected = ODD.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}
