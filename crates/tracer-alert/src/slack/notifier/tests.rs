use serde_json::{Value, json};
use tracer_core::incident::ResolvedBy;
use tracer_core::test_util::FakeClock;

use super::*;
use crate::fake_server::{Play, Seen, Server};
use crate::samples;

const TOKEN: &str = "xoxb-secret";
const REFERENCE: &str = r#"{"channel":"C1","ts":"17.01"}"#;

fn http() -> Http {
    Http::new(Arc::new(FakeClock::default())).unwrap()
}

fn webhook(server: &Server) -> SlackWebhook {
    let url = server.url("/services/T0/B0/secret");
    SlackWebhook::new(&http(), &url, Arc::default(), server.patience()).unwrap()
}

fn bot(server: &Server) -> SlackBot {
    let api = server.url("/api/");
    SlackBot::new(&http(), TOKEN, "#alerts", Arc::default(), server.patience(), Some(&api)).unwrap()
}

fn posted() -> Play {
    Play::json(
        &json!({"ok": true, "channel": "C1", "ts": "17.01", "message": {"what": ["is", "not", "known"]}}),
    )
}

fn refused(code: &str) -> Play {
    Play::json(&json!({"ok": false, "error": code}))
}

fn calls(server: &Server) -> String {
    let call = |seen: &Seen| {
        let body = seen.json();
        let thread = body["thread_ts"].as_str().map_or(String::new(), |ts| format!(" in {ts}"));
        let ts = body["ts"].as_str().map_or(String::new(), |ts| format!(" {ts}"));
        let (channel, text) = (body["channel"].as_str().unwrap(), body["text"].as_str().unwrap());
        format!("{} {channel}{ts}{thread}: {text}\n", seen.path)
    };
    server.seen().iter().map(call).collect()
}

/// Says what an error of either means.
fn told(result: Result<Receipt, NotifyError>) -> String {
    match result {
        Ok(receipt) => format!("sent {}", receipt.reference.unwrap_or_default()),
        Err(NotifyError::Transient { reason, retry_after, .. }) => {
            let wait = retry_after.map_or(String::new(), |wait| format!(" after {} ms", wait.as_millis()));
            format!("again{wait}: {reason}")
        }
        Err(NotifyError::Permanent { reason }) => format!("never: {reason}"),
    }
}

