//! Turns incidents into Slack's Block Kit. Pure.
//!
//! A message is a header, and an attachment with a bar in the colour of each incident. Links are links and not
//! buttons: Slack wants a click on a button to be answered by the app, and warns the reader otherwise.
//!
//! Invariants: a message keeps within Slack's documented limits whatever clients call their things, and what
//! they wrote neither formats, nor links, nor mentions anybody (`text`).
//! Not here: sending (`notifier`).

use slack_morphism::prelude::{
    SlackBlock, SlackBlockMarkDownText, SlackBlockPlainText, SlackBlockText, SlackContextBlock,
    SlackContextBlockElement, SlackHeaderBlock, SlackMessageAttachment, SlackMessageContent,
    SlackSectionBlock,
};
use tracer_core::detect::{Bottleneck, Regression, Severity, VerdictKind};
use tracer_core::ids::ExecutionId;
use tracer_core::incident::{FailureRate, Finding, Incident, IncidentState, SloBurn, Transition};
use tracer_core::notify::Notification;

use super::text::{code, escape, fit, link, plain, time, units};
use crate::links::{IncidentLinks, Links};
use crate::words;

/// Most characters in a header (<https://docs.slack.dev/reference/block-kit/blocks/header-block>).
const HEADER: usize = 150;
/// Most characters in the text of a section (<https://docs.slack.dev/reference/block-kit/blocks/section-block>).
const SECTION: usize = 3_000;
/// Characters of a fallback text before it is escaped, which makes it five times as long at most: Slack cuts
/// messages of more than 40,000.
const FALLBACK: usize = 800;
/// Longer links are left out: they would not fit into a section.
const LINK: usize = 2_800;
/// Characters shown of a name, which has no more than these.
const NAME: usize = 200;
/// Characters shown of a name where there is room for few.
const SHORT_NAME: usize = 45;
/// Characters shown of what something was compared with.
const COMPARED: usize = 500;
/// Characters shown of what an alert says, in one line with others.
const SAID: usize = 300;
/// Characters in all incidents of one message; further ones are only counted. Slack refuses messages whose
/// blocks hold more than some 13,000.
const GROUP: usize = 10_000;

const AMBER: &str = "#ecb22e";
const RED: &str = "#d40e0d";
const GREEN: &str = "#2eb67d";

/// Returns the message that tells of these incidents: of a transition, or of how they are if there is none.
pub(super) fn message(
    incidents: &[&Incident],
    transition: Option<Transition>,
    links: &Links,
) -> SlackMessageContent {
    match incidents {
        [incident] => single(incident, transition, links),
        many => group(many, links),
    }
}

/// Returns the line that a thread gets. `named` says that the thread is about several incidents.
pub(super) fn line(notification: &Notification, named: bool) -> SlackMessageContent {
    let incident = &notification.incident;
    let what = standing(incident, Some(notification.transition));
    let about = if named { format!(" {}", subject(incident, true)) } else { String::new() };
    let more = match words::end(incident) {
        Some(end) => end,
        None => format!("{}; {}", finding(incident), seen(incident)),
    };
    let text = format!("{} *{what}*{about}: {more}", dot(incident));
    SlackMessageContent::new()
        .with_text(fallback(&[incident], Some(notification.transition)))
        .with_blocks(vec![section(text)])
}

fn single(incident: &Incident, transition: Option<Transition>, links: &Links) -> SlackMessageContent {
    let text = fallback(&[incident], transition);
    let mut blocks = Vec::new();
    blocks.extend(words::end(incident).map(|end| section(format!("*Resolved*: {end}."))));
    let fields = fields(incident).into_iter().map(|(label, value)| mrkdwn(format!("*{label}*\n{value}")));
    blocks.push(SlackSectionBlock::new().with_fields(fields.map(SlackBlockText::MarkDown).collect()).into());
    blocks.extend(comparison(incident).map(section));
    blocks.extend(linked(&links.of(incident)));
    blocks.push(context(notes(incident)));
    SlackMessageContent::new()
        .with_text(text.clone())
        .with_blocks(vec![header(&headline(incident, transition, NAME), || {
            headline(incident, transition, SHORT_NAME)
        })])
        .with_attachments(vec![attachment(incident, text, blocks)])
}

