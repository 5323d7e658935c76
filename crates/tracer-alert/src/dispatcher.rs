//! Brings what is in the outbox to the channels.
//!
//! Whoever sends for a channel has it leased as a whole: in order and at its rate, one replica at a time. A
//! notification is taken, delivered outside of any transaction, and settled under the lease that took it. After
//! a crash in between the lease runs out, and the next holder delivers it again: only then is anything told
//! twice, because nobody can know whether the channel had taken it.
//!
//! Invariants: channels do not wait for each other; calls for one channel never overlap; nothing is settled
//! under a lease that was lost. Not here: what is told (`tracer_core::incident`), and how (`Notifier`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracer_core::chain::Chain;
use tracer_core::clock::Clock;
use tracer_core::incident::{Incident, IncidentState, Transition};
use tracer_core::limits::PAGE_ROWS;
use tracer_core::notify::{ChannelName, Delivery, Notifier, NotifyError, Posted};
use tracer_core::outbox::{IncidentFilter, Lease, Settled, Settlement};
use tracer_core::repository::{Repository, RepositoryError};
use tracer_core::routing::Channel;
use tracer_core::time::{Micros, Timestamp};

use crate::backoff;

/// How often it is asked what there is to send.
const PERIOD: Duration = Duration::from_millis(500);
/// A lease is renewed while a channel takes its time: so often in its own.
const RENEWALS: u32 = 3;
/// How often messages are looked for that no longer show their incidents as they are.
const EDITED_EVERY: Duration = Duration::from_secs(5);
/// Messages edited in one go.
const EDITS: usize = 20;
/// For how long a store that is away is told what became of a delivery.
const LONGEST_SETTLING: Duration = Duration::from_secs(300);
/// Longer pauses of a channel are not waited for under its lease.
const LONGEST_WAIT: Micros = Micros::from_secs(2);
/// Incidents that a channel is told of when it must be told of everything that fires.
const RESTATED: usize = 10_000;
/// Openings looked back at to know whether an action may be taken again.
const ACTIONS_SEEN: usize = 1_000;
const HOUR: Micros = Micros::from_secs(3_600);

/// How often a channel may be told of openings: for what acts, and not only tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restraint {
    /// Of the same cause not again within so long.
    pub cooldown: Micros,
    /// And in all so often within an hour.
    pub per_hour: usize,
}

/// A channel, and how it is brought something.
#[derive(Clone)]
pub struct Recipient {
    /// What it wants to hear.
    pub channel: Channel,
    /// What brings it.
    pub notifier: Arc<dyn Notifier>,
    /// Least time between two deliveries.
    pub interval: Micros,
    /// How often it may be told of openings.
    pub restraint: Option<Restraint>,
    /// After so long without success a notification is set aside.
    pub give_up_after: Micros,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// What became of an attempt to deliver a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The channel took it.
    Sent,
    /// It did not, for now.
    Retried,
    /// It never will.
    Refused,
    /// It was no longer worth telling, or the channel may not be told so often.
    Dropped,
    /// It is delivered although it may have arrived before: whoever sent it last crashed before saying so.
    InDoubt,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Retried, Self::Refused, Self::Dropped, Self::InDoubt];

    /// Returns the outcome as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retried => "retried",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// Is told of the outcome of every attempt, per notification.
pub type OutcomeReport = Arc<dyn Fn(&ChannelName, Outcome) + Send + Sync>;

/// Brings what is in the outbox to the channels.
pub struct Dispatcher {
    repository: Arc<dyn Repository>,
    clock: Arc<dyn Clock>,
    holder: String,
    lease: Micros,
    recipients: Vec<Arc<Recipient>>,
    report: OutcomeReport,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("recipients", &self.recipients).finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// Returns a dispatcher for these channels. `holder` names this replica among those that share the store;
    /// `lease` is how long one that dies keeps a channel from the others.
    #[must_use]
    pub fn new(
        repository: Arc<dyn Repository>,
        holder: String,
        lease: Micros,
        recipients: Vec<Recipient>,
        report: OutcomeReport,
    ) -> Self {
        let recipients = recipients.into_iter().map(Arc::new).collect();
        Self { clock: repository.clock(), repository, holder, lease, recipients, report }
    }

