//! Secrets in files, and the files that are deployed.

use super::*;

/// Loads with these files in a folder, and variables whose `@` stands for it.
fn with_files(files: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let at = folder.path().display().to_string();
    let env: Vec<(&str, String)> = env.iter().map(|(name, text)| (*name, text.replace('@', &at))).collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(name, text)| (*name, text.as_str())).collect();
    load("", &env, &[]).map_err(|error| error.replace(&at, "@"))
}

#[test]
fn every_secret_may_stand_in_a_file_that_ends_with_a_new_line() {
    let files = [
        ("url", "postgres://tracer:pass word@db/tracer\n"),
        ("hook", "https://hooks.slack.com/services/T/B/x\r\n"),
        ("keys", "ci:ingest:one,ops:admin:two"),
        ("headers", "authorization=Basic%20eA\n"),
    ];
    let env = [
        ("DATABASE_URL_FILE", "@/url"),
        ("SLACK_WEBHOOK_URL_FILE", "@/hook"),
        ("TRACER_API_KEYS_FILE", "@/keys"),
        ("TRACER_EXPORT_HEADERS_FILE", "@/headers"),
    ];
    let settings = with_files(&files, &env).unwrap();
    assert_eq!(settings.store.url.expose(), "postgres://tracer:pass word@db/tracer");
    assert_eq!(settings.slack.webhook_url.expose(), "https://hooks.slack.com/services/T/B/x");
    assert!(settings.api_keys.find("two").is_some() && !settings.api_keys.is_empty());
    assert_eq!(settings.export.headers.expose(), "authorization=Basic%20eA");
    let shown = settings.show();
    assert!(shown.contains("url = \"[redacted]\"  # from DATABASE_URL_FILE\n"), "{shown}");
    assert!(!shown.contains("pass word"), "{shown}");
}

#[test]
fn the_derived_name_wins_over_the_short_one_in_files_too() {
    let files = [("a", "xoxb-1"), ("b", "xoxb-2")];
    let env = [
        ("SLACK_BOT_TOKEN_FILE", "@/a"),
        ("TRACER_SLACK_BOT_TOKEN_FILE", "@/b"),
        ("SLACK_CHANNEL", "#ops"),
        ("SLACK_BOT_TOKEN", ""),
        ("DATABASE_URL_FILE", ""),
    ];
    assert_eq!(with_files(&files, &env).unwrap().slack.bot_token.expose(), "xoxb-2");
}

#[test]
fn a_secret_that_is_given_twice_or_not_at_all_stops_the_start() {
    let fault = |files: &[(&str, &str)], env: &[(&str, &str)]| with_files(files, env).unwrap_err();
    assert_eq!(
        fault(
            &[("url", "postgres://a")],
            &[("DATABASE_URL", "postgres://b"), ("DATABASE_URL_FILE", "@/url")]
        ),
        "DATABASE_URL and DATABASE_URL_FILE are both set: one of them must go"
    );
    assert_eq!(fault(&[], &[("DATABASE_URL_FILE", "@/none")]), "DATABASE_URL_FILE: cannot read @/none");
    assert_eq!(
        fault(&[("url", "\n")], &[("DATABASE_URL_FILE", "@/url")]),
        "DATABASE_URL_FILE: @/url is empty"
    );
    let wrong = fault(&[("url", "mysql://hunter2")], &[("DATABASE_URL_FILE", "@/url")]);
    assert!(wrong.starts_with("DATABASE_URL_FILE: `store.url`: ") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn only_secrets_stand_in_files() {
    let fault = with_files(&[], &[("TRACER_LISTEN_FILE", "@/listen")]).unwrap_err();
    assert!(fault.starts_with("unknown environment variable TRACER_LISTEN_FILE"), "{fault}");
}

#[test]
fn the_settings_that_are_deployed_are_settings() {
    for folder in ["deploy/compose/tracer", "deploy/kubernetes/base"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder).join("tracer.toml");
        let sources = Sources { file: Some(file), ..Sources::default() };
        Settings::load(&sources).unwrap_or_else(|error| panic!("{folder}: {error}"));
    }
}