fn group(incidents: &[&Incident], links: &Links) -> SlackMessageContent {
    let Some(first) = incidents.first() else { return SlackMessageContent::new() };
    let title = group_title(incidents, NAME);
    let mut attachments = Vec::new();
    let mut room = GROUP;
    for (number, incident) in incidents.iter().enumerate() {
        let text = in_group(incident, first.opened_in, links);
        let Some(left) = room.checked_sub(units(&text)) else {
            let text = format!("… and {} more.", incidents.len() - number);
            attachments.push(attachment(incident, text.clone(), vec![section(text)]));
            break;
        };
        room = left;
        attachments.push(attachment(incident, subject(incident, false), vec![section(text)]));
    }
    let mut about: Vec<String> = first.opened_in.map(|id| format!("Execution `{id}`")).into_iter().collect();
    about.extend(simulated(first));
    let mut blocks = vec![header(&title, || group_title(incidents, SHORT_NAME)), context(about)];
    if first.worst.execution == first.opened_in {
        let IncidentLinks { execution, .. } = links.of(first);
        blocks.extend(linked(&IncidentLinks { execution, ..IncidentLinks::default() }));
    }
    SlackMessageContent::new()
        .with_text(fallback(incidents, None))
        .with_blocks(blocks)
        .with_attachments(attachments)
}

/// Returns all of an incident in one text; without a link to the execution that all of them opened in.
fn in_group(incident: &Incident, opened_in: Option<ExecutionId>, links: &Links) -> String {
    let finding = finding(incident);
    let mut text =
        format!("{} *{}* {}: {finding}", dot(incident), standing(incident, None), subject(incident, true));
    let mut rest = vec![words::end(incident).unwrap_or_else(|| seen(incident))];
    rest.extend(acknowledged(incident));
    let mut links = links.of(incident);
    links.execution = links.execution.filter(|_| incident.worst.execution != opened_in);
    rest.extend(link_texts(&links));
    for part in rest {
        let gap = if text.contains('\n') { " · " } else { "\n" };
        if units(&text) + units(&part) + 3 <= SECTION {
            text.push_str(gap);
            text.push_str(&part);
        }
    }
    text
}

fn attachment(incident: &Incident, fallback: String, blocks: Vec<SlackBlock>) -> SlackMessageAttachment {
    SlackMessageAttachment::new()
        .with_color(color(incident).to_owned())
        .with_fallback(fallback)
        .with_blocks(blocks)
}

/// Returns the plain text that notifications show, escaped, as Slack reads it like a message.
fn fallback(incidents: &[&Incident], transition: Option<Transition>) -> String {
    let text = match incidents {
        [incident] => {
            let more = words::end(incident).unwrap_or_else(|| words::finding(incident));
            format!("{}: {more}", headline(incident, transition, NAME))
        }
        many => group_title(many, NAME),
    };
    escape(&plain(&text, FALLBACK))
}

fn headline(incident: &Incident, transition: Option<Transition>, name_chars: usize) -> String {
    let mark = if incident.simulated { "[simulated] " } else { "" };
    let (what, title) = (standing(incident, transition), words::title(incident, name_chars));
    format!("{} {mark}{what}: {title}", dot(incident))
}

fn group_title(incidents: &[&Incident], name_chars: usize) -> String {
    let firing = incidents.iter().filter(|incident| incident.state == IncidentState::Firing);
    let worst = firing.clone().max_by_key(|incident| incident.severity).or(incidents.first());
    let Some(worst) = worst else { return String::new() };
    let (count, workflow) = (incidents.len(), words::shortened(worst.cause.workflow.as_str(), name_chars));
    let mark = if worst.simulated { "[simulated] " } else { "" };
    let left = match firing.count() {
        0 => "Resolved: ".to_owned(),
        all if all == count => String::new(),
        some => format!("{some} of "),
    };
    format!("{} {mark}{left}{count} incidents in one execution of {workflow}", dot(worst))
}

/// Returns how an incident is, in one or two words.
fn standing(incident: &Incident, transition: Option<Transition>) -> String {
    let severity = incident.severity.as_str();
    match (incident.state, transition) {
        (IncidentState::Resolved, _) => "Resolved".to_owned(),
        (IncidentState::Firing, Some(Transition::Worsened)) => format!("Now {severity}"),
        (IncidentState::Firing, Some(Transition::Repeated)) => format!("Still {severity}"),
        (IncidentState::Firing, Some(Transition::Reopened)) => format!("{severity} again"),
        (
            IncidentState::Firing,
            None
            | Some(Transition::Opened | Transition::Resolved | Transition::Acknowledged | Transition::Snoozed),
        ) => severity.to_owned(),
    }
}

