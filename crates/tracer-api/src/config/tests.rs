mod alerts;
mod deployed;
mod export;
mod slo;

use super::*;

fn file(text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracer.toml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources { file: Some(path), ..Sources::default() };
    (folder, sources)
}

/// Loads a file, an environment and arguments; the error is shown without the file's folder.
fn load(text: &str, env: &[(&str, &str)], arguments: &[(&str, &str)]) -> Result<Settings, String> {
    let (folder, mut sources) = file(text);
    sources.env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    sources.arguments =
        arguments.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned(), "--set".to_owned())).collect();
    let prefix = format!("{}/", folder.path().display());
    Settings::load(&sources).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn fault(text: &str) -> String {
    load(text, &[], &[]).unwrap_err()
}

fn env_fault(name: &str, value: &str) -> String {
    load("", &[(name, value)], &[]).unwrap_err()
}

#[test]
fn the_defaults_are_valid_and_bind_only_this_machine() {
    let settings = Settings::defaults().unwrap();
    assert_eq!(settings.addresses().unwrap(), ["127.0.0.1:8000".parse().unwrap()]);
    assert_eq!(settings.detection.min_excess, Duration::from_millis(5));
    assert!(settings.simulate && settings.api_keys.is_empty() && settings.store.url.is_empty());
}

#[test]
fn argument_beats_environment_beats_file_beats_default() {
    let text = "listen = \"127.0.0.1:1\"\n[store]\nqueue = 1\nbatch = 1\npool_size = 3";
    let env = [("TRACER_STORE_QUEUE", "2"), ("TRACER_STORE_BATCH", "2")];
    let settings = load(text, &env, &[("store.batch", "9")]).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:1");
    let store = &settings.store;
    assert_eq!((store.pool_size, store.queue, store.batch), (3, 2, 9));
    assert_eq!(store.acquire_timeout, Duration::from_secs(2));
}

#[test]
fn the_ports_of_otlp_are_ports_of_their_own() {
    let port = |text: &str| load(text, &[], &[]).map(|settings| settings.otlp_http_port());
    assert_eq!(port(""), Ok(Some(4318)));
    assert_eq!(port("[otlp]\nhttp_port = 0"), Ok(None));
    assert_eq!(port("listen = \"127.0.0.1:4318\""), Ok(None), "it is received there anyway");
    let told = "tracer.toml: `otlp.grpc_port`: must be a port of its own, or 0";
    assert_eq!(port("[otlp]\ngrpc_port = 4318"), Err(told.to_owned()));
    assert!(port("listen = \":4317\"").is_err());
    assert!(port("[otlp]\nhttp_port = 70000").is_err());
    assert!(port("[otlp]\ngrace = \"1ms\"").is_err() && port("[otlp]\nsilence = \"1s\"").is_err());
    let settings = load("[otlp]\nhttp_port = 4318", &[], &[]).unwrap();
    assert_eq!((settings.is_set("otlp.http_port"), settings.is_set("otlp.grpc_port")), (true, false));
}

#[test]
fn the_environment_sets_every_type_of_setting() {
    let env = [
        ("TRACER_INSECURE", "true"),
        ("TRACER_DETECTION_WARNING_FACTOR", "2"),
        ("TRACER_RETENTION_DETAIL", "90d"),
        ("TRACER_METRICS_DURATION_BUCKETS", "0.1, 1, 10"),
        ("TRACER_DETECT", "[{ step = \"llm_*\", critical_factor = 5.0 }]"),
        ("TRACER_LOG", "info,tracer_store=debug"),
        ("DATABASE_URL", "postgres://localhost/tracer"),
        ("TRACER_TEST_DATABASE_URL", "ignored"),
        ("PATH", "ignored"),
    ];
    let settings = load("", &env, &[]).unwrap();
    assert!(settings.insecure);
    assert_eq!(settings.retention.detail, Duration::from_secs(90 * 86_400));
    assert_eq!(settings.metrics.duration_buckets, [0.1, 1.0, 10.0]);
    assert_eq!((&*settings.detect[0].workflow, &*settings.detect[0].step), ("*", "llm_*"));
    let numbers = settings.detect[0].over(&settings.detection);
    assert_eq!((numbers.warning_factor, numbers.critical_factor), (2.0, 5.0));
    assert_eq!(settings.log.level, "info,tracer_store=debug");
    assert_eq!(settings.store.url.expose(), "postgres://localhost/tracer");
}

#[test]
fn the_own_variable_of_a_setting_beats_its_short_name() {
    let env = [("TRACER_LOG", "warn"), ("TRACER_LOG_LEVEL", "debug")];
    assert_eq!(load("", &env, &[]).unwrap().log.level, "debug");
}

