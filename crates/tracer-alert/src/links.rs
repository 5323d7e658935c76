//! Where to look further: the addresses that messages link to.
//!
//! Addresses are patterns, filled in with what the incident is about, percent-encoded: a name from a client
//! cannot lead anywhere else than the pattern's own host.
//! Not here: how a link is shown, which every channel does by itself.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::Serialize;
use thiserror::Error;
use tracer_core::incident::{Finding, Incident, IncidentKind};
use tracer_core::name::StepName;
use wildmatch::WildMatch;

/// What is not encoded (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Most bytes in a pattern.
const PATTERN_BYTES: usize = 2_000;

/// Why a pattern of links is none.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LinkError {
    /// It is no address of HTTP or HTTPS.
    #[error("{pattern} is not an address that begins with https:// or http:// and a host")]
    Address {
        /// The pattern.
        pattern: String,
    },
    /// It names something that is not known, or has a brace too many.
    #[error(
        "{pattern} has a placeholder other than {{workflow}}, {{step}}, {{execution}}, {{incident}} and {{kind}}"
    )]
    Placeholder {
        /// The pattern.
        pattern: String,
    },
    /// It has a placeholder before its path, so that names would choose the host.
    #[error("{pattern} has a placeholder before its path")]
    Host {
        /// The pattern.
        pattern: String,
    },
    /// It has a space, a control character or another character that no address has.
    #[error("{pattern} has a character that must be percent-encoded")]
    Character {
        /// The pattern.
        pattern: String,
    },
    /// It is too long.
    #[error("a pattern has more than {PATTERN_BYTES} bytes")]
    TooLong,
}

/// The runbook of some steps of some workflows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runbook {
    /// Of workflows whose name matches; `*` stands for any text, `?` for a character.
    pub workflow: String,
    /// Of steps whose name matches; what is about an execution as a whole has a step without a name.
    pub step: String,
    /// The pattern of its address.
    pub url: String,
}

/// The patterns of links. None by default.
#[derive(Clone, Debug, Default)]
pub struct Links {
    execution: Option<Pattern>,
    grafana: Option<Pattern>,
    runbooks: Vec<(WildMatch, WildMatch, Pattern)>,
}

/// The links of an incident; none is longer than a pattern whose names are all of the longest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IncidentLinks {
    /// To the execution that is the example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// To a dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grafana: Option<String>,
    /// To what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

impl Links {
    /// Returns the links of these patterns, with the placeholders `{workflow}`, `{step}`, `{execution}`,
    /// `{incident}` and `{kind}`. Of several runbooks that match, the first is linked to.
    ///
    /// # Errors
    /// [`LinkError`] says which pattern is none, and why.
    pub fn new(
        execution: Option<&str>,
        grafana: Option<&str>,
        runbooks: &[Runbook],
    ) -> Result<Self, LinkError> {
        let of = |runbook: &Runbook| {
            let url = Pattern::parse(&runbook.url)?;
            Ok((WildMatch::new(&runbook.workflow), WildMatch::new(&runbook.step), url))
        };
        Ok(Self {
            execution: execution.map(Pattern::parse).transpose()?,
            grafana: grafana.map(Pattern::parse).transpose()?,
            runbooks: runbooks.iter().map(of).collect::<Result<_, _>>()?,
        })
    }

    /// Returns the links of an incident.
    #[must_use]
    pub fn of(&self, incident: &Incident) -> IncidentLinks {
        let (workflow, step) = (incident.cause.workflow.as_str(), step_of(incident));
        let fits = |(workflows, steps, _): &&(WildMatch, WildMatch, Pattern)| {
            workflows.matches(workflow) && steps.matches(step)
        };
        let shown = incident.worst.execution.is_some();
        // An alert brings its own, where nobody has set one.
        let brought = match &incident.worst.finding {
            Finding::Alerted(note) => note.runbook.clone(),
            Finding::TooLong(_) | Finding::Slower(_) | Finding::Failing(_) | Finding::Burning(_) => None,
        };
        IncidentLinks {
            execution: self.execution.as_ref().filter(|_| shown).map(|pattern| pattern.fill(incident)),
            grafana: self.grafana.as_ref().map(|pattern| pattern.fill(incident)),
            runbook: self.runbooks.iter().find(fits).map(|(.., pattern)| pattern.fill(incident)).or(brought),
        }
    }
}

