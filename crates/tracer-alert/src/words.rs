//! Incidents in words, for whoever reads them: plain text, with names as clients wrote them.
//!
//! Not here: escaping, which is the channel's own.

use tracer_core::detect::{Bottleneck, VerdictKind};
use tracer_core::incident::{Finding, Incident, IncidentKind, ResolvedBy, SloBurn};
use tracer_core::time::{Micros, Timestamp};

/// Returns what kind of trouble it is.
pub(crate) const fn kind(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::SlowStep => "slow step",
        IncidentKind::StuckStep => "stuck step",
        IncidentKind::StalledExecution => "stalled execution",
        IncidentKind::Regression => "lasting slowdown",
        IncidentKind::FailureRate => "too many failures",
        IncidentKind::SloBurn => "burning error budget of SLO",
        IncidentKind::Alert => "alert",
    }
}

/// Returns the kind and what it is about: `slow step load of etl`. Names are cut to so many characters.
pub(crate) fn title(incident: &Incident, name_chars: usize) -> String {
    let (cause, kind) = (&incident.cause, kind(incident.cause.kind));
    let workflow = shortened(cause.workflow.as_str(), name_chars);
    let step = cause.step.as_ref().map(|step| shortened(step.as_str(), name_chars));
    let named =
        signalled(incident).map(|name| format!(" {}", shortened(name, name_chars))).unwrap_or_default();
    match step {
        Some(step) => format!("{kind}{named} {}{step} of {workflow}", before_step(cause.kind)),
        None => format!("{kind}{named} of {workflow}"),
    }
}

/// Returns the name of what is signalled: of an objective, of an alert.
pub(crate) fn signalled(incident: &Incident) -> Option<&str> {
    match &incident.worst.finding {
        Finding::Burning(burn) => Some(&burn.slo),
        Finding::Alerted(note) => Some(&note.name),
        Finding::TooLong(_) | Finding::Slower(_) | Finding::Failing(_) => None,
    }
}

/// Returns what stands between a kind and the name of a step.
pub(crate) const fn before_step(kind: IncidentKind) -> &'static str {
    match kind {
        IncidentKind::SlowStep | IncidentKind::StuckStep => "",
        IncidentKind::StalledExecution
        | IncidentKind::Regression
        | IncidentKind::FailureRate
        | IncidentKind::SloBurn
        | IncidentKind::Alert => "in step ",
    }
}

/// Returns a name of at most so many characters; a cut is marked.
pub(crate) fn shortened(name: &str, most_chars: usize) -> String {
    let mut chars = name.chars();
    let mut short: String = chars.by_ref().take(most_chars).collect();
    if chars.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

/// Returns what was found, in one sentence without a full stop.
pub(crate) fn finding(incident: &Incident) -> String {
    match &incident.worst.finding {
        Finding::TooLong(verdict) => too_long(verdict),
        Finding::Slower(slower) => format!(
            "it takes {} where it took {}, {} as long",
            duration(slower.after),
            duration(slower.before),
            factor(slower.factor)
        ),
        Finding::Failing(rate) => format!(
            "{} of the last {} failed, {}, where {} is usual and {} the limit",
            rate.failed,
            rate.ended,
            percent(rate.rate()),
            percent(rate.usual),
            percent(rate.limit)
        ),
        Finding::Burning(burn) => burning(burn),
        Finding::Alerted(note) if note.summary.is_empty() => format!("it fires since {}", time(note.since)),
        Finding::Alerted(note) => note.summary.trim_end_matches('.').to_owned(),
    }
}

fn burning(burn: &SloBurn) -> String {
    let left = match burn.budget_remaining {
        share if share > 0.0 => format!("{} of the budget is left", percent(share)),
        _ => "nothing of the budget is left".to_owned(),
    };
    format!(
        "{}: {} of {} in {} were bad, {} as fast as the budget of {} lasts; {left}",
        burn.sli,
        burn.bad,
        burn.events,
        duration(burn.long),
        factor(burn.factor()),
        percent(1.0 - burn.objective),
    )
}

fn too_long(verdict: &Bottleneck) -> String {
    let length = duration(verdict.duration);
    let lasted = match (verdict.kind, verdict.in_flight) {
        (VerdictKind::StalledExecution, _) => format!("silent for {length}"),
        (VerdictKind::SlowStep | VerdictKind::StuckStep, true) => format!("running for {length}"),
        (VerdictKind::SlowStep | VerdictKind::StuckStep, false) => format!("took {length}"),
    };
    if verdict.samples == 0 {
        return format!("{lasted}, {}", verdict.compared_with());
    }
    let (times, average) = (factor(verdict.factor()), duration(verdict.historical_avg));
    let of = match (verdict.kind, verdict.samples) {
        (_, 1) => "one run".to_owned(),
        (VerdictKind::StalledExecution, samples) => format!("{samples} whole executions"),
        (VerdictKind::SlowStep | VerdictKind::StuckStep, samples) => format!("{samples} runs"),
    };
    format!("{lasted}, {times} the average of {average} in {of}")
}

/// Returns how long it lasted, and why it is over: `over after 42 min 10 s: back to normal`; none while it fires.
pub(crate) fn end(incident: &Incident) -> Option<String> {
    let resolved = incident.resolved.as_ref()?;
    let why = match (resolved.by, incident.cause.kind) {
        (ResolvedBy::Normal, _) => "back to normal",
        (ResolvedBy::Ended, IncidentKind::StalledExecution) => "it was heard of again, or has ended",
        (ResolvedBy::Ended, IncidentKind::SloBurn) => "the budget lasts again",
        (ResolvedBy::Ended, IncidentKind::Alert) => "the alert is resolved",
        (ResolvedBy::Ended, _) => "what was stuck has ended",
        (ResolvedBy::Rebaselined, _) => "its present level was made the reference",
        (ResolvedBy::Stale, _) => "let go, as nothing more was heard of it",
        (ResolvedBy::Hand, _) => "resolved by hand",
    };
    Some(format!("over after {}: {why}", duration(resolved.at.since(incident.first_seen_at))))
}

/// Returns a length of time with its two largest units.
pub(crate) fn duration(length: Micros) -> String {
    let millis = length.as_millis();
    if length.get() < 1_000 {
        return format!("{} µs", length.get());
    }
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    if millis < 59_950 {
        let tenths = millis.saturating_add(50) / 100;
        return match tenths % 10 {
            0 => format!("{} s", tenths / 10),
            rest => format!("{}.{rest} s", tenths / 10),
        };
    }
    let secs = millis.saturating_add(500) / 1_000;
    let pair = |large: u64, unit: &str, small: u64, of: &str| match small {
        0 => format!("{large} {unit}"),
        small => format!("{large} {unit} {small} {of}"),
    };
    match secs {
        0..3_600 => pair(secs / 60, "min", secs % 60, "s"),
        3_600..86_400 => pair(secs / 3_600, "h", secs / 60 % 60, "min"),
        _ => pair(secs / 86_400, "d", secs / 3_600 % 24, "h"),
    }
}

/// Returns a factor: `5×`, `2.21×`, `29.4×`.
pub(crate) fn factor(factor: f64) -> String {
    format!("{}×", short(factor))
}

/// Returns a share: `20 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", short(share * 100.0))
}

