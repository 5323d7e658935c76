use tracer_core::incident::IncidentKind;

use super::*;
use crate::config::Settings;

/// Runs with metrics over a recorder of their own.
fn with_metrics<T>(run: impl FnOnce(&Metrics) -> T) -> T {
    let settings = Settings::defaults().unwrap().metrics;
    let recorder = builder(&settings.duration_buckets).unwrap().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        describe();
        run(&Metrics::over(handle, &settings))
    })
}

fn workflow(name: &str) -> WorkflowName {
    WorkflowName::new(name).unwrap()
}

fn channel(name: &str, pending: u64) -> ChannelState {
    ChannelState {
        channel: ChannelName::new(name).unwrap(),
        pending,
        oldest: (pending > 0).then(|| Timestamp::from_millis(1_000)),
        refused: 0,
        failures: 0,
        last_fault: None,
        last_sent_at: None,
    }
}

fn end_step(metrics: &Metrics, name: &str, step: &str, millis: u64, severity: Option<Severity>) {
    metrics.step_ended(&StepEnded {
        workflow: &workflow(name),
        step: &StepName::new(step).unwrap(),
        step_type: &StepType::default(),
        status: StepStatus::Completed,
        duration: Some(Micros::from_millis(millis)),
        severity,
        compared_with: Some(Micros::from_millis(millis / 2)),
    });
}

