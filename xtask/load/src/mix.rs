//! What users run: invented workflows, with steps that take about as long as such steps do.
//!
//! Durations are log-normal around a typical one, as those of real steps are. A few steps are much slower, a few
//! fail; with the same seed they are the same ones.
//! Not here: how a run is told to the service (`drive`).

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// How much durations vary: the standard deviation of their logarithm.
const SPREAD: f64 = 0.18;
/// How many times its time a slow step takes, at least and at most.
const SLOW: (f64, f64) = (3.5, 9.0);

/// How a kind of run is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Step by step over REST, as it happens.
    Rest,
    /// As a trace over OTLP, when it has ended.
    Otlp,
}

/// A kind of workflow.
struct Kind {
    name: &'static str,
    way: Way,
    /// How often it runs, compared with others.
    weight: f64,
    /// The share of its executions that fail, at the usual rate of failures.
    fails: f64,
    /// Stages one after the other; the steps of one run at the same time.
    stages: &'static [&'static [Kept]],
}

/// A step of a kind: name, type, typical milliseconds, and how it fails.
type Kept = (&'static str, &'static str, f64, &'static str);

/// What runs in an ordinary company.
const KINDS: [Kind; 8] = [
    Kind {
        name: "order-fulfilment",
        way: Way::Rest,
        weight: 5.0,
        fails: 0.02,
        stages: &[
            &[("validate-order", "api_call", 30.0, "ValidationError: the order has no lines")],
            &[
                ("reserve-stock", "db_query", 60.0, "DeadlockDetected: process 4711 waits for ShareLock"),
                ("score-fraud", "inference", 140.0, "TimeoutError: the model did not answer in 2 s"),
            ],
            &[("charge-card", "api_call", 260.0, "CardDeclined: do_not_honor")],
            &[("book-shipment", "api_call", 180.0, "HTTPError: 503 from the carrier")],
            &[("send-confirmation", "task", 40.0, "SMTPError: 421 try again later")],
        ],
    },
    Kind {
        name: "nightly-etl",
        way: Way::Rest,
        weight: 1.0,
        fails: 0.03,
        stages: &[
            &[("extract", "db_query", 700.0, "OperationalError: connection reset by peer")],
            &[("validate", "task", 120.0, "SchemaError: column amount is missing")],
            &[("transform", "task", 900.0, "MemoryError: 12 GiB are not enough")],
            &[
                ("load-facts", "db_query", 500.0, "DiskFull: disk 7 is full"),
                ("load-dimensions", "db_query", 220.0, "DiskFull: disk 7 is full"),
            ],
            &[("refresh-views", "db_query", 350.0, "LockTimeout: 30 s")],
        ],
    },
    Kind {
        name: "support-agent",
        way: Way::Rest,
        weight: 3.0,
        fails: 0.04,
        stages: &[
            &[("retrieve-context", "db_query", 90.0, "TimeoutError: the index did not answer in 5 s")],
            &[("plan", "llm", 800.0, "RateLimitError: 429 from the model")],
            &[
                ("search-orders", "tool", 150.0, "ToolError: no such order"),
                ("search-docs", "tool", 210.0, "ToolError: the search is away"),
            ],
            &[("draft-answer", "llm", 1_300.0, "RateLimitError: 429 from the model")],
            &[("check-policy", "llm", 400.0, "ContentFilter: refused")],
        ],
    },
    Kind {
        name: "image-pipeline",
        way: Way::Rest,
        weight: 4.0,
        fails: 0.01,
        stages: &[
            &[("download", "api_call", 110.0, "HTTPError: 404")],
            &[("decode", "task", 35.0, "DecodeError: truncated JPEG")],
            &[
                ("thumbnail", "task", 55.0, "MemoryError: image too large"),
                ("classify", "inference", 230.0, "CudaError: out of memory"),
                ("hash", "task", 12.0, "IOError: short read"),
            ],
            &[("store", "db_query", 45.0, "OperationalError: connection reset by peer")],
        ],
    },
    Kind {
        name: "monthly-report",
        way: Way::Rest,
        weight: 0.5,
        fails: 0.02,
        stages: &[
            &[("collect", "db_query", 1_200.0, "LockTimeout: 30 s")],
            &[("aggregate", "task", 1_500.0, "MemoryError: 12 GiB are not enough")],
            &[("render-pdf", "task", 600.0, "RenderError: font not found")],
            &[("mail", "task", 60.0, "SMTPError: 421 try again later")],
        ],
    },
    Kind {
        name: "checkout",
        way: Way::Otlp,
        weight: 5.0,
        fails: 0.02,
        stages: &[
            &[("authenticate", "api_call", 25.0, "Unauthorized: the token has expired")],
            &[
                ("load-cart", "db_query", 40.0, "TimeoutError: 1 s"),
                ("load-prices", "db_query", 55.0, "TimeoutError: 1 s"),
            ],
            &[("tax", "api_call", 130.0, "HTTPError: 502 from the tax service")],
            &[("pay", "api_call", 280.0, "CardDeclined: do_not_honor")],
        ],
    },
    Kind {
        name: "rag-ingest",
        way: Way::Otlp,
        weight: 1.5,
        fails: 0.02,
        stages: &[
            &[("fetch", "api_call", 160.0, "HTTPError: 403")],
            &[("chunk", "task", 70.0, "UnicodeDecodeError: position 17")],
            &[("embed", "llm", 650.0, "RateLimitError: 429 from the model")],
            &[("upsert", "db_query", 95.0, "OperationalError: connection reset by peer")],
        ],
    },
    Kind {
        name: "model-training",
        way: Way::Rest,
        weight: 0.3,
        fails: 0.05,
        stages: &[
            &[("prepare-data", "task", 1_000.0, "FileNotFoundError: shard 12")],
            &[("train", "task", 4_000.0, "CudaError: out of memory")],
            &[("evaluate", "inference", 1_200.0, "AssertionError: accuracy 0.61 is below 0.8")],
            &[("publish", "api_call", 150.0, "HTTPError: 503 from the registry")],
        ],
    },
];

/// Where the same workflow runs: further names, so that there are many.
const PLACES: [&str; 12] =
    ["", "-eu", "-us", "-apac", "-canary", "-batch", "-partner", "-b2b", "-de", "-fr", "-in", "-br"];

/// A run to come.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The name of its workflow.
    pub(crate) workflow: String,
    /// How it is recorded.
    pub(crate) way: Way,
    /// What is known of it.
    pub(crate) attributes: Value,
    /// Its stages; it fails with the first step that does.
    pub(crate) stages: Vec<Vec<Step>>,
}

