//! From a slow step to what people read, and what happens when they cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracer_core::time::Micros;
use tracer_store::{Location, StoreConfig};

use super::fake_slack::{FakeSlack, Mood};
use super::helpers::{Service, settings_of, start_over};

/// A service whose dispatcher runs, on a clock that is thirty times as fast as it should be.
pub(super) struct Alerting {
    service: Service,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Alerting {
    fn drop(&mut self) {
        self.service.stopping.cancel();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl std::ops::Deref for Alerting {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// Starts one with what a file says.
pub(super) async fn start(text: &str) -> Alerting {
    let settings = settings_of(text);
    let policy = tracer_api::policy::policy(&settings);
    let service = start_over(&settings, StoreConfig::at(Location::Memory), policy).await;
    let clock = Arc::clone(&service.clock);
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            clock.advance(Micros::from_millis(300));
        }
    });
    let dispatching = tokio::spawn(Arc::clone(&service.dispatcher).run(service.stopping.clone()));
    Alerting { service, tasks: vec![ticking, dispatching] }
}

fn webhook(slack: &FakeSlack) -> String {
    format!(
        "[alerts]\nexecution_url = \"https://tracer.example/{{execution}}\"\n\
         [[channel]]\nname = \"oncall\"\ntype = \"slack\"\nwebhook_url = \"{}/services/T/B/x\"\n",
        slack.url
    )
}

fn bot(slack: &FakeSlack) -> String {
    format!("[slack]\nbot_token = \"xoxb-1\"\nchannel = \"#oncall\"\napi_url = \"{}/api\"\n", slack.url)
}

/// Gives a step a history of 420 ms.
async fn history(service: &Service, workflow: &str) {
    let execution = service.execution(workflow).await;
    for _ in 0..8 {
        service.took(&execution, "load", 420).await;
    }
}

async fn slow(service: &Service, workflow: &str) -> String {
    let execution = service.execution(workflow).await;
    service.took(&execution, "load", 2_100).await;
    execution
}

/// Returns which of these workflows each message is about.
fn about(messages: &[Value], workflows: &[String]) -> Vec<String> {
    let of = |message: &Value| {
        let text = message.to_string();
        workflows.iter().find(|name| text.contains(name.as_str())).cloned().unwrap_or_default()
    };
    messages.iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_step_is_one_message_with_everything_in_it() {
    let slack = FakeSlack::start();
    let service = start(&webhook(&slack)).await;
    history(&service, "nightly-etl").await;
    let execution = slow(&service, "nightly-etl").await;
    let told = slack.wait_for("/x", 1).await;
    let text = told[0].to_string();
    let id = super::helpers::id_of(&execution);
    for part in ["CRITICAL", "nightly-etl", "load", id, "2.1 s", "420 ms", "5", "https://tracer.example/"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    slow(&service, "nightly-etl").await;
    service.advance(5_000);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(slack.calls().len(), 1, "one cause is one message");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_steps_are_one_message_that_counts_them_and_one_end() {
    let slack = FakeSlack::start();
    let service = start(&bot(&slack)).await;
    history(&service, "nightly-etl").await;
    for _ in 0..50 {
        let execution = service.execution("nightly-etl").await;
        let steps: Vec<_> = (0..20).map(|_| service.took(&execution, "load", 2_100)).collect();
        futures_util::future::join_all(steps).await;
    }
    let posted = slack.wait_for("/chat.postMessage", 1).await;
    assert_eq!(posted.len(), 1);
    // The message is edited until the count is right.
    let mut edits = slack.wait_for("/chat.update", 1).await;
    for _ in 0..1_000 {
        if edits
            .last()
            .is_some_and(|edit| edit.to_string().contains("1,000") || edit.to_string().contains("1000"))
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        edits = slack.taken("/chat.update");
    }
    assert!(edits.last().unwrap().to_string().replace(',', "").contains("1000"), "{:#?}", edits.last());
    service.advance(11 * 60_000);
    let execution = service.execution("nightly-etl").await;
    for _ in 0..3 {
        service.took(&execution, "load", 420).await;
    }
    // The end is a line in the thread; the message itself says that it is over.
    let posted = slack.wait_for("/chat.postMessage", 2).await;
    assert_eq!(posted.len(), 2);
    assert!(posted[0]["thread_ts"].is_null() && posted[1]["thread_ts"].is_string(), "{posted:#?}");
    let last = slack.taken("/chat.update").pop().unwrap().to_string();
    assert!(last.to_lowercase().contains("resolved"), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_slack_answers_everything_arrives_in_order_and_once() {
    let slack = FakeSlack::start();
    let service = start(&webhook(&slack)).await;
    let workflows: Vec<String> = (0..8).map(|n| format!("workflow-{n}-of-many")).collect();
    for workflow in &workflows {
        history(&service, workflow).await;
    }
    let moods = [Mood::Status(500), Mood::Later, Mood::Garbage, Mood::Status(503)];
    for (mood, pair) in moods.into_iter().zip(workflows.chunks(2)) {
        let before = slack.calls().len();
        slack.set(mood);
        for workflow in pair {
            slow(&service, workflow).await;
        }
        // It was tried, and is tried again.
        slack.wait_for_calls(before + 2).await;
        slack.set(Mood::Fine);
        let done = workflows.iter().position(|name| *name == pair[1]).unwrap() + 1;
        slack.wait_for("/x", done).await;
    }
    assert_eq!(about(&slack.taken("/x"), &workflows), workflows);
    let health = service.get("/health").await.expect(200);
    assert_eq!(health["checks"]["channel:oncall"]["status"], "healthy", "{health}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_set_aside_and_shown_and_other_channels_go_on() {
    let (slack, hook) = (FakeSlack::start(), FakeSlack::start());
    // Names of their own: metrics are of the process.
    let text = format!(
        "{}[[channel]]\nname = \"going-on\"\ntype = \"webhook\"\nurl = \"{}/hook\"\nsecret = \"s\"\n",
        webhook(&slack).replace("oncall", "refusing"),
        hook.url
    );
    let service = start(&text).await;
    let workflows: Vec<String> = (0..3).map(|n| format!("workflow-{n}")).collect();
    for workflow in &workflows {
        history(&service, workflow).await;
    }
    slack.set(Mood::Status(404));
    slow(&service, &workflows[0]).await;
    slack.wait_for_calls(1).await;
    hook.wait_for("/hook", 1).await;
    slack.set(Mood::Fine);
    for workflow in &workflows[1..] {
        slow(&service, workflow).await;
    }
    assert_eq!(about(&slack.wait_for("/x", 2).await, &workflows), workflows[1..]);
    assert_eq!(about(&hook.wait_for("/hook", 3).await, &workflows), workflows);
    let health = service.get("/health").await.expect(200);
    let channels =
        ["refusing", "going-on"].map(|name| health["checks"][format!("channel:{name}")]["status"].clone());
    assert_eq!((&health["status"], channels), (&json!("degraded"), [json!("degraded"), json!("healthy")]));
    let metrics = service.get("/metrics").await.text;
    for line in [
        "tracer_notifications_total{channel=\"refusing\",outcome=\"refused\"} 1",
        "tracer_notifications_total{channel=\"refusing\",outcome=\"sent\"} 2",
        "tracer_notifications_total{channel=\"going-on\",outcome=\"sent\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_says_nothing_holds_up_no_request_and_no_other_channel() {
    let (slack, hook) = (FakeSlack::start(), FakeSlack::start());
    let text = format!(
        "{}[[channel]]\nname = \"hook\"\ntype = \"webhook\"\nurl = \"{}/hook\"\n",
        webhook(&slack),
        hook.url
    );
    let service = start(&text).await;
    history(&service, "a").await;
    history(&service, "b").await;
    slack.set(Mood::Silent);
    slow(&service, "a").await;
    slack.wait_for_calls(1).await;
    // While Slack holds its call, everything else goes on.
    slow(&service, "b").await;
    hook.wait_for("/hook", 2).await;
    assert_eq!(slack.calls().len(), 1, "calls of one channel do not overlap");
    slack.set(Mood::Fine);
    slack.wait_for("/x", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_of_one_execution_that_open_together_are_one_message() {
    let slack = FakeSlack::start();
    let service = start(&webhook(&slack)).await;
    let execution = service.execution("etl").await;
    for name in ["extract", "transform", "load"] {
        for _ in 0..8 {
            service.took(&execution, name, 100).await;
        }
    }
    let bad = service.execution("etl").await;
    for name in ["extract", "transform", "load"] {
        service.took(&bad, name, 900).await;
    }
    let told = slack.wait_for("/x", 1).await;
    let text = told[0].to_string();
    assert!(["extract", "transform", "load"].iter().all(|name| text.contains(name)), "{text}");
    service.advance(5_000);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(slack.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_taken_once_within_its_cool_down_and_its_answer_is_kept() {
    let service = FakeSlack::start();
    let text = format!(
        "[[channel]]\nname = \"restart\"\ntype = \"action\"\nurl = \"{}/restart\"\ncooldown = \"1h\"\n",
        service.url
    );
    let alerting = start(&text).await;
    history(&alerting, "etl").await;
    slow(&alerting, "etl").await;
    assert_eq!(service.wait_for("/restart", 1).await[0]["transition"], "opened");
    let incidents = alerting.get("/incidents").await.expect(200);
    let id = incidents["incidents"][0]["incident_id"].as_str().unwrap().to_owned();
    let path = format!("/incidents/{id}");
    let mut history = Value::Null;
    for _ in 0..200 {
        history = alerting.get(&path).await.expect(200)["history"].clone();
        if history.as_array().unwrap().len() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        (&history[1]["what"], &history[1]["note"]),
        (&json!("action"), &json!("200: ok")),
        "{history}"
    );
    alerting.post(&format!("{path}/resolve"), json!({})).await.expect(200);
    // Much later it is another incident, but the cool-down holds.
    alerting.advance(35 * 60_000);
    alerting.background.watch().await.unwrap();
    slow(&alerting, "etl").await;
    let count = alerting.get("/incidents").await.expect(200)["incidents"].as_array().unwrap().len();
    assert_eq!(count, 2);
    for _ in 0..500 {
        let metrics = alerting.get("/metrics").await.text;
        if metrics.contains("tracer_notifications_total{channel=\"restart\",outcome=\"dropped\"} 1") {
            assert_eq!(service.calls().len(), 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the second opening was not dropped: {:#?}", service.calls());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_slack_does_not_know_is_said_in_the_health() {
    let slack = FakeSlack::start();
    let service = start(&bot(&slack)).await;
    history(&service, "etl").await;
    slack.set(Mood::InvalidAuth);
    slow(&service, "etl").await;
    slack.wait_for_calls(1).await;
    for _ in 0..500 {
        let health = service.get("/health").await.expect(200);
        let channel = &health["checks"]["channel:slack"];
        if channel["status"] == "degraded" {
            assert!(channel.to_string().contains("invalid_auth"), "{channel}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the health does not say it");
}
