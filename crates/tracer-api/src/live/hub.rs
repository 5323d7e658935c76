//! Follows the store's changes once per process, and lets every listener have its own.
//!
//! The store is followed while somebody listens, and for a minute after. A listener is woken at most once per pause,
//! which grows with their number: what comes in between is rendered once and sent in one piece. Many are woken in groups,
//! spread over the pause: a thread that serves them serves those who write too, and is never busy with all at once.
//!
//! Invariant: a listener that is told nothing has missed nothing. Whoever lags behind what is kept, or was here when
//! the store lost something, is told to resync, and goes on with the newest.
//! Not here: how it is sent (`sse`, `websocket`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracer_core::chain::Chain;
use tracer_core::limits;
use tracer_core::live::{Follow, Heard};
use tracer_core::repository::Repository;

use super::filter::Filter;
use super::ring::{Chunk, Frame, Place, Ring, take};
use super::view;
use crate::config::LiveSettings;
use crate::metrics::Metrics;

/// The shortest pause between two wakings.
const PAUSE: Duration = Duration::from_millis(20);
/// How much longer it is for each listener, and the most that this makes.
const PAUSE_EACH: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Groups in which listeners are woken, and from how many on.
const GROUPS: usize = 16;
const MANY: usize = 64;
/// How long the store is followed after the last listener has gone.
const IDLE: Duration = Duration::from_secs(60);
/// How long a store that is away is left alone.
const AWAY: Duration = Duration::from_millis(500);
/// How long a listener waits for the store at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// About how many bytes a listener is given at once.
const PORTION: usize = 32 * 1024;
/// Bytes of the past that are asked for: rendered, they are about twice as many.
const PAST: usize = limits::LIVE_BUFFER_BYTES / 2;

/// Lets listeners hear of changes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

struct Shared {
    store: Arc<dyn Repository>,
    metrics: Arc<Metrics>,
    runtime: Handle,
    settings: LiveSettings,
    stopping: CancellationToken,
    state: Mutex<State>,
    /// Whoever waits for one of these looks again: one for each group of listeners.
    told: [watch::Sender<()>; GROUPS],
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    ring: Ring,
    /// How often something may have been missed by all.
    generation: u64,
    /// Whether what is here is the present.
    is_present: bool,
    /// Whether somebody follows the store.
    is_followed: bool,
    listeners: usize,
    /// How many there have been.
    entered: usize,
    /// The newest batch that there is, as far as is known.
    newest: u64,
    /// How often the store has answered.
    rounds: u64,
}

/// Where a listener begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    /// With what comes next.
    Now,
    /// Behind the last event that it got.
    After(Place),
    /// It got one that nobody knows here.
    Unknown,
}

/// Why nobody can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListenError {
    /// Too many do already.
    Full,
    /// The store does not answer.
    Away,
}

