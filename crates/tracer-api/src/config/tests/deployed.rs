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

#[test]
fn links_of_compose_are_those_of_its_file_unless_the_environment_says_otherwise() {
    let text = read("deploy/compose/tracer/tracer.toml");
    let links = |env: &[(&str, &str)]| {
        let alerts = load(&text, env, &[]).unwrap().alerts;
        (alerts.dashboard_url, alerts.execution_url)
    };
    let (dashboard, execution) = (
        "http://localhost:3000/d/tracer-workflow?var-workflow={workflow}",
        "http://localhost:8000/workflows/{execution}",
    );
    assert_eq!(links(&[]), (dashboard.to_owned(), execution.to_owned()));
    let other = [("TRACER_ALERTS_EXECUTION_URL", "https://t.example.com/workflows/{execution}")];
    assert_eq!(links(&other), (dashboard.to_owned(), other[0].1.to_owned()));
    // An empty one is one that is set: Compose must not hand on what nobody has set.
    assert_eq!(links(&[("TRACER_ALERTS_DASHBOARD_URL", "")]), (String::new(), execution.to_owned()));
}

#[test]
fn what_compose_reads_of_its_environment_is_in_the_example() {
    let (compose, example) = (read("compose.yaml"), read(".env.example"));
    // ${NAME:-default}, and NAME: without a value, which is handed on.
    let substituted = compose.split("${").skip(1).map(|rest| rest.split_once('}').unwrap().0);
    let lines = compose.lines().map(str::trim);
    let handed_on = lines.filter_map(|line| line.strip_suffix(':')).filter(|name| is_variable(name));
    let mut names: Vec<&str> = Vec::new();
    for one in substituted {
        // docker-compose 1.29 ends a default at its last brace, Compose 2 at the first that is nobody's.
        assert!(!one.contains('{'), "a brace within ${{{one}}}: put the default elsewhere");
        names.push(one.split(':').next().unwrap());
    }
    names.extend(handed_on);
    assert!(names.len() > 15 && names.contains(&"TRACER_ALERTS_DASHBOARD_URL"), "{names:?}");
    for name in names {
        assert!(example.contains(&format!("\n#{name}=")), ".env.example does not list {name}");
    }
}

fn is_variable(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}