    /// Delivers until `stop` is cancelled, and what is under way then.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut busy, mut working) = (HashMap::new(), JoinSet::new());
        let mut chores: HashMap<ChannelName, Chores> = HashMap::new();
        let mut outage = Outage::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = working.join_next_with_id() => {
                    let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                    busy.remove(&id);
                    outage.note(ended.map(|(_, result)| result));
                    continue;
                }
                _ = tick.tick() => {}
            }
            let names: HashSet<&ChannelName> = busy.values().collect();
            let is_idle = |one: &&Arc<Recipient>| !names.contains(&one.channel.name);
            let idle: Vec<&Arc<Recipient>> = self.recipients.iter().filter(is_idle).collect();
            match self.find_work(&idle, &mut chores).await {
                Ok(found) => {
                    for (recipient, restate) in found {
                        let (name, this) = (recipient.channel.name.clone(), Arc::clone(&self));
                        let stop = stop.clone();
                        let task = working.spawn(async move { this.serve(&recipient, restate, &stop).await });
                        busy.insert(task.id(), name);
                    }
                    outage.note(Ok(Ok(())));
                }
                Err(error) => outage.note(Ok(Err(error))),
            }
        }
        // A delivery that was begun is settled: otherwise it would be made again.
        while working.join_next().await.is_some() {}
    }

    /// Returns the channels that there is something to do for; and whether to tell them of all that fires.
    async fn find_work(
        &self,
        idle: &[&Arc<Recipient>],
        chores: &mut HashMap<ChannelName, Chores>,
    ) -> Result<Vec<(Arc<Recipient>, bool)>, RepositoryError> {
        let names: Vec<ChannelName> = idle.iter().map(|one| one.channel.name.clone()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let waiting = self.repository.waiting(&names, self.clock.now()).await?;
        let mut found = Vec::new();
        for recipient in idle {
            let name = &recipient.channel.name;
            let chores = chores.entry(name.clone()).or_default();
            let restate = chores.is_to_restate(&*recipient.notifier);
            let edit = chores.is_to_edit(&*recipient.notifier)
                && !self.repository.outdated(name, 1).await?.is_empty();
            if restate || edit || waiting.contains(name) {
                found.push((Arc::clone(recipient), restate));
            }
        }
        Ok(found)
    }

    /// Does what there is to do for a channel, if nobody else does.
    async fn serve(
        &self,
        recipient: &Recipient,
        restate: bool,
        stop: &CancellationToken,
    ) -> Result<(), RepositoryError> {
        let (name, now) = (&recipient.channel.name, self.clock.now());
        let Some(lease) = self.repository.lease(name, &self.holder, now, now + self.lease).await? else {
            return Ok(());
        };
        let mut turn = Turn { dispatcher: self, recipient, not_before: lease.not_before, lease };
        let done = turn.take_all(restate, stop).await;
        // What is under way is settled by now. A lease that cannot be given back runs out by itself.
        let released = self.repository.release(&turn.lease).await;
        done.and(released)
    }
}

/// What is done for a channel without a notification.
#[derive(Debug, Default)]
struct Chores {
    restated: Option<Instant>,
    edited: Option<Instant>,
}

impl Chores {
    fn is_to_restate(&mut self, notifier: &dyn Notifier) -> bool {
        notifier.forgets_after().is_some_and(|period| is_time(&mut self.restated, period.to_std()))
    }

    fn is_to_edit(&mut self, notifier: &dyn Notifier) -> bool {
        notifier.edits() && is_time(&mut self.edited, EDITED_EVERY)
    }
}

fn is_time(last: &mut Option<Instant>, period: Duration) -> bool {
    let is_time = last.is_none_or(|last| last.elapsed() >= period);
    if is_time {
        *last = Some(Instant::now());
    }
    is_time
}

/// The time for which this replica has a channel.
struct Turn<'a> {
    dispatcher: &'a Dispatcher,
    recipient: &'a Recipient,
    lease: Lease,
    /// Nothing is to be sent before.
    not_before: Timestamp,
}