/// Returns how many times: `once`, `12 times`.
pub(crate) fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        many => format!("{many} times"),
    }
}

/// Returns a time in UTC to the second: `2026-01-31 12:00:00 UTC`.
pub(crate) fn time(at: Timestamp) -> String {
    match jiff::Timestamp::from_second(at.as_micros().div_euclid(1_000_000)) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => at.to_string(),
    }
}

/// Writes a number with three digits or so, and no zeros at its end.
fn short(number: f64) -> String {
    let text = match number.abs() {
        size if size < 10.0 => format!("{number:.2}"),
        size if size < 100.0 => format!("{number:.1}"),
        _ => return format!("{number:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn lengths_are_told_in_their_two_largest_units() {
        let told: Vec<String> =
            [0, 999, 1_000, 420_000, 999_499, 999_999, 1_500_000, 59_949_000, 59_990_000, 83_400_000]
                .into_iter()
                .chain([3_599_900_000, 4_000_000_000, 86_399_900_000, 200_000_000_000])
                .map(|micros| duration(Micros::new(micros)))
                .collect();
        assert_eq!(
            told.join(", "),
            "0 µs, 999 µs, 1 ms, 420 ms, 999 ms, 1 s, 1.5 s, 59.9 s, 1 min, 1 min 23 s, 1 h, 1 h 6 min, 1 d, 2 d 7 h"
        );
    }

    #[test]
    fn numbers_are_told_without_noise() {
        let told = [5.0, 2.21, 29.39, 1234.5, 0.004].map(factor).join(" ");
        assert_eq!(told, "5× 2.21× 29.4× 1234× 0×");
        assert_eq!([0.2, 0.0125, 0.05, 1.0].map(percent).join(" "), "20 % 1.25 % 5 % 100 %");
    }

    #[test]
    fn each_kind_is_told_in_words() {
        let mut told = String::new();
        for incident in samples::each_kind() {
            told += &format!("{}: {}\n", title(&incident, 200), finding(&incident));
        }
        for by in [ResolvedBy::Normal, ResolvedBy::Rebaselined, ResolvedBy::Stale, ResolvedBy::Hand] {
            told += &format!("{}\n", end(&samples::resolved(samples::slow(), by)).unwrap());
        }
        for incident in [samples::stuck(), samples::stalled()] {
            told += &format!("{}\n", end(&samples::resolved(incident, ResolvedBy::Ended)).unwrap());
        }
        insta::assert_snapshot!(told, @"
        slow step load of etl: took 2.1 s, 5× the average of 420 ms in 212 runs
        stuck step load of etl: running for 1 h 6 min, 9524× the average of 420 ms in 31 runs
        stalled execution of etl: silent for 2 h 1 min, longer than its fixed time
        lasting slowdown in step load of etl: it takes 930 ms where it took 420 ms, 2.21× as long
        too many failures in step load of etl: 12 of the last 60 failed, 20 %, where 1.25 % is usual and 5 % the limit
        burning error budget of SLO nightly of etl: availability: 8 of 52 in 1 h were bad, 15.4× as fast as the budget of 1 % lasts; 45 % of the budget is left
        alert DiskFull of etl: The disk of db-1 is 93 % full
        over after 42 min 10 s: back to normal
        over after 42 min 10 s: its present level was made the reference
        over after 42 min 10 s: let go, as nothing more was heard of it
        over after 42 min 10 s: resolved by hand
        over after 42 min 10 s: what was stuck has ended
        over after 42 min 10 s: it was heard of again, or has ended
        ");
    }
}