impl IncidentLinks {
    /// Returns the links that there are, with their names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("Execution", &self.execution), ("Grafana", &self.grafana), ("Runbook", &self.runbook)];
        all.into_iter().filter_map(|(name, url)| Some((name, url.as_deref()?)))
    }
}

fn step_of(incident: &Incident) -> &str {
    incident.cause.step.as_ref().map_or("", StepName::as_str)
}

#[derive(Clone, Copy, Debug)]
enum Placeholder {
    Workflow,
    Step,
    Execution,
    Incident,
    Kind,
}

impl Placeholder {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "workflow" => Self::Workflow,
            "step" => Self::Step,
            "execution" => Self::Execution,
            "incident" => Self::Incident,
            "kind" => Self::Kind,
            _ => return None,
        })
    }

    fn value(self, incident: &Incident) -> String {
        match self {
            Self::Workflow => incident.cause.workflow.as_str().to_owned(),
            Self::Step => step_of(incident).to_owned(),
            // What is about no execution has no link with one.
            Self::Execution => incident.worst.execution.map(|id| id.to_string()).unwrap_or_default(),
            Self::Incident => incident.id.to_string(),
            Self::Kind => IncidentKind::as_str(incident.cause.kind).to_owned(),
        }
    }
}

/// An address with placeholders: a text, and each placeholder with the text after it.
#[derive(Clone)]
struct Pattern {
    start: String,
    rest: Vec<(Placeholder, String)>,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start)
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, LinkError> {
        let pattern = || text.to_owned();
        if text.len() > PATTERN_BYTES {
            return Err(LinkError::TooLong);
        }
        let is_foreign = |c: char| {
            c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '|' | '"' | '`' | '\\' | '^')
        };
        if text.contains(is_foreign) {
            return Err(LinkError::Character { pattern: pattern() });
        }
        let mut parts = text.split('{');
        let start = parts.next().unwrap_or_default();
        let mut rest = Vec::new();
        for part in parts {
            let named =
                part.split_once('}').and_then(|(name, after)| Some((Placeholder::parse(name)?, after)));
            let (placeholder, after) = named.ok_or_else(|| LinkError::Placeholder { pattern: pattern() })?;
            rest.push((placeholder, after.to_owned()));
        }
        if start.contains('}') || rest.iter().any(|(_, after)| after.contains('}')) {
            return Err(LinkError::Placeholder { pattern: pattern() });
        }
        let host = ["https://", "http://"].iter().find_map(|scheme| start.strip_prefix(scheme));
        let host = host.ok_or_else(|| LinkError::Address { pattern: pattern() })?;
        if !rest.is_empty() && !host.contains(['/', '?', '#']) {
            return Err(LinkError::Host { pattern: pattern() });
        }
        let is_address = !host.starts_with('/') && Url::parse(start).is_ok_and(|url| url.has_host());
        if !is_address {
            return Err(LinkError::Address { pattern: pattern() });
        }
        Ok(Self { start: start.to_owned(), rest })
    }

    fn fill(&self, incident: &Incident) -> String {
        let mut url = self.start.clone();
        for (placeholder, after) in &self.rest {
            url.extend(utf8_percent_encode(&placeholder.value(incident), ENCODED));
            url.push_str(after);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_core::name::WorkflowName;

    use super::*;
    use crate::samples;

    fn runbook(workflow: &str, step: &str, url: &str) -> Runbook {
        Runbook { workflow: workflow.into(), step: step.into(), url: url.into() }
    }

    #[test]
    fn placeholders_are_filled_in_and_encoded() {
        let links = Links::new(
            Some("https://tracer.example/workflows/{execution}?incident={incident}"),
            Some("https://grafana.example/d/x?var-workflow={workflow}&var-step={step}&k={kind}#now"),
            &[],
        );
        let mut incident = samples::slow();
        incident.cause.workflow = WorkflowName::new("ETL/Nacht & <Tag>|äöü").unwrap();
        insta::assert_debug_snapshot!(links.unwrap().of(&incident), @r#"
        IncidentLinks {
            execution: Some(
                "https://tracer.example/workflows/wf_0198c0ffee0070008000000000000001?incident=inc_019c13ec9e0076b7ba91410be4a36886",
            ),
            grafana: Some(
                "https://grafana.example/d/x?var-workflow=ETL%2FNacht%20%26%20%3CTag%3E%7C%C3%A4%C3%B6%C3%BC&var-step=load&k=slow_step#now",
            ),
            runbook: None,
        }
        "#);
    }

    #[test]
    fn the_first_runbook_that_matches_is_linked_to() {
        let runbooks = [
            runbook("etl-*", "*", "https://wiki/other"),
            runbook("etl", "lo?d", "https://wiki/load"),
            runbook("*", "*", "https://wiki/all/{kind}"),
        ];
        let links = Links::new(None, None, &runbooks).unwrap();
        assert_eq!(links.of(&samples::slow()).runbook.as_deref(), Some("https://wiki/load"));
        assert_eq!(
            links.of(&samples::stalled()).runbook.as_deref(),
            Some("https://wiki/all/stalled_execution")
        );
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_its_reason() {
        let mut told = String::new();
        for pattern in [
            "tracer.example/{execution}",
            "ftp://host/",
            "javascript:alert(1)",
            "https://",
            "https:///path",
            "https://{workflow}.example/",
            "https://example{workflow}/",
            "https://example/{name}",
            "https://example/{workflow",
            "https://example/workflow}",
            "https://example/{workflow}}",
            "https://example/a b",
            "https://example/a|b",
        ] {
            told += &format!("{}\n", Links::new(Some(pattern), None, &[]).unwrap_err());
        }
        insta::assert_snapshot!(told, @"
        tracer.example/{execution} is not an address that begins with https:// or http:// and a host
        ftp://host/ is not an address that begins with https:// or http:// and a host
        javascript:alert(1) is not an address that begins with https:// or http:// and a host
        https:// is not an address that begins with https:// or http:// and a host
        https:///path is not an address that begins with https:// or http:// and a host
        https://{workflow}.example/ has a placeholder before its path
        https://example{workflow}/ has a placeholder before its path
        https://example/{name} has a placeholder other than {workflow}, {step}, {execution}, {incident} and {kind}
        https://example/{workflow has a placeholder other than {workflow}, {step}, {execution}, {incident} and {kind}
        https://example/workflow} has a placeholder other than {workflow}, {step}, {execution}, {incident} and {kind}
        https://example/{workflow}} has a placeholder other than {workflow}, {step}, {execution}, {incident} and {kind}
        https://example/a b has a character that must be percent-encoded
        https://example/a|b has a character that must be percent-encoded
        ");
        let long = format!("https://example/{}", "x".repeat(PATTERN_BYTES));
        assert_eq!(Links::new(None, Some(&long), &[]).unwrap_err(), LinkError::TooLong);
    }

    proptest! {
        #[test]
        fn no_name_leads_to_another_host_or_out_of_a_link(name in "\\PC{1,200}", step in "\\PC{1,200}") {
            let links = Links::new(Some("https://tracer.example/{workflow}/{step}?a={workflow}#{step}"), None, &[]);
            let mut incident = samples::slow();
            incident.cause.workflow = WorkflowName::from_stored(&name);
            incident.cause.step = Some(StepName::from_stored(&step));
            let link = links.unwrap().of(&incident).execution.unwrap();
            prop_assert!(link.bytes().all(|b| b.is_ascii_graphic() && !b"<>|\"`\\".contains(&b)), "{}", link);
            let url = Url::parse(&link).unwrap();
            prop_assert_eq!(url.host_str(), Some("tracer.example"));
            prop_assert_eq!(url.query_pairs().next().unwrap().1, name);
        }

        #[test]
        fn no_pattern_makes_the_parser_panic(text in "https?://\\PC{0,40}|\\PC{0,40}") {
            drop(Links::new(Some(&text), None, &[]));
        }
    }
}