impl Turn<'_> {
    async fn take_all(&mut self, restate: bool, stop: &CancellationToken) -> Result<(), RepositoryError> {
        let repository = &self.dispatcher.repository;
        if restate && self.may_send(stop).await && self.renew().await? {
            self.restate().await?;
        }
        while self.may_send(stop).await {
            let (now, until) = (self.now(), self.leased_until());
            let taken = repository.take(&self.lease, now, until, self.told_together()).await?;
            let Some(delivery) = taken else { break };
            if !self.deliver(&delivery, stop).await? {
                return Ok(());
            }
        }
        if !self.recipient.notifier.edits() {
            return Ok(());
        }
        for posted in repository.outdated(&self.recipient.channel.name, EDITS).await? {
            if !self.may_send(stop).await || !self.renew().await? || !self.edit(&posted).await? {
                break;
            }
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.dispatcher.clock.now()
    }

    /// Returns the transitions of which several are told at once. What can be edited shows the end of each of
    /// its incidents in its own place.
    fn told_together(&self) -> &'static [Transition] {
        match (self.recipient.channel.grouped, self.recipient.notifier.edits()) {
            (false, _) => &[],
            (true, true) => &[Transition::Opened],
            (true, false) => &[Transition::Opened, Transition::Resolved],
        }
    }

    fn leased_until(&self) -> Timestamp {
        self.now() + self.dispatcher.lease
    }

    /// Keeps the lease for what is about to be sent; returns false if it was lost.
    async fn renew(&self) -> Result<bool, RepositoryError> {
        self.dispatcher.repository.renew(&self.lease, self.leased_until()).await
    }

    fn name(&self) -> &ChannelName {
        &self.recipient.channel.name
    }

    /// Waits until the channel may be sent something; returns false if that is not worth waiting for.
    async fn may_send(&mut self, stop: &CancellationToken) -> bool {
        let wait = self.not_before.since(self.now());
        if wait > LONGEST_WAIT || stop.is_cancelled() {
            return false;
        }
        wait == Micros::ZERO || stop.run_until_cancelled(tokio::time::sleep(wait.to_std())).await.is_some()
    }

    /// Delivers, and says what became of it. Returns whether to go on.
    async fn deliver(
        &mut self,
        delivery: &Delivery,
        stop: &CancellationToken,
    ) -> Result<bool, RepositoryError> {
        let settled = match self.not_worth_telling(delivery).await? {
            Some(reason) => (Settled::Dropped { reason }, self.not_before),
            None => {
                let repeated = delivery.notifications.iter().any(|one| one.attempts > 0);
                if repeated && self.lease.failures == 0 {
                    self.tell(delivery, Outcome::InDoubt);
                }
                let call = self.recipient.notifier.deliver(delivery);
                let answer = self.keeping_the_lease(call).await;
                self.settled(delivery, answer)
            }
        };
        let (settled, not_before) = settled;
        let outcome = outcome_of(&settled);
        self.log(delivery, &settled);
        let ids = delivery.notifications.iter().map(|one| one.id).collect();
        let (at, in_history) = (self.now(), self.recipient.restraint.is_some());
        let settlement = Settlement { ids, settled, not_before, at, in_history };
        if !self.settle(settlement, stop).await? {
            tracing::warn!(event = "lease_lost", channel = %self.name(), "another replica sends for this channel");
            return Ok(false);
        }
        self.tell(delivery, outcome);
        self.not_before = not_before;
        self.lease.failures = if outcome == Outcome::Retried { self.lease.failures + 1 } else { 0 };
        Ok(true)
    }

    /// Says what became of a delivery, and goes on saying it while the store is away: what is not settled is told
    /// again. Returns false if the lease was lost.
    async fn settle(
        &self,
        settlement: Settlement,
        stop: &CancellationToken,
    ) -> Result<bool, RepositoryError> {
        let begun = Instant::now();
        loop {
            match self.dispatcher.repository.settle(&self.lease, settlement.clone()).await {
                Err(RepositoryError::Unavailable { .. })
                    if begun.elapsed() < LONGEST_SETTLING && !stop.is_cancelled() =>
                {
                    tokio::time::sleep(PERIOD).await;
                }
                settled => return settled,
            }
        }
    }

    /// Returns what became of a delivery, and before when nothing more is to be sent.
    fn settled(
        &self,
        delivery: &Delivery,
        answer: Result<tracer_core::notify::Receipt, NotifyError>,
    ) -> (Settled, Timestamp) {
        let now = self.now();
        let next = now + self.recipient.interval;
        match answer {
            Ok(receipt) => (Settled::Sent { reference: receipt.reference, note: receipt.note }, next),
            Err(NotifyError::Permanent { reason }) => (Settled::Refused { reason }, next),
            // It may have been carried out all the same, and doing something twice is worse than not at all.
            Err(NotifyError::Transient { reason, .. }) if self.recipient.restraint.is_some() => {
                (Settled::Refused { reason: format!("not tried again: {reason}") }, next)
            }
            Err(NotifyError::Transient { reason, retry_after, .. }) => {
                let first = delivery.notifications.iter().map(|one| one.created_at).min().unwrap_or(now);
                if now.since(first) > self.recipient.give_up_after {
                    return (Settled::Refused { reason: format!("given up: {reason}") }, next);
                }
                (Settled::Again { reason }, self.pause(retry_after).max(next))
            }
        }
    }

    fn pause(&self, retry_after: Option<Micros>) -> Timestamp {
        let failures = self.lease.failures.saturating_add(1);
        self.now() + backoff::pause(failures, retry_after, rand::random())
    }

    /// Returns why a delivery is not made, if it is not.
    async fn not_worth_telling(&self, delivery: &Delivery) -> Result<Option<String>, RepositoryError> {
        let Some(first) = delivery.notifications.first() else { return Ok(Some("empty".to_owned())) };
        // Of one that opened and was over while nobody was to be disturbed, there is nothing left to do.
        let is_over = delivery.current.state == IncidentState::Resolved;
        if first.held && is_over && !delivery.told_before {
            return Ok(Some("over before the quiet hours were".to_owned()));
        }
        // Of what is held, and was told of meanwhile because it became worse, only the end is news.
        if first.held && delivery.told_before && first.transition == Transition::Opened {
            return Ok(Some("told of while it was held".to_owned()));
        }
        let Some(restraint) = self.recipient.restraint else { return Ok(None) };
        if is_over {
            return Ok(Some("the incident is over".to_owned()));
        }
        if first.attempts > 0 {
            return Ok(Some("it may have been done already: its sender crashed".to_owned()));
        }
        let now = self.now();
        let since = now - restraint.cooldown.max(HOUR);
        let told = self.dispatcher.repository.told_since(self.name(), since, ACTIONS_SEEN).await?;
        let cause = first.incident.cause.fingerprint();
        let recent = |at: &Timestamp, within| now.since(*at) < within;
        if told.iter().any(|(at, of)| *of == cause && recent(at, restraint.cooldown)) {
            return Ok(Some("within the cool-down of the action".to_owned()));
        }
        let in_this_hour = told.iter().filter(|(at, _)| recent(at, HOUR)).count();
        let is_too_much = in_this_hour >= restraint.per_hour;
        Ok(is_too_much.then(|| format!("more than {} actions in an hour", restraint.per_hour)))
    }

    /// Waits for a channel, and renews the lease meanwhile. A lease that is lost all the same is noticed when
    /// it is settled under: what is on its way cannot be called back.
    async fn keeping_the_lease<T>(&self, call: impl Future<Output = T>) -> T {
        tokio::pin!(call);
        let mut tick = tokio::time::interval(self.dispatcher.lease.to_std() / RENEWALS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        loop {
            tokio::select! {
                answer = &mut call => return answer,
                _ = tick.tick() => {
                    if let Err(error) = self.renew().await {
                        tracing::debug!(channel = %self.name(), error = %Chain(&error), "a lease was not renewed");
                    }
                }
            }
        }
    }

    /// Edits a message. Returns whether to go on.
    async fn edit(&mut self, posted: &Posted) -> Result<bool, RepositoryError> {
        let answer = self.keeping_the_lease(self.recipient.notifier.edit(posted)).await;
        self.not_before = self.now() + self.recipient.interval;
        match answer {
            // One that can never be edited is not tried again.
            Ok(()) | Err(NotifyError::Permanent { .. }) => {
                self.dispatcher.repository.edited(&self.lease, posted, self.not_before).await
            }
            Err(NotifyError::Transient { reason, retry_after, .. }) => {
                self.not_before = self.pause(retry_after).max(self.not_before);
                self.put_off(reason).await?;
                Ok(false)
            }
        }
    }

    /// Tells the channel of everything that fires.
    async fn restate(&mut self) -> Result<(), RepositoryError> {
        let firing = self.firing().await?;
        if firing.is_empty() {
            return Ok(());
        }
        let answer = self.keeping_the_lease(self.recipient.notifier.restate(&firing)).await;
        self.not_before = self.now() + self.recipient.interval;
        match answer {
            Ok(()) => Ok(()),
            Err(NotifyError::Permanent { reason }) => {
                tracing::warn!(event = "notification_refused", channel = %self.name(), reason, "a channel refuses what fires");
                Ok(())
            }
            Err(NotifyError::Transient { reason, retry_after, .. }) => {
                self.not_before = self.pause(retry_after).max(self.not_before);
                self.put_off(reason).await
            }
        }
    }

    /// Returns what fires and is of interest to the channel, the newest of it if there is too much.
    async fn firing(&self) -> Result<Vec<Incident>, RepositoryError> {
        let filter = IncidentFilter { state: Some(IncidentState::Firing), ..IncidentFilter::default() };
        let (mut firing, mut after) = (Vec::new(), None);
        while firing.len() < RESTATED {
            let page = self.dispatcher.repository.incidents(&filter, after, PAGE_ROWS).await?;
            let is_last = page.len() < PAGE_ROWS;
            after = page.last().map(|incident| incident.id);
            firing.extend(page.into_iter().filter(|one| self.recipient.channel.hears_of(one)));
            if is_last {
                break;
            }
        }
        Ok(firing)
    }

    /// Pauses the channel after a failure that was of no notification.
    async fn put_off(&self, reason: String) -> Result<(), RepositoryError> {
        let (settled, at) = (Settled::Again { reason }, self.now());
        let not_before = self.not_before;
        let settlement = Settlement { ids: Vec::new(), settled, not_before, at, in_history: false };
        self.dispatcher.repository.settle(&self.lease, settlement).await.map(drop)
    }

    fn tell(&self, delivery: &Delivery, outcome: Outcome) {
        for _ in &delivery.notifications {
            (self.dispatcher.report)(self.name(), outcome);
        }
    }

    fn log(&self, delivery: &Delivery, settled: &Settled) {
        let Some(first) = delivery.notifications.first() else { return };
        let (channel, incident) = (self.name(), first.incident.id);
        let transition: Transition = first.transition;
        match settled {
            Settled::Sent { .. } => {
                tracing::debug!(event = "notified", %channel, %incident, transition = transition.as_str(), "a channel was told");
            }
            // One line for each outage of a channel.
            Settled::Again { reason } if self.lease.failures == 0 => {
                tracing::warn!(event = "notification_retried", %channel, %incident, reason, "a channel takes nothing for now");
            }
            Settled::Again { reason } => {
                tracing::debug!(event = "notification_retried", %channel, %incident, reason, "a channel takes nothing for now");
            }
            Settled::Refused { reason } => {
                tracing::error!(event = "notification_refused", %channel, %incident, transition = transition.as_str(), reason, "a channel refused a notification for good");
            }
            Settled::Dropped { reason } => {
                tracing::info!(event = "notification_dropped", %channel, %incident, transition = transition.as_str(), reason, "a notification was not delivered");
            }
        }
    }
}

const fn outcome_of(settled: &Settled) -> Outcome {
    match settled {
        Settled::Sent { .. } => Outcome::Sent,
        Settled::Again { .. } => Outcome::Retried,
        Settled::Refused { .. } => Outcome::Refused,
        Settled::Dropped { .. } => Outcome::Dropped,
    }
}

/// Tells once when the store goes away, and once when it is back.
#[derive(Debug, Default)]
struct Outage {
    failed: u64,
}

impl Outage {
    fn note(&mut self, result: Result<Result<(), RepositoryError>, JoinError>) {
        match result {
            Ok(Ok(())) if self.failed > 0 => {
                tracing::info!(event = "background", failed = self.failed, "the outbox is there again");
                self.failed = 0;
            }
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if self.failed == 0 {
                    tracing::warn!(event = "background", error = %Chain(&error), "the outbox cannot be read");
                }
                self.failed += 1;
            }
            Err(panicked) => {
                tracing::error!(event = "background", error = %panicked, "a channel's notifier panicked");
            }
        }
    }
}