/// Returns the kind and what it is about, as mrkdwn, or as plain text to be escaped no further.
fn subject(incident: &Incident, as_code: bool) -> String {
    let name = |name: &str| if as_code { code(name, NAME) } else { escape(&plain(name, NAME)) };
    let kind = words::kind(incident.cause.kind);
    match (words::signalled(incident), &incident.cause.step) {
        (Some(signalled), _) => format!("{kind} {}", name(signalled)),
        (None, Some(step)) => {
            format!("{kind} {}{}", words::before_step(incident.cause.kind), name(step.as_str()))
        }
        (None, None) => format!("{kind} of {}", name(incident.cause.workflow.as_str())),
    }
}

fn dot(incident: &Incident) -> &'static str {
    match (incident.state, incident.severity) {
        (IncidentState::Resolved, _) => "✅",
        (IncidentState::Firing, Severity::Warning) => "🟠",
        (IncidentState::Firing, Severity::Critical) => "🔴",
    }
}

fn color(incident: &Incident) -> &'static str {
    match (incident.state, incident.severity) {
        (IncidentState::Resolved, _) => GREEN,
        (IncidentState::Firing, Severity::Warning) => AMBER,
        (IncidentState::Firing, Severity::Critical) => RED,
    }
}

/// Returns what was found, as mrkdwn: what others wrote formats nothing.
fn finding(incident: &Incident) -> String {
    let told = words::finding(incident);
    match &incident.worst.finding {
        Finding::Alerted(_) => code(&told, SAID),
        Finding::TooLong(_) | Finding::Slower(_) | Finding::Failing(_) | Finding::Burning(_) => told,
    }
}

fn seen(incident: &Incident) -> String {
    format!("{} since {}", words::times(incident.occurrences), time(incident.first_seen_at))
}

/// Returns at most 10 fields, as a section has.
fn fields(incident: &Incident) -> Vec<(&'static str, String)> {
    let cause = &incident.cause;
    let mut fields = vec![
        ("Severity", incident.severity.as_str().to_owned()),
        ("Workflow", code(cause.workflow.as_str(), NAME)),
    ];
    fields.extend(cause.step.as_ref().map(|step| ("Step", code(step.as_str(), NAME))));
    fields.extend(incident.worst.execution.map(|id| ("Execution", format!("`{id}`"))));
    fields.extend(match &incident.worst.finding {
        Finding::TooLong(verdict) => of_bottleneck(verdict, incident.state),
        Finding::Slower(regression) => of_regression(regression),
        Finding::Failing(rate) => of_failures(rate),
        Finding::Burning(burn) => of_burn(burn),
        Finding::Alerted(note) => vec![("Alert", code(&note.name, NAME))],
    });
    let times = match incident.ongoing {
        0 => words::times(incident.occurrences),
        stuck => format!("{}, {stuck} at this moment", words::times(incident.occurrences)),
    };
    fields.push(("Seen", times));
    fields.push(("Since", time(incident.first_seen_at)));
    fields
}

fn of_bottleneck(verdict: &Bottleneck, state: IncidentState) -> Vec<(&'static str, String)> {
    let label = match (verdict.kind, verdict.in_flight, state) {
        (VerdictKind::StalledExecution, _, IncidentState::Firing) => "Silent for",
        (VerdictKind::StalledExecution, _, IncidentState::Resolved) => "Was silent for",
        (VerdictKind::SlowStep | VerdictKind::StuckStep, false, _) => "Duration",
        (VerdictKind::SlowStep | VerdictKind::StuckStep, true, IncidentState::Firing) => "Running for",
        (VerdictKind::SlowStep | VerdictKind::StuckStep, true, IncidentState::Resolved) => "Had run for",
    };
    let duration = (label, words::duration(verdict.duration));
    if verdict.samples == 0 {
        return vec![duration];
    }
    vec![
        duration,
        ("Historical average", words::duration(verdict.historical_avg)),
        ("Factor", words::factor(verdict.factor())),
        ("Samples", verdict.samples.to_string()),
    ]
}

fn of_regression(regression: &Regression) -> Vec<(&'static str, String)> {
    vec![
        ("Before", words::duration(regression.before)),
        ("After", words::duration(regression.after)),
        ("Factor", words::factor(regression.factor)),
        ("Runs since", regression.samples.to_string()),
    ]
}