impl Hub {
    /// Makes one over a store. Nothing is followed yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn Repository>,
        metrics: Arc<Metrics>,
        runtime: Handle,
        settings: LiveSettings,
        stopping: CancellationToken,
    ) -> Self {
        metrics.live_listeners(0);
        let state = State {
            ring: Ring::new(settings.buffer),
            generation: 0,
            is_present: false,
            is_followed: false,
            listeners: 0,
            entered: 0,
            newest: 0,
            rounds: 0,
        };
        let (state, told) = (Mutex::new(state), std::array::from_fn(|_| watch::Sender::new(())));
        Self(Arc::new(Shared { store, metrics, runtime, settings, stopping, state, told }))
    }

    /// Begins to listen. What is committed after this has returned is heard.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(super) async fn listen(&self, filter: Filter, resume: Resume) -> Result<Listener, ListenError> {
        let mut listener = self.enter(filter)?;
        let begun = tokio::time::timeout(PATIENCE, listener.begin(resume)).await;
        match begun {
            Ok(true) => Ok(listener),
            Ok(false) | Err(_) => Err(ListenError::Away),
        }
    }

    /// Returns how often a sign of life is sent.
    pub(super) fn heartbeat(&self) -> Duration {
        self.0.settings.heartbeat
    }

    fn enter(&self, filter: Filter) -> Result<Listener, ListenError> {
        let shared = Arc::clone(&self.0);
        let group = {
            let mut state = shared.state();
            if state.listeners >= shared.settings.listeners {
                return Err(ListenError::Full);
            }
            state.listeners += 1;
            state.entered = state.entered.wrapping_add(1);
            shared.metrics.live_listeners(state.listeners);
            if !state.is_followed {
                state.is_followed = true;
                let follow = shared.store.follow(PAST);
                shared.runtime.spawn(Arc::clone(&shared).run(follow));
            }
            state.entered
        };
        let [first, ..] = &shared.told;
        let told = shared.told.get(group % GROUPS).unwrap_or(first).subscribe();
        let nowhere = Place::behind(0);
        Ok(Listener { shared, filter, told, cursor: nowhere, generation: 0, resync: false })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the store until the service stops, or nobody has listened for a while.
    async fn run(self: Arc<Self>, mut follow: Box<dyn Follow>) {
        let (mut failed, mut left_at) = (0_u64, None);
        loop {
            let Some(heard) = self.stopping.run_until_cancelled(follow.next()).await else { return };
            let pause = match heard {
                Ok(heard) => {
                    if failed > 0 {
                        tracing::info!(event = "live", failed, "changes are followed again");
                        failed = 0;
                    }
                    self.take(&heard)
                }
                Err(error) => {
                    if failed == 0 {
                        tracing::warn!(event = "live", error = %Chain(&error), "changes cannot be followed");
                    }
                    failed += 1;
                    AWAY
                }
            };
            if self.is_deserted(&mut left_at) {
                return;
            }
            if self.stopping.run_until_cancelled(self.tell(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Wakes the listeners within a pause.
    async fn tell(&self, pause: Duration) {
        let is_spread = !pause.is_zero() && self.state().listeners >= MANY;
        let (slice, rest) =
            if is_spread { (pause.div_f64(GROUPS as f64), Duration::ZERO) } else { (Duration::ZERO, pause) };
        for group in &self.told {
            group.send_replace(());
            if is_spread {
                tokio::time::sleep(slice).await;
            }
        }
        tokio::time::sleep(rest).await;
    }

    /// Takes what was heard; returns how long to wait before more is asked for.
    fn take(&self, heard: &Heard) -> Duration {
        let chunk = Chunk::render(&heard.batches);
        let last = heard.batches.last().map(|batch| batch.id);
        let mut state = self.state();
        if let Some(after) = heard.begins_after {
            state.ring.begin(after);
            state.generation += 1;
            state.is_present = false;
        }
        if let Some(chunk) = chunk {
            state.ring.push(chunk);
        }
        state.newest = heard.newest;
        state.rounds += 1;
        // What is held back by a batch that is still missing is not the past either.
        let is_all = last.map_or(heard.begins_after.is_none(), |last| last >= heard.newest);
        state.is_present |= is_all;
        if is_all { pause_for(state.listeners) } else { Duration::ZERO }
    }

    /// Returns whether nobody has listened for a while; then nobody follows any more.
    fn is_deserted(&self, left_at: &mut Option<Instant>) -> bool {
        let mut state = self.state();
        if state.listeners > 0 {
            *left_at = None;
            return false;
        }
        let is_deserted = left_at.get_or_insert_with(Instant::now).elapsed() > IDLE;
        if is_deserted {
            (state.is_followed, state.is_present) = (false, false);
            state.ring.begin(0);
        }
        is_deserted
    }
}

fn pause_for(listeners: usize) -> Duration {
    let each = PAUSE_EACH.saturating_mul(u32::try_from(listeners).unwrap_or(u32::MAX));
    PAUSE.saturating_add(each).min(LONGEST_PAUSE)
}

/// Returns where a listener begins, and whether it has missed something; none if it was told of what this replica has
/// yet to hear of.
fn place_at(state: &State, resume: Resume, rounds: u64) -> Option<(Place, bool)> {
    let head = state.ring.head();
    match resume {
        Resume::Now => Some((head, false)),
        Resume::After(place) if !state.ring.holds_all_behind(place) => Some((head, true)),
        Resume::After(place) if place.batch <= state.newest.max(head.batch) => Some((place, false)),
        // Another replica may be ahead, but not of a question that was asked since.
        Resume::After(_) if rounds < 2 => None,
        Resume::After(_) | Resume::Unknown => Some((head, true)),
    }
}

/// One who listens.
#[derive(Debug)]
pub(super) struct Listener {
    shared: Arc<Shared>,
    filter: Filter,
    told: watch::Receiver<()>,
    /// What was told last, or passed over.
    cursor: Place,
    generation: u64,
    /// Whether it is to be told that it has missed something.
    resync: bool,
}

impl Listener {
    /// Returns the place behind which everything is yet to be told.
    pub(super) const fn place(&self) -> Place {
        self.cursor
    }

    /// Returns what comes next, once there is something; none when the service stops. Nothing is lost if the future
    /// is dropped.
    pub(super) async fn next(&mut self) -> Option<Vec<Frame>> {
        loop {
            if self.shared.stopping.is_cancelled() {
                return None;
            }
            self.told.borrow_and_update();
            if let Some(frames) = self.take() {
                self.shared.metrics.live_events(frames.len());
                return Some(frames);
            }
            self.wait().await?;
        }
    }

    /// Finds where to begin; returns whether it did before the service stops.
    async fn begin(&mut self, resume: Resume) -> bool {
        let mut first_round = None;
        loop {
            self.told.borrow_and_update();
            let place = {
                let state = self.shared.state();
                let rounds = state.rounds.wrapping_sub(*first_round.get_or_insert(state.rounds));
                let place = if state.is_present { place_at(&state, resume, rounds) } else { None };
                place.map(|(cursor, resync)| (cursor, state.generation, resync))
            };
            if let Some(place) = place {
                (self.cursor, self.generation, self.resync) = place;
                return true;
            }
            if self.wait().await.is_none() {
                return false;
            }
        }
    }

    /// Waits until something has happened; none when the service stops.
    async fn wait(&mut self) -> Option<()> {
        let stopping = self.shared.stopping.clone();
        stopping.run_until_cancelled(self.told.changed()).await?.ok()
    }

    /// Takes what is here for it; none if there is nothing.
    fn take(&mut self) -> Option<Vec<Frame>> {
        loop {
            let chunks = {
                let state = self.shared.state();
                if !state.is_present {
                    return None;
                }
                let is_lost =
                    state.generation != self.generation || !state.ring.holds_all_behind(self.cursor);
                if is_lost || self.resync {
                    (self.cursor, self.generation, self.resync) =
                        (state.ring.head(), state.generation, false);
                    self.shared.metrics.live_resync();
                    return Some(vec![view::resync(self.cursor)]);
                }
                state.ring.behind(self.cursor)
            };
            if chunks.is_empty() {
                return None;
            }
            let frames = take(&chunks, &self.filter, &mut self.cursor, PORTION);
            if !frames.is_empty() {
                return Some(frames);
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.listeners = state.listeners.saturating_sub(1);
        self.shared.metrics.live_listeners(state.listeners);
    }
}
