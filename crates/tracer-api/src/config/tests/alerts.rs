//! Incidents, channels and links.

use tracer_core::detect::Severity;
use tracer_core::incident::IncidentKind;
use tracer_core::time::Timestamp;

use super::super::channels::ChannelSettings;
use super::super::{Secret, Settings, Target};
use super::{env_fault, fault, load};

const WEBHOOK: (&str, &str) = ("SLACK_WEBHOOK_URL", "https://hooks.slack.example/hunter2");
const TOKEN: (&str, &str) = ("SLACK_BOT_TOKEN", "xoxb-hunter2");
const CHANNEL: (&str, &str) = ("SLACK_CHANNEL", "#ops");

fn names(settings: &Settings) -> Vec<&str> {
    settings.channels.iter().map(|channel| channel.name.as_str()).collect()
}

fn only(settings: Settings) -> ChannelSettings {
    let [only] = <[ChannelSettings; 1]>::try_from(settings.channels).unwrap();
    only
}

fn bot(token: &str, channel: &str) -> Target {
    let api_url = "https://slack.com/api".to_owned();
    Target::SlackBot { token: Secret::new(token), channel: channel.to_owned(), api_url }
}

/// Returns the fault of one `[[channel]]`, by key.
fn channel_fault(entry: &str) -> String {
    let told = fault(&format!("[[channel]]\nname = \"a\"\n{entry}"));
    told.strip_prefix("tracer.toml: `channel[0].").unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[test]
fn without_any_setting_incidents_are_logged() {
    let log = only(Settings::defaults().unwrap());
    assert_eq!((log.name.as_str(), log.target), ("log", Target::Log));
}

#[test]
fn slack_needs_no_file_and_the_bot_wins_over_the_webhook() {
    let by_webhook = only(load("", &[WEBHOOK], &[]).unwrap());
    assert_eq!(by_webhook.name.as_str(), "slack");
    assert_eq!(by_webhook.target, Target::SlackWebhook { url: Secret::new(WEBHOOK.1) });
    assert!((by_webhook.rate_per_second - 1.0).abs() < 1e-9);
    for env in [&[TOKEN, CHANNEL][..], &[WEBHOOK, TOKEN, CHANNEL]] {
        assert_eq!(only(load("", env, &[]).unwrap()).target, bot(TOKEN.1, CHANNEL.1));
    }
    assert_eq!(names(&load("", &[("SLACK_WEBHOOK_URL", "")], &[]).unwrap()), ["log"]);
    let with_file = "[[channel]]\nname = \"am\"\ntype = \"alertmanager\"\nurl = \"http://am:9093\"";
    assert_eq!(names(&load(with_file, &[WEBHOOK], &[]).unwrap()), ["am", "slack"]);
}

#[test]
fn a_slack_channel_of_a_file_takes_what_the_environment_keeps_secret() {
    let text = "[[channel]]\nname = \"slack\"\ntype = \"slack\"\nseverity = \"critical\"\n\
                [[channel]]\nname = \"data\"\ntype = \"slack\"\nslack_channel = \"C0123\"\nworkflow = \"etl-*\"";
    let settings = load(text, &[TOKEN, CHANNEL], &[]).unwrap();
    assert_eq!(names(&settings), ["slack", "data"]);
    let [general, data] = settings.channels.try_into().unwrap();
    assert_eq!((general.target, general.severity), (bot(TOKEN.1, "#ops"), Severity::Critical));
    assert_eq!((data.target, data.workflow.as_str()), (bot(TOKEN.1, "C0123"), "etl-*"));
}

#[test]
fn slack_that_cannot_work_is_refused_with_what_is_missing() {
    assert_eq!(
        env_fault(TOKEN.0, TOKEN.1),
        "SLACK_BOT_TOKEN: `slack.channel`: must say where the bot posts: set SLACK_CHANNEL to the channel's id, or to \
         # and its name"
    );
    assert_eq!(
        env_fault(CHANNEL.0, CHANNEL.1),
        "SLACK_CHANNEL: `slack.channel`: does nothing by itself: set SLACK_BOT_TOKEN, too, or SLACK_WEBHOOK_URL in its \
         place"
    );
    assert_eq!(
        env_fault(WEBHOOK.0, "hooks.slack.example/hunter2"),
        "SLACK_WEBHOOK_URL: `slack.webhook_url`: expected an address that begins with https:// or http://"
    );
    let taken =
        "[[channel]]\nname = \"slack\"\ntype = \"slack\"\nwebhook_url = \"https://hooks.slack.example/b\"";
    assert_eq!(
        load(taken, &[WEBHOOK], &[]).unwrap_err(),
        "tracer.toml: `channel[0].name`: is the name of the channel that SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN makes: \
         give this one another, or leave out its address and token, so that it is that channel"
    );
    assert!(
        channel_fault("type = \"slack\"")
            .starts_with("type`: needs webhook_url, or bot_token and slack_channel")
    );
    assert_eq!(
        channel_fault("type = \"slack\"\nbot_token = \"xoxb-1\""),
        "slack_channel`: must say where the bot posts: a channel's id, or # and its name"
    );
    assert_eq!(
        channel_fault("type = \"slack\"\nwebhook_url = \"https://a.example\"\nslack_channel = \"#ops\""),
        "slack_channel`: needs bot_token: a webhook posts where it was made for"
    );
}

#[test]
fn a_channel_says_what_it_wants_to_hear_and_when() {
    let text = "[[channel]]\nname = \"pager\"\ntype = \"webhook\"\nurl = \"https://u:p@pager.example/x\"\n\
                secret = \"s\"\nkinds = [\"stuck_step\", \"failure_rate\"]\nquiet = \"22:00-07:00\"\n\
                quiet_zone = \"Europe/Berlin\"\nrate_per_second = 2\ntimeout = \"5s\"";
    let pager = only(load(text, &[], &[]).unwrap());
    assert_eq!(
        pager.target,
        Target::Webhook { url: Secret::new("https://u:p@pager.example/x"), secret: Secret::new("s") }
    );
    assert_eq!(
        pager.kinds.into_iter().collect::<Vec<_>>(),
        [IncidentKind::StuckStep, IncidentKind::FailureRate]
    );
    assert_eq!((pager.timeout.as_secs(), pager.severity), (5, Severity::Warning));
    assert!((pager.rate_per_second - 2.0).abs() < 1e-9);
    // Summer in Berlin is two hours ahead of UTC.
    let quiet = pager.quiet.unwrap();
    let end = |at: &str| quiet.end_after(Timestamp::parse(at).unwrap()).map(|end| end.to_string());
    assert_eq!(end("2026-07-01T19:59:59Z"), None);
    assert_eq!(end("2026-07-01T20:00:00Z").as_deref(), Some("2026-07-02T05:00:00.000Z"));
}

#[test]
fn what_a_channel_cannot_be_is_refused_with_what_is_expected() {
    for (entry, expected) in [
        ("type = \"webhook\"", "url`: is required for a channel of type webhook"),
        (
            "type = \"webhook\"\nurl = \"ftp://a\"",
            "url`: expected an address that begins with https:// or http://",
        ),
        (
            "type = \"log\"\nurl = \"https://a.example\"",
            "url`: is for channels of type webhook or action or \
          alertmanager, and this one is of type log",
        ),
        (
            "type = \"webhook\"\nurl = \"https://a.example\"\nper_hour = 3",
            "per_hour`: is for channels of type action, \
          and this one is of type webhook",
        ),
        (
            "type = \"action\"\nurl = \"https://a.example\"\nper_hour = 0",
            "per_hour`: must lie between 1 and 1000",
        ),
        ("type = \"log\"\nseverity = \"bad\"", "severity`: expected \"WARNING\" or \"CRITICAL\""),
        (
            "type = \"log\"\nquiet = \"22-7\"",
            "quiet`: expected two different times of day, such as \"22:00-07:00\"",
        ),
        (
            "type = \"log\"\nquiet = \"07:00-07:00\"",
            "quiet`: expected two different times of day, such as \
          \"22:00-07:00\"",
        ),
        (
            "type = \"log\"\nquiet = \"22:00-24:00\"",
            "quiet`: expected two different times of day, such as \
          \"22:00-07:00\"",
        ),
        (
            "type = \"log\"\nquiet_zone = \"UTC\"",
            "quiet_zone`: does nothing without quiet, such as \"22:00-07:00\"",
        ),
        (
            "type = \"log\"\nquiet = \"22:00-07:00\"\nquiet_zone = \"Berlin\"",
            "quiet_zone`: expected a zone of the IANA \
          database, such as \"Europe/Berlin\"",
        ),
        (
            "type = \"alertmanager\"\nurl = \"http://a\"\nquiet = \"22:00-07:00\"",
            "quiet`: would leave Alertmanager \
          with a state that is old: use its mute_time_intervals",
        ),
        ("type = \"log\"\nrate_per_second = 0", "rate_per_second`: must lie between 0.01 and 1000"),
        ("type = \"log\"\nrate_per_second = nan", "rate_per_second`: must lie between 0.01 and 1000"),
        ("type = \"log\"\ntimeout = \"1h\"", "timeout`: must lie between 1s and 300 s"),
        ("type = \"log\"\nworkflow = \"\"", "workflow`: must not be empty: no name is; * stands for any"),
        (
            "type = \"mail\"",
            "type`: unknown variant `mail`, expected one of `slack`, `webhook`, `alertmanager`, \
          `action`, `log`",
        ),
        (
            "type = \"log\"\nkinds = [\"slow\"]",
            "kinds[0]`: unknown variant `slow`, expected one of `slow_step`, \
          `stuck_step`, `stalled_execution`, `regression`, `failure_rate`, `slo_burn`, `alert`",
        ),
    ] {
        assert_eq!(channel_fault(entry), expected, "{entry}");
    }
    assert!(
        channel_fault("type = \"log\"\nsevrity = \"WARNING\"")
            .starts_with("sevrity`: unknown field `sevrity`")
    );
    let named = |name: &str| format!("[[channel]]\nname = \"{name}\"\ntype = \"log\"\n");
    assert_eq!(
        fault(&named("Ops")),
        "tracer.toml: `channel[0].name`: must be 1 to 64 lowercase letters, digits, `-` and `_`"
    );
    assert_eq!(
        fault(&[named("a"), named("a")].concat()),
        "tracer.toml: `channel[1].name`: is the name of another channel: give each its own"
    );
    let many: Vec<String> = (0..51).map(|n| named(&n.to_string())).collect();
    assert_eq!(fault(&many.concat()), "tracer.toml: `channel`: must not be more than 50");
    assert_eq!(
        fault("[[channels]]\nname = \"a\""),
        "tracer.toml: unknown setting `channels`; did you mean `channel`?"
    );
}

#[test]
fn times_shares_and_links_have_bounds() {
    for (text, expected) in [
        ("resolve_after = \"0s\"", "`alerts.resolve_after`: must lie between 1s and 2592000 s"),
        ("resolve_after = \"25h\"", "`alerts.stale_after`: must not be below resolve_after"),
        ("repeat_interval = \"1ms\"", "`alerts.repeat_interval`: must lie between 1s and 31536000 s"),
        ("group_wait = \"2m\"", "`alerts.group_wait`: must lie between 0ns and 60 s"),
        ("resolve_runs = 256", "`alerts.resolve_runs`: invalid value: integer `256`, expected u8"),
        (
            "failure_rate = 5",
            "`alerts.failure_rate`: must lie between 0 and 1: 0.05 is 5 %, 1 switches it off",
        ),
        ("failure_min_ends = 0", "`alerts.failure_min_ends`: must lie between 1 and 1000000"),
        (
            "execution_url = \"https://a.example/{id}\"",
            "`alerts.execution_url`: has an unknown placeholder; known are {workflow}, {step}, {execution}, \
             {incident}, {kind}",
        ),
    ] {
        assert_eq!(fault(&format!("[alerts]\n{text}")), format!("tracer.toml: {expected}"));
    }
    assert_eq!(
        fault("[[runbook]]\nstep = \"load\"\nurl = \"wiki/load\""),
        "tracer.toml: `runbook[0].url`: expected an address that begins with https:// or http://"
    );
    assert_eq!(fault("[[runbook]]\nstep = \"load\""), "tracer.toml: `runbook[0]`: missing field `url`");
}

#[test]
fn no_secret_of_a_channel_is_shown() {
    let text = "[[channel]]\nname = \"hook\"\ntype = \"action\"\nurl = \"https://a.example/hunter2\"\n\
                secret = \"hunter2\"\n\
                [[channel]]\nname = \"bot\"\ntype = \"slack\"\nbot_token = \"xoxb-hunter2\"\nslack_channel = \"#a\"\n\
                [[channel]]\nname = \"old\"\ntype = \"slack\"\nwebhook_url = \"https://b.example/hunter2\"";
    let settings = load(text, &[WEBHOOK, TOKEN, CHANNEL], &[]).unwrap();
    let shown = settings.show();
    assert!(
        !shown.contains("hunter2") && !format!("{settings:?}").contains("hunter2"),
        "{shown}\n{settings:?}"
    );
    assert!(shown.contains("secret = \"[redacted]\"") && shown.contains("slack_channel = \"#a\""), "{shown}");
    assert!(shown.contains("bot_token = \"[redacted]\"  # from SLACK_BOT_TOKEN"), "{shown}");
}