fn of_failures(rate: &FailureRate) -> Vec<(&'static str, String)> {
    vec![
        ("Failed", format!("{} of {}, {}", rate.failed, rate.ended, words::percent(rate.rate()))),
        ("Usual", words::percent(rate.usual)),
        ("Limit", words::percent(rate.limit)),
        ("Factor", words::factor(rate.factor())),
    ]
}

fn of_burn(burn: &SloBurn) -> Vec<(&'static str, String)> {
    vec![
        (
            "Objective",
            format!("{}, {} of {}", code(&burn.slo, NAME), words::percent(burn.objective), burn.sli),
        ),
        ("Burn rate", format!("{} in {}", words::factor(burn.factor()), words::duration(burn.long))),
        ("Bad", format!("{} of {}", burn.bad, burn.events)),
        ("Budget left", words::percent(burn.budget_remaining)),
    ]
}

/// Returns what it was compared with.
fn comparison(incident: &Incident) -> Option<String> {
    match &incident.worst.finding {
        Finding::TooLong(verdict) => {
            let told = verdict.compared_with();
            Some(match told.strip_prefix("compared with ") {
                Some(with) => format!("Compared with {}.", code(with, COMPARED)),
                None => format!("It takes {told}."),
            })
        }
        Finding::Slower(regression) => {
            let began = format!("It began at {}", time(regression.began_at));
            Some(match &regression.changed {
                Some((name, value)) => {
                    format!("{began}, with {} = {}.", code(name, NAME), code(value, NAME))
                }
                None => format!("{began}."),
            })
        }
        Finding::Failing(rate) => Some(format!("Of what has ended since {}.", time(rate.since))),
        Finding::Burning(_) => None,
        Finding::Alerted(note) if note.summary.is_empty() => None,
        Finding::Alerted(note) => Some(code(&note.summary, COMPARED)),
    }
}

fn notes(incident: &Incident) -> Vec<String> {
    let mut notes = vec![format!("Incident `{}`", incident.id)];
    notes.extend(acknowledged(incident));
    let snoozed = incident.snoozed_until.filter(|_| incident.state == IncidentState::Firing);
    notes.extend(snoozed.map(|until| format!("Snoozed until {}", time(until))));
    notes.extend(simulated(incident));
    notes
}

fn acknowledged(incident: &Incident) -> Option<String> {
    let acknowledged = incident.acknowledged.as_ref()?;
    let by = acknowledged.by.as_ref().map_or(String::new(), |by| format!(" by {}", code(by, NAME)));
    Some(format!("Acknowledged{by} at {}", time(acknowledged.at)))
}

fn simulated(incident: &Incident) -> Option<String> {
    incident.simulated.then(|| "Simulated: only invented executions took part".to_owned())
}

fn link_texts(links: &IncidentLinks) -> Vec<String> {
    let texts = links.named().map(|(name, url)| link(url, name));
    texts.filter(|text| units(text) <= LINK).collect()
}

/// Returns the links, in as few sections as hold them.
fn linked(links: &IncidentLinks) -> Vec<SlackBlock> {
    let mut lines: Vec<String> = Vec::new();
    for text in link_texts(links) {
        match lines.last_mut() {
            Some(line) if units(line) + units(&text) + 3 <= SECTION => *line = format!("{line} · {text}"),
            _ => lines.push(text),
        }
    }
    lines.into_iter().map(section).collect()
}

fn header(text: &str, shorter: impl Fn() -> String) -> SlackBlock {
    let text = if units(text) <= HEADER { text.to_owned() } else { shorter() };
    SlackHeaderBlock::new(SlackBlockPlainText::new(fit(&plain(&text, HEADER * 2), HEADER)).into()).into()
}

fn section(text: String) -> SlackBlock {
    SlackSectionBlock::new().with_text(SlackBlockText::MarkDown(mrkdwn(text))).into()
}

fn context(texts: Vec<String>) -> SlackBlock {
    let elements = texts.into_iter().map(|text| SlackContextBlockElement::MarkDown(mrkdwn(text)));
    SlackContextBlock::new(elements.collect()).into()
}

/// Returns text of which nothing is made a link or a mention that is not written as one.
fn mrkdwn(text: String) -> SlackBlockMarkDownText {
    SlackBlockMarkDownText::new(text).with_verbatim(true)
}

#[cfg(test)]
mod tests;