#[tokio::test]
async fn a_webhook_gets_one_message_for_a_delivery() {
    let server = Server::playing([Play::status(200).body("ok")]).await;
    let receipt = webhook(&server).deliver(&samples::delivery(Transition::Opened, samples::slow())).await;
    assert_eq!(receipt.unwrap(), Receipt::default());
    webhook(&server).deliver(&samples::opened_together(3)).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (seen[0].path.as_str(), seen[0].headers["content-type"].as_str()),
        ("/services/T0/B0/secret", "application/json; charset=utf-8")
    );
    assert!(!seen[0].headers.contains_key("authorization"));
    let body = seen[0].json();
    let fixed = ["unfurl_links", "unfurl_media", "link_names", "parse"].map(|key| body[key].clone());
    assert_eq!(fixed, [json!(false), json!(false), json!(false), json!("none")]);
    assert_eq!(
        body["text"],
        "🟠 WARNING: slow step load of etl: took 2.1 s, 5× the average of 420 ms in 212 runs"
    );
    assert_eq!(seen[1].json()["text"], "🔴 3 incidents in one execution of etl");
    assert_eq!(seen[1].json()["attachments"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn a_webhook_tells_what_it_is_told_and_not_what_came_later() {
    let server = Server::playing([Play::status(200).body("ok")]).await;
    let current = samples::resolved(samples::worse(), ResolvedBy::Normal);
    let delivery = Delivery { current, ..samples::delivery(Transition::Worsened, samples::worse()) };
    webhook(&server).deliver(&delivery).await.unwrap();
    let text = server.seen()[0].json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("🔴 Now CRITICAL: "), "{text}");
}

#[tokio::test]
async fn answers_of_a_webhook_mean_what_slack_documents() {
    let html = "<html><body>Please sign in</body></html>";
    let mut meanings = String::new();
    for play in [
        Play::status(200).body("ok"),
        Play::status(200),
        Play::json(&json!({"success": true})),
        Play::status(200).body(html).header("content-type", "text/html"),
        Play::status(200).body("{\"ok\""),
        Play::json(&json!([1])),
        Play::status(302).header("location", "https://slack.com"),
        Play::status(400).body("invalid_payload"),
        Play::status(403).body("action_prohibited"),
        Play::status(404).body("no_service"),
        Play::status(404).body(html),
        Play::status(410).body("channel_is_archived"),
        Play::status(429).header("retry-after", "3"),
        Play::status(429).header("retry-after", "3").body("rate_limited"),
        Play::status(500).body("rollup_error"),
        Play::status(500).body(html),
        Play::status(503).header("retry-after", "120"),
        Play::Silence,
        Play::HangUp,
        Play::Garbage,
    ] {
        let server = Server::playing([play]).await;
        let delivery = samples::delivery(Transition::Opened, samples::slow());
        meanings += &format!("{}\n", told(webhook(&server).deliver(&delivery).await));
        assert_eq!(server.seen().len(), 1, "an attempt is one request: {meanings}");
    }
    insta::assert_snapshot!(meanings);
}

#[tokio::test]
async fn answers_of_the_api_mean_what_slack_documents() {
    let codes = [
        "invalid_auth",
        "account_inactive",
        "token_revoked",
        "channel_not_found",
        "not_in_channel",
        "is_archived",
        "missing_scope",
        "msg_too_long",
        "invalid_blocks",
        "msg_blocks_too_long",
        "restricted_action",
        "something_new",
        "ratelimited",
        "internal_error",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
    ];
    let mut meanings = String::new();
    let others = [
        refused("ratelimited").header("retry-after", "7"),
        Play::json(&json!({"ok": false})),
        Play::json(&json!({"ok": true})),
        Play::json(&json!({})),
        Play::status(200).body("ok"),
        Play::status(200).body("<html>"),
        Play::status(404),
        Play::status(429).header("retry-after", "3").body(r#"{"ok":false,"error":"ratelimited"}"#),
        Play::status(500),
        Play::status(502).body("<html>"),
        Play::Silence,
        Play::HangUp,
        Play::Garbage,
    ];
    for play in codes.map(refused).into_iter().chain(others) {
        let server = Server::playing([play]).await;
        let delivery = samples::delivery(Transition::Opened, samples::slow());
        meanings += &format!("{}\n", told(bot(&server).deliver(&delivery).await));
        assert_eq!(server.seen().len(), 1, "an attempt is one request: {meanings}");
    }
    insta::assert_snapshot!(meanings);
}

#[tokio::test]
async fn a_bot_posts_one_message_and_edits_it_and_tells_the_rest_in_its_thread() {
    let server = Server::playing([posted()]).await;
    let bot = bot(&server);
    let opened = bot.deliver(&samples::delivery(Transition::Opened, samples::slow())).await.unwrap();
    assert_eq!(opened.reference.as_deref(), Some(REFERENCE));
    let over = samples::resolved(samples::worse(), ResolvedBy::Normal);
    for (transition, incident) in [
        (Transition::Worsened, samples::worse()),
        (Transition::Repeated, samples::worse()),
        (Transition::Resolved, over),
    ] {
        let posted = samples::posted(REFERENCE, vec![incident.clone()]);
        let delivery = Delivery { posted, ..samples::delivery(transition, incident) };
        assert_eq!(bot.deliver(&delivery).await.unwrap(), opened);
    }
    assert!(bot.edits());
    bot.edit(&samples::posted(REFERENCE, vec![samples::acknowledged(samples::slow())]).unwrap())
        .await
        .unwrap();
    insta::assert_snapshot!(calls(&server));
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.headers["authorization"] == format!("Bearer {TOKEN}")));
    let body = seen[0].json();
    let fixed = ["unfurl_links", "unfurl_media", "link_names", "parse"].map(|key| body[key].clone());
    assert_eq!(fixed, [json!(false), json!(false), json!(false), json!("none")]);
    assert_eq!(body.get("reply_broadcast").unwrap_or(&Value::Null), &Value::Null);
}