/// A step to come.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Its name.
    pub(crate) name: &'static str,
    /// What kind of work it is.
    pub(crate) step_type: &'static str,
    /// How long it takes.
    pub(crate) duration: Duration,
    /// How it fails, as `Type: message`, if it does.
    pub(crate) failure: Option<&'static str>,
    /// What its duration depends on.
    pub(crate) attributes: Value,
    /// Whether it is told of in one request, when it has ended.
    pub(crate) whole: bool,
}

/// How many of what go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    /// The share of steps that are much slower than usual, from 0 to 1.
    pub(crate) slow: f64,
    /// A factor on the failures of each workflow.
    pub(crate) failures: f64,
}

/// Invents the next run, of one of so many workflows.
pub(crate) fn next(random: &mut StdRng, workflows: usize, trouble: Trouble) -> Run {
    let kind = choose(random);
    let places = workflows.div_ceil(KINDS.len()).clamp(1, PLACES.len());
    // Most of what runs, runs in the first place.
    let place = random.random_range(0..places).min(random.random_range(0..places));
    let size = random.random_range(0.3..3.0_f64);
    let failing = (random.random::<f64>() < kind.fails * trouble.failures)
        .then(|| random.random_range(0..kind.stages.len()));
    let stages = kind.stages.iter().enumerate().map(|(number, stage)| {
        let steps = stage.iter().enumerate().map(|(place, kept)| {
            let fails = failing == Some(number) && place == 0;
            step(random, *kept, size, fails, trouble)
        });
        steps.collect()
    });
    let stages = stages.collect();
    Run {
        workflow: format!("{}{}", kind.name, PLACES.get(place).copied().unwrap_or_default()),
        way: kind.way,
        attributes: json!({"region": (["eu-west-1", "us-east-1"][place % 2]), "size": (size * 100.0).round() / 100.0}),
        stages,
    }
}

