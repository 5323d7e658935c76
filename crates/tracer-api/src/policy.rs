//! What holds for which step, as the settings say.
//!
//! Not here: which settings there are (`config`), and what a rule does (`tracer_core::detect`).

use std::sync::Arc;
use std::time::Duration;

use tracer_core::detect::{
    FactorOfMean, Policy, PolicyEntry, Quantile, Robust, Rule, StepPolicy, WorkflowPolicy,
};
use tracer_core::slo::Slo;
use tracer_core::time::Micros;
use tracer_core::trace::TracePolicy;

use crate::alerting::alerting;
use crate::config::{DetectionSettings, RuleName, Settings, SloFor};

/// Returns the rules that the settings describe: of entries that match, the last one holds.
#[must_use]
pub fn policy(settings: &Settings) -> Policy {
    let entries = settings.detect.iter().rev().map(|entry| PolicyEntry {
        workflow: entry.workflow.clone(),
        step: entry.step.clone(),
        steps: StepPolicy { timeout: entry.timeout.map(micros), ..steps(&entry.over(&settings.detection)) },
        executions: WorkflowPolicy {
            stall_after: entry.stall_after.map(micros),
            deadline: entry.deadline.map(micros),
        },
    });
    Policy::new(steps(&settings.detection), entries)
        .with_stall_rule(factor(&settings.detection))
        .with_alerting(alerting(settings))
        .with_slos(settings.slo.iter().filter_map(SloFor::spec).map(Slo::new))
        .with_traces(TracePolicy {
            grace: micros(settings.otlp.grace),
            silence: micros(settings.otlp.silence),
        })
}

fn steps(settings: &DetectionSettings) -> StepPolicy {
    StepPolicy {
        rule: rule(settings),
        cohort: settings.cohort_spec().unwrap_or_default(),
        confirmation: settings.confirmation().unwrap_or_default(),
        min_shift: settings.min_shift,
        timeout: None,
    }
}

fn rule(settings: &DetectionSettings) -> Arc<dyn Rule> {
    let (min_samples, min_excess) = (settings.min_samples, micros(settings.min_excess));
    match settings.rule {
        RuleName::Factor => Arc::new(factor(settings)),
        RuleName::Quantile => Arc::new(Quantile {
            warning: settings.quantile_warning,
            critical: settings.quantile_critical,
            min_samples,
            min_excess,
        }),
        RuleName::Robust => Arc::new(Robust {
            warning: settings.robust_warning,
            critical: settings.robust_critical,
            least_factor: settings.robust_least_factor,
            min_samples,
            min_excess,
        }),
    }
}

fn factor(settings: &DetectionSettings) -> FactorOfMean {
    FactorOfMean {
        warning: settings.warning_factor,
        critical: settings.critical_factor,
        min_samples: settings.min_samples,
        min_excess: micros(settings.min_excess),
    }
}

/// Returns a length of the settings as the domain counts it.
pub(crate) fn micros(duration: Duration) -> Micros {
    Micros::new(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use tracer_core::baseline::Reference;
    use tracer_core::name::{StepName, WorkflowName};

    use super::*;
    use crate::config::Sources;

    #[test]
    fn of_entries_that_match_the_last_one_holds_over_the_general_numbers() {
        let folder = std::env::temp_dir().join(format!("tracer-policy-{}", std::process::id()));
        let file = folder.join("tracer.toml");
        std::fs::create_dir_all(&folder).unwrap();
        let text = "[[detect]]\nworkflow = \"etl-*\"\nwarning_factor = 2.5\nmin_samples = 1\n\
                    [[detect]]\nstep = \"load\"\nwarning_factor = 2.9\n";
        std::fs::write(&file, text).unwrap();
        let settings = Settings::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let policy = policy(&settings);
        let mean = Micros::from_secs(1);
        let warning = |workflow: &str, step: &str, samples| {
            let reference = Reference::constant(mean, samples);
            let (workflow, step) = (WorkflowName::new(workflow).unwrap(), StepName::new(step).unwrap());
            policy.of_step(&workflow, &step).rule.limits(&reference).map(|limits| limits.warning.as_millis())
        };
        assert_eq!(warning("chat", "answer", 5), Some(2000));
        assert_eq!(warning("etl-night", "extract", 1), Some(2500));
        assert_eq!(warning("etl-night", "load", 5), Some(2900));
        assert_eq!(warning("etl-night", "load", 1), None);
    }
}
