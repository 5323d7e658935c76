//! What the JSON of a step costs: its request from bytes to command, its answer from outcome to bytes.
//!
//! Not here: HTTP around it and the store behind it, which `cargo xtask bench` measures together.
#![expect(clippy::unwrap_used, reason = "a benchmark whose fixture is wrong must stop")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use serde::Serialize;
use tracer_api::http::body::parse;
use tracer_api::http::steps::{FinishStep, RecordStep};
use tracer_api::http::views::{StepEndedView, StepStartedView};
use tracer_core::baseline::Reference;
use tracer_core::detect::{Bottleneck, Severity};
use tracer_core::ids::{ExecutionId, StepId};
use tracer_core::name::{StepName, StepType, WorkflowName};
use tracer_core::record::{CompleteStep, StartStep, StepEnded, StepStarted};
use tracer_core::step::StepStatus;
use tracer_core::time::{Micros, Timestamp};

/// 2026-01-31T12:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_769_860_800_000);

const POST_SMALL: &str = r#"{"step_name":"data_transform"}"#;
const POST_LARGE: &str = r#"{"step_name":"data_transform","step_type":"tool","parent_step_id":"st_b7ad6b7169203331","attempt":2,"attributes":{"region":"eu-west","rows":18250,"dry_run":false,"model":"small-v3","ratio":0.75},"started_at":"2026-01-31T11:59:58.500Z","duration_ms":1234.5,"status":"failed","error":{"type":"TimeoutError","message":"upstream did not answer in 30 s"}}"#;
const PUT_EMPTY: &str = "{}";
const PUT_USUAL: &str = r#"{"status":"completed","duration_ms":2100}"#;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    requests(&mut criterion);
    answers(&mut criterion);
    criterion.final_summary();
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step, JSON to command");
    let posts = [
        ("POST step, its name alone", POST_SMALL),
        ("POST step, whole, with attributes and error", POST_LARGE),
    ];
    for (name, body) in posts {
        group.throughput(bytes(body.len()));
        group.bench_function(name, |bencher| bencher.iter(|| post(black_box(body))));
    }
    for (name, body) in [("PUT step, nothing", PUT_EMPTY), ("PUT step, status and duration", PUT_USUAL)] {
        group.throughput(bytes(body.len()));
        group.bench_function(name, |bencher| bencher.iter(|| put(black_box(body))));
    }
    group.finish();
}

fn post(body: &str) -> StartStep {
    let request: RecordStep = parse(body.as_bytes()).unwrap();
    request.into_command(execution(), None, NOW).unwrap()
}

fn put(body: &str) -> CompleteStep {
    let request: FinishStep = parse(body.as_bytes()).unwrap();
    request.into_command(execution(), step(), NOW).unwrap()
}

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step, outcome to JSON");
    group.bench_function("started", |bencher| {
        bencher.iter_batched(started, |outcome| json(&StepStartedView::from(outcome)), BatchSize::SmallInput);
    });
    for (name, bottleneck) in [("ended, normal", None), ("ended, CRITICAL", Some(critical()))] {
        let outcome = || ended(bottleneck.clone());
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                outcome,
                |outcome| json(&StepEndedView::from(outcome)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).unwrap()
}

fn bytes(length: usize) -> Throughput {
    Throughput::Bytes(u64::try_from(length).unwrap())
}

fn execution() -> ExecutionId {
    ExecutionId::from_u128(0x0197_a3c5_b2f8_7c4e_9d1a_2b3c_4d5e_6f70).unwrap()
}

fn step() -> StepId {
    StepId::from_u64(0xb7ad_6b71_6920_3331).unwrap()
}

fn started() -> StepStarted {
    StepStarted {
        id: step(),
        execution: execution(),
        workflow: WorkflowName::new("document-pipeline").unwrap(),
        name: StepName::new("data_transform").unwrap(),
        step_type: StepType::default(),
        started_at: NOW,
    }
}

fn ended(bottleneck: Option<Bottleneck>) -> StepEnded {
    let StepStarted { id, execution, workflow, name, step_type, started_at } = started();
    let duration = Micros::from_millis(2_100);
    let (status, ended_at) = (StepStatus::Completed, started_at + duration);
    StepEnded {
        id,
        execution,
        workflow,
        name,
        step_type,
        status,
        started_at,
        ended_at,
        duration,
        bottleneck,
        regression: None,
        compared_with: None,
    }
}

fn critical() -> Bottleneck {
    let mean = Micros::from_millis(420);
    let reference = Reference::constant(mean, 30);
    Bottleneck::new(Severity::Critical, Micros::from_millis(2_100), &reference, false)
}