#[tokio::test]
async fn what_is_told_together_is_one_message_that_shows_all_of_it_ever_after() {
    let server = Server::playing([posted()]).await;
    let (bot, together) = (bot(&server), samples::opened_together(3));
    let receipt = bot.deliver(&together).await.unwrap();
    assert_eq!(receipt.reference.as_deref(), Some(REFERENCE));
    let mut incidents: Vec<Incident> = together.notifications.into_iter().map(|one| one.incident).collect();
    incidents[1] = samples::resolved(incidents[1].clone(), ResolvedBy::Normal);
    let one = samples::delivery(Transition::Resolved, incidents[1].clone());
    bot.deliver(&Delivery { posted: samples::posted(REFERENCE, incidents), ..one }).await.unwrap();
    let told: Vec<String> =
        server.seen().iter().map(|seen| seen.json()["text"].as_str().unwrap().to_owned()).collect();
    insta::assert_snapshot!(told.join("\n"), @"
    🔴 3 incidents in one execution of etl
    🔴 2 of 3 incidents in one execution of etl
    ✅ Resolved: slow step load-2 of etl: over after 42 min 10 s: back to normal
    ");
}

#[tokio::test]
async fn a_message_that_is_gone_is_posted_anew() {
    for code in ["message_not_found", "cant_update_message", "edit_window_closed"] {
        let server = Server::playing([refused(code), posted()]).await;
        let was = r#"{"channel":"C1","ts":"16.00"}"#;
        let delivery = Delivery {
            posted: samples::posted(was, vec![samples::worse()]),
            ..samples::delivery(Transition::Worsened, samples::worse())
        };
        let receipt = bot(&server).deliver(&delivery).await.unwrap();
        assert_eq!(receipt.reference.as_deref(), Some(REFERENCE), "{code}");
        let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
        assert_eq!(paths, ["/api/chat.update", "/api/chat.postMessage"]);
        let server = Server::playing([refused(code)]).await;
        let edited = bot(&server).edit(&delivery.posted.unwrap()).await;
        assert!(matches!(edited, Err(NotifyError::Permanent { .. })) && server.seen().len() == 1);
    }
}

#[tokio::test]
async fn what_was_never_posted_or_cannot_be_found_is_posted() {
    for posted_before in [None, samples::posted("not ours", vec![samples::worse()])] {
        let server = Server::playing([posted()]).await;
        let delivery =
            samples::delivery(Transition::Resolved, samples::resolved(samples::worse(), ResolvedBy::Hand));
        let receipt = bot(&server).deliver(&Delivery { posted: posted_before, ..delivery }).await.unwrap();
        assert_eq!(receipt.reference.as_deref(), Some(REFERENCE));
        assert!(calls(&server).starts_with("/api/chat.postMessage #alerts: ✅ Resolved: "));
    }
    let server = Server::playing([posted()]).await;
    let lost = samples::posted("not ours", vec![samples::slow()]).unwrap();
    assert!(matches!(bot(&server).edit(&lost).await, Err(NotifyError::Permanent { .. })));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_failure_within_a_delivery_is_that_of_the_delivery() {
    for plays in [vec![Play::status(500)], vec![posted(), Play::status(500)]] {
        let server = Server::playing(plays).await;
        let delivery = Delivery {
            posted: samples::posted(REFERENCE, vec![samples::worse()]),
            ..samples::delivery(Transition::Worsened, samples::worse())
        };
        let error = bot(&server).deliver(&delivery).await.unwrap_err();
        assert!(matches!(error, NotifyError::Transient { .. }), "{error}");
    }
}

#[tokio::test]
async fn no_error_tells_a_secret() {
    for play in
        [Play::Silence, Play::HangUp, Play::Garbage, Play::status(404), Play::status(200).body("<html>")]
    {
        let server = Server::playing([play]).await;
        let delivery = samples::delivery(Transition::Opened, samples::slow());
        for result in [webhook(&server).deliver(&delivery).await, bot(&server).deliver(&delivery).await] {
            let error = result.unwrap_err();
            let chain = format!("{} {error:?}", tracer_core::chain::Chain(&error));
            assert!(!chain.contains("secret"), "{chain}");
        }
    }
    let server = Server::playing([posted()]).await;
    assert!(!format!("{:?} {:?}", webhook(&server), bot(&server)).contains("secret"));
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let setup = |token: &str, api: &str| {
        SlackBot::new(&http(), token, "C1", Arc::default(), SLACK_TIMEOUT, Some(api)).map(drop)
    };
    assert!(matches!(setup("", "https://slack.example"), Err(SetupError::Secret)));
    assert!(matches!(setup("xoxb\nx", "https://slack.example"), Err(SetupError::Secret)));
    assert!(matches!(setup("xoxb-1", "slack.example"), Err(SetupError::Address)));
    assert!(setup("xoxb-1", "https://slack.example/api/").is_ok());
    let webhook = SlackWebhook::new(&http(), "hooks.slack.example/x", Arc::default(), SLACK_TIMEOUT);
    assert!(matches!(webhook, Err(SetupError::Address)));
}
