//! One line for a change: when, what, of which workflow and execution, and what is worth knowing.
//!
//! Invariant: what a client wrote stays on its line, and controls no terminal.

use serde_json::Value;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Whether they are coloured.
    pub(super) colours: bool,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const DIM: &str = "2";
const BOLD: &str = "1";
const BOLD_RED: &str = "1;31";

impl Style {
    /// Returns the line of a change, from its JSON; of what is none, itself.
    pub(super) fn line(self, json: &str) -> String {
        let Ok(change) = serde_json::from_str::<Value>(json) else { return plain(json) };
        let kind = text(&change, "kind");
        if kind == "resync" {
            return self.note("resync: something was missed, what follows is complete again");
        }
        let time = text(&change, "at").split_once('T').map(|(_, time)| time.trim_end_matches('Z').to_owned());
        let (sign, colour, what) = said(&change, &kind);
        let id = text(&change, "workflow_id");
        let short = id.get(id.len().saturating_sub(8)..).unwrap_or_default();
        let line = format!(
            "{} {} {} {} {}",
            self.paint(DIM, &time.unwrap_or_default()),
            self.paint(colour, &format!("{sign:<9}")),
            self.paint(BOLD, &text(&change, "workflow_name")),
            self.paint(DIM, short),
            what,
        );
        line.trim_end().to_owned()
    }

    /// Returns a line about the stream itself.
    pub(super) fn note(self, text: &str) -> String {
        self.paint(DIM, &format!("-- {text}"))
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Returns what a change is called, its colour, and the rest of its line.
fn said(change: &Value, kind: &str) -> (&'static str, &'static str, String) {
    match kind {
        "workflow_start" => ("started", CYAN, String::new()),
        "step_start" => ("step", DIM, step(change)),
        "step_complete" => {
            let status = text(change, "status");
            let took = duration(change, "duration_ms");
            let line = format!("{} {status} in {took}{}", step(change), why(change));
            if status == "failed" { ("failed", RED, line) } else { ("done", GREEN, line) }
        }
        "bottleneck" => {
            let verdict = change.get("bottleneck").unwrap_or(&Value::Null);
            ("SLOW", colour_of(verdict), format!("{} {}", step(change), judged(verdict)))
        }
        "in_flight" => {
            let verdict = change.get("bottleneck").unwrap_or(&Value::Null);
            let what = if change.get("step_name").is_none_or(Value::is_null) {
                "nothing heard for".to_owned()
            } else {
                format!("{} still runs,", step(change))
            };
            ("STUCK", colour_of(verdict), format!("{what} {}", judged(verdict)))
        }
        "workflow_end" => {
            let status = text(change, "status");
            let slow = match change.get("bottlenecks").and_then(Value::as_u64) {
                None | Some(0) => String::new(),
                Some(slow) => format!(", {slow} slow"),
            };
            let steps = change.get("steps_completed").and_then(Value::as_u64).unwrap_or_default();
            let took = duration(change, "total_duration_ms");
            let line = format!("{status} in {took}, {steps} steps{slow}{}", why(change));
            ("ended", if status == "completed" { GREEN } else { RED }, line)
        }
        "incident" => {
            let about =
                change.get("step_name").and_then(Value::as_str).map(|name| format!(" {}", plain(name)));
            let (note, severity) = (text(change, "note"), text(change, "severity"));
            let how = match note.as_str() {
                "" => severity,
                // Of an opening, it says how bad it is by itself.
                _ if note.starts_with(&severity) => note,
                _ => format!("{severity}: {note}"),
            };
            let (kind, happened) = (text(change, "incident_kind"), text(change, "transition"));
            let line = format!("{kind} {happened}{} {how}", about.unwrap_or_default());
            ("incident", colour_of(change), line)
        }
        "event" => {
            let level = text(change, "level");
            let level = if level.is_empty() { level } else { format!(" {level}") };
            let kind = text(change, "event_kind");
            let colour = if kind == "error" || level == " error" { RED } else { CYAN };
            ("event", colour, format!("{kind}{level}: {}", text(change, "message")))
        }
        _ => ("?", DIM, plain(kind)),
    }
}

fn colour_of(verdict: &Value) -> &'static str {
    if text(verdict, "severity") == "CRITICAL" { BOLD_RED } else { YELLOW }
}

/// Returns a verdict in words.
fn judged(verdict: &Value) -> String {
    let (took, severity) = (duration(verdict, "duration_ms"), text(verdict, "severity"));
    match verdict.get("factor").and_then(Value::as_f64).filter(|factor| *factor > 0.0) {
        Some(factor) => {
            let usual = duration(verdict, "historical_avg_ms");
            format!("{took}, {factor} × the usual {usual} {severity}")
        }
        None => format!("{took} {severity}"),
    }
}

fn step(change: &Value) -> String {
    let attempt = change.get("attempt").and_then(Value::as_u64).filter(|attempt| *attempt > 1);
    let attempt = attempt.map(|attempt| format!(" (attempt {attempt})")).unwrap_or_default();
    format!("{}{attempt}", text(change, "step_name"))
}

fn why(change: &Value) -> String {
    let Some(error) = change.get("error").filter(|error| !error.is_null()) else { return String::new() };
    let (kind, message) = (text(error, "type"), text(error, "message"));
    if kind.is_empty() { format!(": {message}") } else { format!(": {kind}: {message}") }
}

fn duration(value: &Value, field: &str) -> String {
    let Some(millis) = value.get(field).and_then(Value::as_u64) else { return "?".to_owned() };
    let (seconds, tenths) = (millis / 1_000, millis % 1_000 / 100);
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds}.{tenths} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).map(plain).unwrap_or_default()
}

