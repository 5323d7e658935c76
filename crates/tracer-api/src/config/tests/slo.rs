//! Service level objectives.

use std::time::Duration;

use tracer_core::time::Micros;

use super::{fault, load};

#[test]
fn an_objective_needs_a_name_and_a_share() {
    let settings = load("[[slo]]\nname = \"all\"\nobjective = 0.99", &[], &[]).unwrap();
    let [slo] = settings.slo.as_slice() else { panic!("one") };
    assert_eq!((slo.workflow.as_str(), slo.latency, slo.min_events, slo.alert), ("*", None, 20, true));
    assert_eq!(slo.window, Duration::from_secs(30 * 86_400));
    let all = "[[slo]]\nname = \"checkout_1-a\"\nworkflow = \"checkout-*\"\nobjective = 0.995\nlatency = \"30s\"\n\
               window = \"7d\"\nmin_events = 100\nalert = false";
    let settings = load(all, &[], &[]).unwrap();
    let spec = settings.slo[0].spec().unwrap();
    assert_eq!((spec.name.as_str(), spec.workflow.as_str()), ("checkout_1-a", "checkout-*"));
    assert_eq!((spec.latency, spec.window), (Some(Micros::from_secs(30)), Micros::from_days(7)));
    assert_eq!((spec.min_events, spec.alert), (100, false));
    assert!((spec.objective.get() - 0.995).abs() < 1e-12);
    assert_eq!(fault("[[slo]]\nname = \"a\""), "tracer.toml: `slo[0]`: missing field `objective`");
}

#[test]
fn an_objective_that_cannot_be_kept_or_named_is_refused() {
    let told = |line: &str| {
        let text = "[[slo]]\nname = \"a\"\nobjective = 0.9\n[[slo]]\nname = \"b\"\nobjective = 0.9\n";
        let key = line.split(' ').next().unwrap();
        let (first, second) = text.split_at(text.rfind("[[slo]]").unwrap());
        let kept: Vec<&str> = second.lines().filter(|kept| !kept.starts_with(&format!("{key} "))).collect();
        let told = fault(&format!("{first}{}\n{line}\n", kept.join("\n")));
        told.strip_prefix("tracer.toml: `slo[1].").unwrap_or(&told).to_owned()
    };
    for (line, expected) in [
        ("name = \"a\"", "name`: is the name of another one"),
        ("name = \"a b\"", "name`: must be 1 to 64 letters, digits, - and _"),
        ("name = \"\"", "name`: must be 1 to 64 letters, digits, - and _"),
        ("objective = 1.0", "objective`: must lie between 0 and 1, without either: 0.99 is 99 %"),
        ("objective = 99.0", "objective`: must lie between 0 and 1, without either: 0.99 is 99 %"),
        ("objective = nan", "objective`: must lie between 0 and 1, without either: 0.99 is 99 %"),
        ("latency = \"0s\"", "latency`: must lie between 1us and 400 d"),
        ("latency = \"401d\"", "latency`: must lie between 1us and 400 d"),
        ("window = \"59m\"", "window`: must lie between 1h and 90d"),
        ("window = \"91d\"", "window`: must lie between 1h and 90d"),
        ("min_events = 0", "min_events`: must lie between 1 and 1000000"),
    ] {
        assert_eq!(told(line), expected, "{line}");
    }
    assert!(told("workflow = \"\"").starts_with("workflow`: the pattern "), "{}", told("workflow = \"\""));
    assert!(told("latencies = \"1s\"").contains("latencies"), "{}", told("latencies = \"1s\""));
    let many: String = (0..51).map(|n| format!("[[slo]]\nname = \"n{n}\"\nobjective = 0.9\n")).collect();
    assert_eq!(fault(&many), "tracer.toml: `slo`: has more than 50 entries");
}