fn choose(random: &mut StdRng) -> &'static Kind {
    let all: f64 = KINDS.iter().map(|kind| kind.weight).sum();
    let mut at = random.random_range(0.0..all);
    for kind in &KINDS {
        at -= kind.weight;
        if at < 0.0 {
            return kind;
        }
    }
    &KINDS[0]
}

fn step(random: &mut StdRng, kept: Kept, size: f64, fails: bool, trouble: Trouble) -> Step {
    let (name, step_type, typical, failure) = kept;
    let slow = if random.random::<f64>() < trouble.slow { random.random_range(SLOW.0..SLOW.1) } else { 1.0 };
    // Some steps take long for large inputs, and say how large theirs is.
    let scales = step_type == "task";
    let scale = if scales { 0.6 + 0.4 * size } else { 1.0 };
    let millis = typical * scale * slow * (SPREAD * normal(random)).exp();
    let attributes = match step_type {
        "task" => json!({"input_bytes": (size * 1_048_576.0).round()}),
        "llm" => json!({
            "gen_ai.request.model": "large-2", "gen_ai.usage.input_tokens": random.random_range(200..4_000),
            "gen_ai.usage.output_tokens": random.random_range(20..900),
        }),
        _ => json!({}),
    };
    Step {
        name,
        step_type,
        duration: Duration::from_secs_f64(millis / 1_000.0),
        failure: fails.then_some(failure),
        attributes,
        whole: random.random::<f64>() < 0.25,
    }
}

/// Returns a standard normal number, by Box and Muller (1958).
fn normal(random: &mut StdRng) -> f64 {
    let (u, v): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;

    fn runs(seed: u64, trouble: Trouble) -> Vec<Run> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..2_000).map(|_| next(&mut random, 24, trouble)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_runs_of_many_workflows() {
        let trouble = Trouble { slow: 0.01, failures: 1.0 };
        let told = |runs: &[Run]| format!("{runs:?}");
        assert_eq!(told(&runs(7, trouble)), told(&runs(7, trouble)));
        assert_ne!(told(&runs(7, trouble)), told(&runs(8, trouble)));
        let names: BTreeSet<String> = runs(7, trouble).into_iter().map(|run| run.workflow).collect();
        assert!((20..=24).contains(&names.len()), "{names:?}");
    }

    #[test]
    fn trouble_is_as_frequent_as_asked_for() {
        let failing = |failures| {
            let runs = runs(3, Trouble { slow: 0.0, failures });
            runs.iter().filter(|run| run.stages.iter().flatten().any(|step| step.failure.is_some())).count()
        };
        assert_eq!(failing(0.0), 0);
        assert!((20..80).contains(&failing(1.0)), "{}", failing(1.0));
        let slowest = |slow| {
            let runs = runs(3, Trouble { slow, failures: 0.0 });
            let steps = runs.iter().flat_map(|run| run.stages.iter().flatten());
            let pays = steps.filter(|step| step.name == "charge-card");
            pays.map(|step| step.duration).max().unwrap()
        };
        assert!(slowest(0.0) < Duration::from_millis(600) && slowest(0.5) > Duration::from_millis(1_200));
    }
}