/// Returns a text on one line, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(kind: &str, more: Value) -> String {
        let mut change = json!({
            "id": "7-0", "kind": kind, "at": "2026-01-31T12:00:00.123Z",
            "workflow_id": "wf_0197a3c5b2f87c4e9d1a2b3c4d5e6f70", "workflow_name": "etl",
        });
        change.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        change.to_string()
    }

    fn every_kind() -> Vec<String> {
        let verdict =
            json!({"severity": "CRITICAL", "duration_ms": 2100, "historical_avg_ms": 420, "factor": 5.0});
        let warning = json!({"severity": "WARNING", "duration_ms": 190_000, "historical_avg_ms": 80_000, "factor": 2.38});
        let silent =
            json!({"severity": "CRITICAL", "duration_ms": 7_300_000, "historical_avg_ms": 0, "factor": 0.0});
        vec![
            change("workflow_start", json!({"started_at": "2026-01-31T12:00:00.123Z"})),
            change("step_start", json!({"step_name": "load", "attempt": 2})),
            change(
                "step_complete",
                json!({"step_name": "load", "attempt": 1, "status": "completed", "duration_ms": 2100, "error": null}),
            ),
            change(
                "step_complete",
                json!({"step_name": "load", "status": "failed", "duration_ms": 5, "error": {"type": "IoError", "message": "disk\nfull\u{1b}[2J"}}),
            ),
            change("bottleneck", json!({"step_name": "load", "bottleneck": verdict})),
            change("in_flight", json!({"step_name": "load", "bottleneck": warning})),
            change("in_flight", json!({"step_name": null, "bottleneck": silent})),
            change(
                "workflow_end",
                json!({"status": "completed", "total_duration_ms": 61_000, "steps_completed": 5, "bottlenecks": 1, "error": null}),
            ),
            change(
                "workflow_end",
                json!({"status": "failed", "total_duration_ms": 900, "steps_completed": 1, "bottlenecks": 0, "error": {"type": null, "message": "no"}}),
            ),
            change(
                "incident",
                json!({"incident_kind": "slow_step", "transition": "opened", "step_name": "load", "severity": "WARNING", "note": "WARNING, 2.5 times"}),
            ),
            change(
                "incident",
                json!({"incident_kind": "slow_step", "transition": "resolved", "step_name": "load", "severity": "WARNING", "note": "normal"}),
            ),
            change("event", json!({"event_kind": "log", "level": "warn", "message": "half full"})),
            change("event", json!({"event_kind": "tool_call", "level": null, "message": "grep"})),
            change("later", json!({})),
            json!({"id": "9", "kind": "resync", "detail": "…"}).to_string(),
            "no json".into(),
        ]
    }

    #[test]
    fn every_kind_of_change_is_one_readable_line() {
        let style = Style { colours: false };
        let lines: Vec<String> = every_kind().iter().map(|json| style.line(json)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        12:00:00.123 started   etl 4d5e6f70
        12:00:00.123 step      etl 4d5e6f70 load (attempt 2)
        12:00:00.123 done      etl 4d5e6f70 load completed in 2.1 s
        12:00:00.123 failed    etl 4d5e6f70 load failed in 5 ms: IoError: disk full [2J
        12:00:00.123 SLOW      etl 4d5e6f70 load 2.1 s, 5 × the usual 420 ms CRITICAL
        12:00:00.123 STUCK     etl 4d5e6f70 load still runs, 3 min 10 s, 2.38 × the usual 1 min 20 s WARNING
        12:00:00.123 STUCK     etl 4d5e6f70 nothing heard for 2 h 1 min CRITICAL
        12:00:00.123 ended     etl 4d5e6f70 completed in 1 min 1 s, 5 steps, 1 slow
        12:00:00.123 ended     etl 4d5e6f70 failed in 900 ms, 1 steps: no
        12:00:00.123 incident  etl 4d5e6f70 slow_step opened load WARNING, 2.5 times
        12:00:00.123 incident  etl 4d5e6f70 slow_step resolved load WARNING: normal
        12:00:00.123 event     etl 4d5e6f70 log warn: half full
        12:00:00.123 event     etl 4d5e6f70 tool_call: grep
        12:00:00.123 ?         etl 4d5e6f70 later
        -- resync: something was missed, what follows is complete again
        no json
        ");
    }

    #[test]
    fn colours_surround_words_and_end_with_them() {
        let style = Style { colours: true };
        insta::assert_snapshot!(
            style.line(&every_kind()[4]).escape_debug(),
            @r"\u{1b}[2m12:00:00.123\u{1b}[0m \u{1b}[1;31mSLOW     \u{1b}[0m \u{1b}[1metl\u{1b}[0m \u{1b}[2m4d5e6f70\u{1b}[0m load 2.1 s, 5 × the usual 420 ms CRITICAL"
        );
        for line in every_kind().iter().map(|json| style.line(json)) {
            let escapes = line.matches('\u{1b}').count();
            assert!(escapes % 2 == 0 && !line.contains("\u{1b}[2J"), "{line:?}");
        }
    }
}
