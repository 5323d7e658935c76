//! README's walk, and the samples of all documents, work as they are written.

use std::process::Command;

use tracer_api::config::{Settings, Sources};

use super::helpers::start;

const README: &str = include_str!("../../../../README.md");
const ALERTS: &str = include_str!("../../../../docs/alerts.md");
const DETECTION: &str = include_str!("../../../../docs/detection.md");
const SLO: &str = include_str!("../../../../docs/slo.md");

/// Returns the blocks of one language, in order.
fn blocks(document: &'static str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    document.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_start_works_by_copy_and_paste() {
    let service = start().await;
    let walk: Vec<&str> = blocks(README, "sh").into_iter().filter(|block| block.contains("curl")).collect();
    assert!(walk.len() >= 4, "README has lost its walk");
    let script = walk.join("\n").replace("localhost:8000", &service.address.to_string());
    let ran = tokio::task::spawn_blocking(move || Command::new("sh").args(["-euc", &script]).output());
    let output = ran.await.unwrap().expect("this test needs sh, sed and curl");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains("urn:tracer:problem"), "{text}");
    let shown = [
        "\"step_name\":\"data_transform\"",
        "\"severity\":\"CRITICAL\"",
        "\"factor\":5.0",
        "\"historical_avg_ms\":420",
        "\"rebaselined\"",
        "\"acknowledged\":{",
        "\"by\":\"hand\"",
    ];
    for shown in shown {
        assert!(text.contains(shown), "{shown} is missing in {text}");
    }
    let demo = service.get("/stats/demo").await.expect(200);
    assert_eq!(demo["executions"]["completed"], 21);
}

#[test]
fn the_samples_of_settings_can_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let samples: Vec<&str> =
        [README, ALERTS, DETECTION, SLO].into_iter().flat_map(|document| blocks(document, "toml")).collect();
    assert!(samples.len() >= 4, "the documents have lost their samples");
    for (at, sample) in samples.into_iter().chain([tracer_api::config::DEFAULTS]).enumerate() {
        let file = folder.path().join(format!("{at}.toml"));
        std::fs::write(&file, sample).unwrap();
        // What a file leaves to the environment.
        let env = [("SLACK_BOT_TOKEN", "xoxb-1"), ("SLACK_CHANNEL", "#ops")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Settings::load(&Sources { file: Some(file), env, ..Sources::default() }).unwrap();
    }
}
