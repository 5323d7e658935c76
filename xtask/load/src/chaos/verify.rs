//! Whether everything that was acknowledged is there, once, and was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::Value;
use xtask_machine::interrupt;

use super::outside::{Heard, Outside};
use crate::client::Client;
use crate::ledger::Recorded;
use crate::load::say;

/// Executions that are asked for at once.
const AT_ONCE: usize = 16;
/// How long people may take to be told of what they could not be told before.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long nothing must come any more.
const QUIET: Duration = Duration::from_secs(12);
/// Faults that are shown of each check.
const SHOWN: usize = 5;

/// What is checked.
pub(crate) struct Verify<'a> {
    /// Whom to ask.
    pub(crate) client: &'a Client,
    /// Who was told.
    pub(crate) people: &'a Outside,
    /// What was acknowledged.
    pub(crate) recorded: Vec<Recorded>,
    /// How often something went wrong.
    pub(crate) caused: u64,
}

/// Counts by step: how many completed, failed, and had a verdict.
type Counts = BTreeMap<(String, String), (u64, u64, u64)>;

impl Verify<'_> {
    /// Checks all of it, and says what holds.
    ///
    /// # Errors
    /// That something does not.
    pub(crate) async fn run(&self) -> Result<()> {
        self.wait_until_told().await?;
        let heard = self.people.heard();
        let incidents = self.incidents().await?;
        let checks = [
            ("acknowledged executions and steps are there", self.stored().await?),
            ("steps and executions are counted once", self.counted().await?),
            ("each end counts once for an objective", self.for_objective().await?),
            ("each verdict that was answered is in an incident", self.in_incidents(&incidents)),
            ("each incident was told, and each end", told(&incidents, &heard)),
            ("nothing was told twice without a reason", self.repeated(&heard)),
        ];
        let mut failed = 0;
        for (what, (seen, faults)) in &checks {
            say(&format!("{}  {what}: {seen}", if faults.is_empty() { "pass" } else { "FAIL" }));
            faults.iter().take(SHOWN).for_each(|fault| say(&format!("      {fault}")));
            failed += usize::from(!faults.is_empty());
        }
        ensure!(failed == 0, "{failed} of {} checks failed", checks.len());
        Ok(())
    }

    /// Waits until nothing is in the outbox and nothing more comes.
    async fn wait_until_told(&self) -> Result<()> {
        let began = Instant::now();
        let (mut before, mut since) = (0, Instant::now());
        loop {
            interrupt::check()?;
            let heard: u64 = self.people.heard().notifications.values().sum();
            if heard != before {
                (before, since) = (heard, Instant::now());
            }
            let health = self.client.get("/health").await.context("/health does not answer")?;
            let pending = health["checks"]["outbox"]["pending"].as_u64().unwrap_or_default();
            if pending == 0 && since.elapsed() >= QUIET {
                return Ok(());
            }
            ensure!(began.elapsed() < LONGEST_WAIT, "{pending} notifications are still waiting: {health}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Every execution that was acknowledged, with all of its steps, and no others.
    async fn stored(&self) -> Result<(String, Vec<String>)> {
        let known = self.recorded.iter().filter(|recorded| !recorded.id.is_empty());
        let looks = stream::iter(known).map(|recorded| self.stored_one(recorded)).buffer_unordered(AT_ONCE);
        let faults: Vec<String> = looks.collect::<Vec<_>>().await.into_iter().flatten().collect();
        let steps: usize = self.recorded.iter().map(|recorded| recorded.steps.len()).sum();
        let doubts = self.recorded.iter().filter(|recorded| recorded.in_doubt).count();
        Ok((format!("{} executions, {steps} steps, {doubts} in doubt", self.recorded.len()), faults))
    }

    async fn stored_one(&self, recorded: &Recorded) -> Option<String> {
        let id = &recorded.id;
        let Some(found) = self.client.get(&format!("/workflows/{id}")).await else {
            return Some(format!("{id} is not there"));
        };
        if recorded.status.is_some_and(|status| found["status"] != status) {
            return Some(format!("{id} is {} and not {:?}", found["status"], recorded.status));
        }
        let steps = found["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
        let known: BTreeMap<&str, &Value> =
            steps.iter().filter_map(|step| Some((step["step_id"].as_str()?, step))).collect();
        for step in &recorded.steps {
            let same = known.get(step.id.as_str()).is_some_and(|found| {
                // Of a span, whole milliseconds are what is left of its nanoseconds.
                let millis = found["duration_ms"].as_u64().unwrap_or(u64::MAX);
                found["status"] == step.status && millis.abs_diff(step.millis) <= 1
            });
            if !same {
                return Some(format!("{id} has {:?} in place of {step:?}", known.get(step.id.as_str())));
            }
        }
        let more = steps.len() > recorded.steps.len() && !recorded.in_doubt;
        more.then(|| {
            format!("{id} has {} steps, and {} were acknowledged", steps.len(), recorded.steps.len())
        })
    }

    /// What was learned from: each step and each execution once.
    async fn counted(&self) -> Result<(String, Vec<String>)> {
        let mut faults = Vec::new();
        let mut checked = 0;
        let (counts, doubtful) = (self.counts(), self.doubtful());
        let workflows: BTreeSet<&String> = self.recorded.iter().map(|recorded| &recorded.workflow).collect();
        for workflow in workflows.into_iter().filter(|workflow| !doubtful.contains(workflow.as_str())) {
            let stats =
                self.client.get(&format!("/stats/{workflow}")).await.context("/stats does not answer")?;
            let runs = |status| {
                let same = |one: &&Recorded| one.workflow == *workflow && one.status == Some(status);
                self.recorded.iter().filter(same).count() as u64
            };
            for status in ["completed", "failed"] {
                checked += runs(status);
                if stats["executions"][status] != runs(status) {
                    faults.push(format!(
                        "{workflow}: {} {status}, {} counted",
                        runs(status),
                        stats["executions"][status]
                    ));
                }
            }
            for step in stats["steps"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let name = step["step_name"].as_str().unwrap_or_default();
                let key = (workflow.clone(), name.to_owned());
                let (completed, failed, _) = counts.get(&key).copied().unwrap_or_default();
                checked += completed + failed;
                if step["execution_count"] != completed + failed || step["failure_count"] != failed {
                    let (ended, bad) = (&step["execution_count"], &step["failure_count"]);
                    faults.push(format!(
                        "{workflow}/{name}: {completed} + {failed}, counted {ended} with {bad} failed"
                    ));
                }
            }
        }
        Ok((format!("{checked} ends, {} workflows left out", doubtful.len()), faults))
    }

    /// The objective over all workflows has seen every execution, and the failed ones as bad.
    async fn for_objective(&self) -> Result<(String, Vec<String>)> {
        let slo = self.client.get("/slo/all").await.context("/slo/all does not answer")?;
        let ended = |bad: bool| {
            let is = |one: &&Recorded| one.status.is_some_and(|status| !bad || status == "failed");
            self.recorded.iter().filter(is).count() as u64
        };
        let availability = &slo["indicators"][0];
        let (events, bad) = (availability["events"].as_u64(), availability["bad"].as_u64());
        let seen = format!("{} ends, {} of them bad", ended(false), ended(true));
        let doubts = self.recorded.iter().filter(|recorded| recorded.in_doubt).count() as u64;
        let fits =
            |seen: Option<u64>, known| seen.is_some_and(|seen| (known..=known + doubts).contains(&seen));
        let faults = (!fits(events, ended(false)) || !fits(bad, ended(true)))
            .then(|| format!("the objective has seen {events:?} ends, {bad:?} of them bad"));
        Ok((seen, faults.into_iter().collect()))
    }

    /// Every slow step that an answer told of is one occurrence of an incident.
    fn in_incidents(&self, incidents: &[Value]) -> (String, Vec<String>) {
        let mut occurrences: BTreeMap<(String, String), u64> = BTreeMap::new();
        for incident in incidents.iter().filter(|incident| incident["kind"] == "slow_step") {
            let name = |field: &str| incident[field].as_str().unwrap_or_default().to_owned();
            let seen = incident["occurrences"].as_u64().unwrap_or_default();
            *occurrences.entry((name("workflow_name"), name("step_name"))).or_default() += seen;
        }
        let (doubtful, mut verdicts, mut faults) = (self.doubtful(), 0, Vec::new());
        for ((workflow, step), (.., slow)) in self.counts() {
            if self.recorded.iter().any(|one| one.traced && one.workflow == workflow) {
                continue;
            }
            let seen = occurrences.get(&(workflow.clone(), step.clone())).copied().unwrap_or_default();
            verdicts += slow;
            let fits = if doubtful.contains(workflow.as_str()) { seen >= slow } else { seen == slow };
            if !fits {
                faults.push(format!("{workflow}/{step}: {slow} verdicts, {seen} occurrences"));
            }
        }
        (format!("{verdicts} verdicts, {} incidents", incidents.len()), faults)
    }

    /// A notification may come again only where nobody could know whether it had come.
    fn repeated(&self, heard: &Heard) -> (String, Vec<String>) {
        let again: u64 = heard.notifications.values().map(|times| times - 1).sum();
        let told = format!(
            "{} notifications, {again} came again after {} troubles; {} messages in Slack",
            heard.notifications.len(),
            self.caused,
            heard.messages
        );
        let too_often = again > self.caused;
        (
            told,
            too_often.then(|| format!("{again} repetitions, {} troubles", self.caused)).into_iter().collect(),
        )
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for recorded in &self.recorded {
            for step in &recorded.steps {
                let (completed, failed, slow) =
                    counts.entry((recorded.workflow.clone(), step.name.to_owned())).or_default();
                *(if step.status == "failed" { failed } else { completed }) += 1;
                *slow += u64::from(step.slow);
            }
        }
        counts
    }

    /// Returns the workflows of which something was given up: what became of it is not known.
    fn doubtful(&self) -> BTreeSet<&str> {
        let doubts = self.recorded.iter().filter(|recorded| recorded.in_doubt);
        doubts.map(|recorded| recorded.workflow.as_str()).collect()
    }

    async fn incidents(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut path = "/incidents?limit=1000".to_owned();
        loop {
            let Some(page) = self.client.get(&path).await else { bail!("/incidents does not answer") };
            all.extend(page["incidents"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/incidents?limit=1000&cursor={cursor}"),
                None => return Ok(all),
            }
        }
    }
}

/// What people were to be told of, they were told of.
fn told(incidents: &[Value], heard: &Heard) -> (String, Vec<String>) {
    let to_tell = incidents.iter().filter(|incident| !incident["told"].is_null());
    let (mut count, mut faults) = (0, Vec::new());
    for incident in to_tell {
        count += 1;
        let id = incident["incident_id"].as_str().unwrap_or_default();
        let transitions = heard.transitions.get(id).map(Vec::as_slice).unwrap_or_default();
        let begun =
            transitions.iter().any(|told| matches!(told.as_str(), "opened" | "worsened" | "repeated"));
        let ended = incident["told"]["firing"] != false || transitions.iter().any(|told| told == "resolved");
        if !begun || !ended {
            faults.push(format!("{id}, {}, {}: heard {transitions:?}", incident["kind"], incident["state"]));
        }
    }
    (format!("{count} incidents"), faults)
}