#[test]
fn what_is_unknown_is_named_with_what_was_probably_meant() {
    assert_eq!(
        fault("[store]\npool_sise = 3"),
        "tracer.toml: unknown setting `store.pool_sise`; did you mean `store.pool_size`?"
    );
    assert_eq!(
        fault("pool_size = 3"),
        "tracer.toml: unknown setting `pool_size`; did you mean `store.pool_size`?"
    );
    assert_eq!(fault("[stores]\nx = 3"), "tracer.toml: unknown setting `stores`; did you mean `store`?");
    assert_eq!(fault("store = 3"), "tracer.toml: `store`: is a section: write [store]");
    assert_eq!(fault("wholly_different = 3"), "tracer.toml: unknown setting `wholly_different`");
    assert_eq!(
        env_fault("TRACER_LISTN", "x"),
        "unknown environment variable TRACER_LISTN; did you mean `TRACER_LISTEN`?"
    );
    assert_eq!(
        fault("[[detect]]\nstep = \"a\"\nwarning = 2.0"),
        "tracer.toml: `detect[0].warning`: unknown field `warning`, expected one of `workflow`, `step`, \
         `rule`, `warning_factor`, `critical_factor`, `quantile_warning`, `quantile_critical`, `robust_warning`, \
         `robust_critical`, `robust_least_factor`, `min_samples`, `min_excess`, `cohort`, `confirm`, `min_shift`, \
         `timeout`, `stall_after`, `deadline`"
    );
}

#[test]
fn a_wrong_value_is_named_with_its_source_and_what_is_expected() {
    for (text, expected) in [
        ("[store]\nqueue = \"many\"", "`store.queue`: expected a whole number"),
        ("[store]\nqueue = 0", "`store.queue`: must lie between 1 and 1000000"),
        ("[detection]\nwarning_factor = 1", "`detection.warning_factor`: must be above 1, at most a million"),
        (
            "[detection]\nwarning_factor = nan",
            "`detection.warning_factor`: must be above 1, at most a million",
        ),
        ("[detection]\nwarning_factor = 4", "`detection.critical_factor`: must not be below warning_factor"),
        ("[[detect]]\nwarning_factor = 4", "`detect[0].critical_factor`: must not be below warning_factor"),
        ("[retention]\ndetail = \"1s\"", "`retention.detail`: must lie between 86400s and 3153600000 s"),
        (
            "[detection]\nwatch_interval = \"99ms\"",
            "`detection.watch_interval`: must lie between 100ms and 60 s",
        ),
        (
            "[metrics]\nduration_buckets = [2, 1]",
            "`metrics.duration_buckets`: must be positive numbers, each above the one before",
        ),
        ("listen = \"8000\"", "`listen`: expected host:port, such as 127.0.0.1:8000 or [::1]:8000"),
        ("[log]\nlevel = \"loud=\"", "`log.level`: expected a level such as info, or levels by module"),
        (
            "[log]\nformat = \"xml\"",
            "`log.format`: unknown variant `xml`, expected one of `auto`, `json`, `text`",
        ),
        (
            "[store]\nurl = \"mysql://u:hunter2@h/d\"",
            "`store.url`: must begin with postgres:// or postgresql://, or be empty for the embedded store",
        ),
    ] {
        assert_eq!(fault(text), format!("tracer.toml: {expected}"), "{text}");
    }
    assert_eq!(
        env_fault("TRACER_STORE_ACQUIRE_TIMEOUT", "soon"),
        "TRACER_STORE_ACQUIRE_TIMEOUT: `store.acquire_timeout`: expected a duration: a whole number and one of \
         us, ms, s, m, h or d, such as \"5ms\" or \"30d\""
    );
    assert_eq!(
        env_fault("TRACER_INSECURE", "perhaps"),
        "TRACER_INSECURE: `insecure`: expected true or false"
    );
}

#[test]
fn a_fault_of_syntax_names_the_line_and_shows_no_secret() {
    let shown = fault("insecure = true\napi_keys = \"a:read:hunter2\nlisten = 3");
    assert!(shown.starts_with("tracer.toml is not valid TOML: line 2: "), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let sources = Sources { file: Some("no-such-folder/tracer.toml".into()), ..Sources::default() };
    let error = Settings::load(&sources).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the settings in no-such-folder/tracer.toml");
}

#[test]
fn settings_are_shown_with_their_sources_and_without_their_secrets() {
    let env = [("TRACER_API_KEYS", "ci:ingest:hunter2"), ("DATABASE_URL", "postgres://u:hunter2@h/d")];
    let settings = load("[store]\nqueue = 7", &env, &[("simulate", "false")]).unwrap();
    let shown = settings.show();
    for line in [
        "api_keys = \"[redacted]\"  # from TRACER_API_KEYS",
        "url = \"[redacted]\"  # from DATABASE_URL",
        "simulate = false  # from --set",
        "batch = 512",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(
        shown.lines().any(|l| l.starts_with("queue = 7  # from ") && l.ends_with("tracer.toml")),
        "{shown}"
    );
    assert!(!shown.contains("hunter2") && !format!("{settings:?}").contains("hunter2"), "{shown}");
    // What is shown loads again as it is.
    let defaults = Settings::defaults().unwrap().show();
    assert_eq!(
        load(&defaults, &[], &[]).unwrap().show().replace("  # from ", "").lines().count(),
        defaults.lines().count()
    );
}

#[test]
fn no_host_means_every_address() {
    let settings = load("listen = \":8000\"", &[], &[]).unwrap();
    assert_eq!(settings.addresses().unwrap(), ["[::]:8000".parse().unwrap()]);
}
