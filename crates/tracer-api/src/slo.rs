//! Judges service level objectives: for whoever asks, for the metrics, and for people who are to be told.
//!
//! Every replica judges all of them from the same counts, so that it does not matter which one is asked, or is left. What
//! burns is signalled, which opens one incident however many signal it (`tracer_core::record`).
//!
//! Not here: what is counted, and when a budget burns (`tracer_core::slo`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracer_core::cohort::Cohort;
use tracer_core::incident::{Cause, Finding, IncidentKind, SloBurn};
use tracer_core::name::WorkflowName;
use tracer_core::record::Signal;
use tracer_core::repository::RepositoryError;
use tracer_core::slo::{Indicator, Say, Slo, SloWatch, State};
use tracer_core::time::Timestamp;

use crate::recording::{Arrival, Tracing};

/// An objective, judged.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The objective.
    pub slo: Slo,
    /// What it measures.
    pub indicators: Vec<Indicator>,
}

/// Judges the objectives that are wanted, in the order of the settings, by what was counted until `now`.
///
/// # Errors
/// [`RepositoryError`].
pub async fn standings(
    tracing: &Tracing,
    now: Timestamp,
    wanted: impl Fn(&Slo) -> bool,
) -> Result<Vec<Standing>, RepositoryError> {
    let slos: Vec<&Slo> = tracing.policy().slos().iter().filter(|slo| wanted(slo)).collect();
    if slos.is_empty() {
        return Ok(Vec::new());
    }
    let ranges: Vec<_> = slos.iter().map(|slo| Indicator::ranges(slo, now)).collect();
    let sums = tracing.repository().slo_counts(ranges.as_flattened()).await?;
    let each = slos.iter().zip(sums.chunks(ranges.first().map_or(1, |ranges| ranges.len())));
    let judged = each.map(|(slo, sums)| Standing {
        slo: (*slo).clone(),
        indicators: slo.slis().iter().map(|sli| Indicator::judge(slo, *sli, sums)).collect(),
    });
    Ok(judged.collect())
}

/// Signals what burns, and what no longer does.
#[derive(Debug, Default)]
pub struct SloSignals {
    watch: Mutex<SloWatch>,
}

impl SloSignals {
    /// Signals what is to be said of these objectives at this moment; nothing of one that is not to alert anybody.
    ///
    /// # Errors
    /// The first [`RepositoryError`], after all were tried; what could not be said is said the next time.
    pub async fn signal(
        &self,
        tracing: &Tracing,
        standings: &[Standing],
        now: Timestamp,
    ) -> Result<(), RepositoryError> {
        let mut failed = Ok(());
        for Standing { slo, indicators } in standings.iter().filter(|standing| standing.slo.spec().alert) {
            // Where nothing can be judged nothing is over either: a definition may be new, or of another replica's settings.
            for indicator in indicators.iter().filter(|indicator| indicator.state != State::NoData) {
                let burns = indicator.burning.map(|burning| burning.severity);
                let Some(say) = self.watch().look(slo.name(), indicator.sli, burns, now) else { continue };
                let Some(signal) = signal_of(slo, indicator, say) else { continue };
                match tracing.signal(signal, Arrival::plain(now)).await {
                    Ok(changed) => {
                        self.watch().said(slo.name(), indicator.sli, burns, now);
                        if changed.is_some() {
                            log(slo, indicator, say);
                        }
                    }
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
        }
        failed
    }

    fn watch(&self) -> MutexGuard<'_, SloWatch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(slo: &Slo, indicator: &Indicator, say: Say) {
    let (name, sli, why) = (slo.name(), indicator.sli.as_str(), indicator.why.as_str());
    match say {
        Say::Burns => tracing::warn!(event = "slo_burn", slo = %name, sli, why, "an error budget burns"),
        Say::Over => {
            tracing::info!(event = "slo_burn_over", slo = %name, sli, why, "an error budget lasts again")
        }
    }
}

/// Returns what is signalled of an indicator; none if its pattern can be no name, which the settings exclude.
fn signal_of(slo: &Slo, indicator: &Indicator, say: Say) -> Option<Signal> {
    let sli = indicator.sli.as_str();
    let labels = [("slo", slo.name().as_str()), ("sli", sli)];
    let cause = Cause {
        kind: IncidentKind::SloBurn,
        workflow: WorkflowName::new(&slo.spec().workflow).ok()?,
        step: None,
        cohort: Cohort::of(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))),
    };
    let burning = indicator.burning.filter(|_| say == Say::Burns);
    let found = burning.map(|burning| {
        let own = slo.spec().window;
        let counted = indicator.counted(burning.long);
        Finding::Burning(SloBurn {
            severity: burning.severity,
            slo: slo.name().as_str().to_owned(),
            sli: sli.to_owned(),
            objective: slo.spec().objective.get(),
            burn_rate: burning.burn_rate,
            long: burning.long.length(own),
            short: burning.short.length(own),
            events: counted.events,
            bad: counted.bad,
            budget_remaining: indicator.budget_remaining.unwrap_or(1.0),
        })
    });
    let execution = burning.and_then(|burning| indicator.counted(burning.short).last_bad);
    Some(Signal { cause, found, execution })
}