/// Returns the samples whose line begins so, in order.
fn lines(metrics: &Metrics, begin: &str) -> String {
    let text = metrics.render(Instant::now());
    let mut lines: Vec<&str> = text.lines().filter(|line| line.starts_with(begin)).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn an_ended_execution_is_counted_by_status_and_timed_in_buckets() {
    with_metrics(|metrics| {
        metrics.execution_ended(
            &workflow("etl"),
            ExecutionStatus::Completed,
            Some(Micros::from_millis(1500)),
        );
        metrics.execution_ended(&workflow("etl"), ExecutionStatus::Failed, None);
        insta::assert_snapshot!(lines(metrics, "workflow_executions_total"), @r#"
        workflow_executions_total{workflow_name="etl",status="cancelled"} 0
        workflow_executions_total{workflow_name="etl",status="completed"} 1
        workflow_executions_total{workflow_name="etl",status="failed"} 1
        workflow_executions_total{workflow_name="etl",status="timed_out"} 0
        "#);
        let timed = lines(metrics, "workflow_duration_seconds");
        assert!(timed.contains(r#"_bucket{workflow_name="etl",le="1"} 0"#), "{timed}");
        assert!(timed.contains(r#"_bucket{workflow_name="etl",le="2.5"} 1"#), "{timed}");
        assert!(timed.contains(r#"_bucket{workflow_name="etl",le="86400"} 1"#), "{timed}");
        assert!(timed.contains(r#"_sum{workflow_name="etl"} 1.5"#), "{timed}");
    });
}

#[test]
fn a_step_is_timed_by_type_and_its_bottlenecks_and_errors_are_counted() {
    with_metrics(|metrics| {
        end_step(metrics, "etl", "load", 20, Some(Severity::Critical));
        metrics.step_ended(&StepEnded {
            workflow: &workflow("etl"),
            step: &StepName::new("load").unwrap(),
            step_type: &StepType::new("llm").unwrap(),
            status: StepStatus::Failed,
            duration: Some(Micros::from_millis(7)),
            severity: None,
            compared_with: None,
        });
        insta::assert_snapshot!(lines(metrics, "bottlenecks_total"), @r#"
        bottlenecks_total{workflow_name="etl",step_name="load",severity="CRITICAL"} 1
        bottlenecks_total{workflow_name="etl",step_name="load",severity="WARNING"} 0
        "#);
        insta::assert_snapshot!(lines(metrics, "step_errors_total"), @r#"step_errors_total{workflow_name="etl",step_name="load"} 1"#);
        insta::assert_snapshot!(lines(metrics, "step_duration_seconds_count"), @r#"
        step_duration_seconds_count{workflow_name="etl",step_name="load",step_type="llm"} 1
        step_duration_seconds_count{workflow_name="etl",step_name="load",step_type="task"} 1
        "#);
    });
}

#[test]
fn the_average_that_a_step_was_last_compared_with_is_shown_once_there_is_one() {
    with_metrics(|metrics| {
        let end = |millis: Option<u64>| {
            metrics.step_ended(&StepEnded {
                workflow: &workflow("etl"),
                step: &StepName::new("load").unwrap(),
                step_type: &StepType::default(),
                status: StepStatus::Completed,
                duration: Some(Micros::from_millis(900)),
                severity: None,
                compared_with: millis.map(Micros::from_millis),
            });
            lines(metrics, "step_baseline_seconds")
        };
        assert_eq!(end(None), "");
        let of = |seconds: &str| {
            format!("step_baseline_seconds{{workflow_name=\"etl\",step_name=\"load\"}} {seconds}")
        };
        assert_eq!(end(Some(400)), of("0.4"));
        assert_eq!(end(Some(420)), of("0.42"));
        assert_eq!(end(None), of("0.42"), "what was not compared does not move it");
    });
}

#[test]
fn the_scrape_stays_below_two_megabytes_with_any_names() {
    for filler in [
        "",
        "a plausible name",
        "🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀\"🚀",
    ] {
        with_metrics(|metrics| {
            for n in 0..600 {
                let name = format!("{filler}{n}");
                let long = Micros::from_days(300);
                metrics.execution_ended(&workflow(&name), ExecutionStatus::Completed, Some(long));
                end_step(metrics, &name, &name, 1_234_567, Some(Severity::Warning));
                metrics.stuck(&workflow(&name), &StepName::new(&name).unwrap(), Severity::Critical);
                metrics.stalled(&workflow(&name), Severity::Warning);
            }
            metrics.set_active(
                Instant::now(),
                &(0..600).map(|n| (workflow(&format!("{filler}{n}")), 7)).collect::<Vec<_>>(),
            );
            let channels: Vec<_> =
                (0..50).map(|n| channel(&format!("{}{n:02}", "c".repeat(62)), 7)).collect();
            metrics.set_outbox(Instant::now(), &channels, Timestamp::from_millis(1_234_567));
            metrics.set_firing(Instant::now(), &[]);
            let bytes = metrics.render(Instant::now()).len();
            println!("{bytes} bytes with names of {} bytes", filler.len());
            assert!(bytes < 2_000_000, "{bytes} bytes with names like {filler}");
            assert!(lines(metrics, "tracer_label_overflow").contains(r#"{kind="workflow"} "#));
            assert!(
                lines(metrics, "step_duration_seconds_count")
                    .contains(r#"workflow_name="_other",step_name="_other",step_type="_other"} "#)
            );
        });
    }
}

#[test]
fn short_names_fill_all_the_series_that_the_settings_promise() {
    with_metrics(|metrics| {
        (0..500)
            .for_each(|n| end_step(metrics, "order-fulfilment", &format!("reserve-stock-{n:03}"), 5, None));
        assert_eq!(lines(metrics, "step_duration_seconds_count").lines().count(), 500);
        assert!(!lines(metrics, "step_duration_seconds_count").contains(OTHER));
    });
}

#[test]
fn active_workflows_vanish_when_none_runs_and_when_the_number_is_old() {
    with_metrics(|metrics| {
        let now = Instant::now();
        metrics.set_active(now, &[(workflow("a\"b"), 2), (workflow("idle"), 0)]);
        let shown = |at: Instant| {
            metrics
                .render(at)
                .lines()
                .filter(|l| l.starts_with("active"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(now), [r#"active_workflows{workflow_name="a\"b"} 2"#]);
        assert_eq!(shown(now + Duration::from_secs(31)), [""; 0]);
        metrics.set_active(now, &[]);
        assert_eq!(shown(now), [""; 0]);
    });
}

#[test]
fn what_fires_and_what_waits_is_shown_even_if_it_is_nothing_until_it_is_old() {
    with_metrics(|metrics| {
        let now = Instant::now();
        let counts =
            [FiringCount { kind: IncidentKind::SlowStep, severity: Severity::Critical, incidents: 3 }];
        metrics.set_firing(now, &counts);
        metrics.set_outbox(now, &[channel("log", 0), channel("slack", 2)], Timestamp::from_millis(3_500));
        let mine = |line: &&str| line.starts_with("tracer_incidents") || line.starts_with("tracer_outbox");
        let shown = |at: Instant| metrics.render(at).lines().filter(mine).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(shown(now), @r#"
        tracer_incidents_firing{kind="alert",severity="CRITICAL"} 0
        tracer_incidents_firing{kind="alert",severity="WARNING"} 0
        tracer_incidents_firing{kind="failure_rate",severity="CRITICAL"} 0
        tracer_incidents_firing{kind="failure_rate",severity="WARNING"} 0
        tracer_incidents_firing{kind="regression",severity="CRITICAL"} 0
        tracer_incidents_firing{kind="regression",severity="WARNING"} 0
        tracer_incidents_firing{kind="slo_burn",severity="CRITICAL"} 0
        tracer_incidents_firing{kind="slo_burn",severity="WARNING"} 0
        tracer_incidents_firing{kind="slow_step",severity="CRITICAL"} 3
        tracer_incidents_firing{kind="slow_step",severity="WARNING"} 0
        tracer_incidents_firing{kind="stalled_execution",severity="CRITICAL"} 0
        tracer_incidents_firing{kind="stalled_execution",severity="WARNING"} 0
        tracer_incidents_firing{kind="stuck_step",severity="CRITICAL"} 0
        tracer_incidents_firing{kind="stuck_step",severity="WARNING"} 0
        tracer_outbox_pending{channel="log"} 0
        tracer_outbox_pending{channel="slack"} 2
        tracer_outbox_oldest_seconds{channel="log"} 0
        tracer_outbox_oldest_seconds{channel="slack"} 2.5
        "#);
        assert_eq!(shown(now + Duration::from_secs(31)), "");
    });
}

#[test]
fn notifications_are_counted_by_channel_and_outcome_from_zero_on() {
    with_metrics(|metrics| {
        metrics.set_outbox(Instant::now(), &[channel("ops", 0)], Timestamp::from_millis(0));
        let ops = ChannelName::new("ops").unwrap();
        metrics.notified(&ops, Outcome::Sent);
        metrics.notified(&ops, Outcome::Sent);
        metrics.notified(&ops, Outcome::InDoubt);
        insta::assert_snapshot!(lines(metrics, "tracer_notifications_total"), @r#"
        tracer_notifications_total{channel="ops",outcome="dropped"} 0
        tracer_notifications_total{channel="ops",outcome="in_doubt"} 1
        tracer_notifications_total{channel="ops",outcome="refused"} 0
        tracer_notifications_total{channel="ops",outcome="retried"} 0
        tracer_notifications_total{channel="ops",outcome="sent"} 2
        "#);
    });
}

#[test]
fn the_store_is_up_until_it_does_not_answer_and_is_never_absent() {
    with_metrics(|metrics| {
        let shown = || lines(metrics, "tracer_store_up");
        assert_eq!(shown(), "tracer_store_up 1");
        metrics.set_store_up(false);
        assert_eq!(shown(), "tracer_store_up 0");
        metrics.set_store_up(true);
        assert_eq!(shown(), "tracer_store_up 1");
    });
}

#[test]
fn requests_are_counted_by_template_and_timed_in_small_buckets() {
    with_metrics(|metrics| {
        for _ in 0..2 {
            metrics.request("GET", "/workflows/{id}", 200, Duration::from_micros(700));
        }
        insta::assert_snapshot!(lines(metrics, "tracer_http_requests_total"), @r#"tracer_http_requests_total{method="GET",route="/workflows/{id}",status="200"} 2"#);
        let timed = lines(metrics, "tracer_http_request_duration_seconds_bucket");
        assert!(timed.contains(r#"le="0.0005"} 0"#) && timed.contains(r#"le="0.001"} 2"#), "{timed}");
    });
}
