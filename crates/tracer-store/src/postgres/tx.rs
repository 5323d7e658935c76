//! Writing sessions, and pipelines of statements on them.
//!
//! A batch costs few round trips because its statements are sent together: those that need nothing from each other
//! travel in one pipeline, `BEGIN` with the first and `COMMIT` with the last. A statement that fails makes the rest of
//! its transaction fail, `COMMIT` included, so that nothing is committed by being sent too early.
//!
//! Invariant: a session whose transaction did not end is closed, never used again; and the statements of a pipeline run
//! in the order in which they were added, because all of them were prepared with the session.
//! Not here: which statements make a batch (`batch`).

use std::sync::{Mutex, PoisonError};

use futures_util::future::{BoxFuture, try_join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::error::StoreError;
use super::pool::{Connector, Role};
use super::{
    baselines, events, executions, failures, idempotency, incidents, live, services, slo, steps, traces,
};

/// Parameters of one statement, most of them one array per column.
pub(super) type Params<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

/// The sessions that write: as many as there are batches at once.
pub(super) struct Sessions {
    connector: Connector,
    idle: Mutex<Vec<Session>>,
}

/// A session with its prepared statements.
pub(super) struct Session {
    client: Client,
    pub(super) statements: Statements,
}

macro_rules! statements {
    ($($name:ident = $sql:path,)*) => {
        /// The statements of batches, prepared once per session.
        pub(super) struct Statements {
            $(pub(super) $name: Statement,)*
        }

        impl Statements {
            async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
                Ok(Self { $($name: client.prepare($sql).await?,)* })
            }
        }
    };
}

statements! {
    claim_idempotency = idempotency::CLAIM,
    lock_idempotency = idempotency::LOCK,
    save_idempotency = idempotency::SAVE,
    look_executions = executions::LOOK,
    lock_executions = executions::LOCK,
    enter_directory = executions::ENTER_DIRECTORY,
    insert_executions = executions::INSERT,
    worsen_executions = executions::WORSEN,
    watch_executions = executions::WATCH,
    end_executions = executions::END,
    lock_steps = steps::LOCK,
    closing_steps = steps::CLOSING,
    count_completed = steps::COUNT_COMPLETED,
    activity_of_executions = steps::ACTIVITY,
    waiting_steps = traces::WAITING,
    insert_steps = steps::INSERT,
    update_steps = steps::UPDATE,
    update_traced_executions = traces::UPDATE_EXECUTIONS,
    update_spans = traces::UPDATE_STEPS,
    take_places = baselines::TAKE_PLACES,
    known_baselines = baselines::KNOWN,
    count_step_names = baselines::COUNT_STEP_NAMES,
    count_cohorts = baselines::COUNT_COHORTS,
    create_baselines = baselines::CREATE,
    look_baselines = baselines::LOOK,
    lock_baselines = baselines::LOCK,
    read_segments = baselines::SEGMENTS,
    save_baselines = baselines::SAVE,
    save_segments = baselines::SAVE_SEGMENTS,
    remove_baselines = baselines::REMOVE,
    lock_incidents = incidents::LOCK,
    update_incidents = incidents::UPDATE,
    insert_incidents = incidents::INSERT,
    finish_messages = incidents::FINISH_MESSAGES,
    add_entries = incidents::ADD_ENTRIES,
    add_notifications = incidents::ADD_NOTIFICATIONS,
    look_events = events::LOOK,
    last_events = events::LAST,
    insert_events = events::INSERT,
    add_changes = live::ADD,
    leave_services = services::LEAVE,
    join_services = services::JOIN,
    note_services = services::NOTE_SERVICES,
    note_operations = services::NOTE_OPERATIONS,
    add_calls = services::ADD_CALLS,
    save_failures = failures::SAVE,
    add_slo_counts = slo::ADD,
}

impl Sessions {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, idle: Mutex::default() }
    }

    /// Returns an idle session, or a new one.
    ///
    /// # Errors
    /// [`StoreError::Away`] if there is none and none can be made.
    pub(super) async fn take(&self) -> Result<Session, StoreError> {
        while let Some(session) = self.pop() {
            if !session.client.is_closed() {
                return Ok(session);
            }
        }
        let client = self.connector.connect(Role::Write).await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Session { client, statements })
    }

    /// Takes a session back; its transaction has ended.
    pub(super) fn give_back(&self, session: Session) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Closes every idle session.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn pop(&self) -> Option<Session> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Session {
    /// Starts a pipeline.
    pub(super) fn pipeline(&self) -> Pipeline<'_> {
        Pipeline { client: &self.client, queued: Vec::new() }
    }

    /// Ends a failed transaction, so that the session can be used again.
    ///
    /// # Errors
    /// If the session is lost; then it must not be given back.
    pub(super) async fn roll_back(&self) -> Result<(), StoreError> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}

/// Statements that are sent together.
pub(super) struct Pipeline<'a> {
    client: &'a Client,
    queued: Vec<BoxFuture<'a, Result<Vec<Row>, tokio_postgres::Error>>>,
}

/// Where in a pipeline's results a statement's rows are.
#[derive(Clone, Copy, Debug)]
#[must_use = "rows that nobody looks at need not be asked for"]
pub(super) struct Slot(usize);

/// The rows of a pipeline, statement by statement.
pub(super) struct Results(Vec<Vec<Row>>);

impl<'a> Pipeline<'a> {
    /// Adds `BEGIN`.
    pub(super) fn begin(&mut self) {
        self.control("BEGIN");
    }

    /// Adds `COMMIT`.
    pub(super) fn commit(&mut self) {
        self.control("COMMIT");
    }

    /// Adds a statement whose rows are wanted.
    pub(super) fn query(&mut self, statement: &'a Statement, params: Params<'a>) -> Slot {
        self.execute(statement, params);
        Slot(self.queued.len() - 1)
    }

    /// Adds a statement that returns no rows.
    pub(super) fn execute(&mut self, statement: &'a Statement, params: Params<'a>) {
        let client = self.client;
        self.queued.push(Box::pin(async move {
            let params: Vec<&(dyn ToSql + Sync)> =
                params.iter().map(|param| &**param as &(dyn ToSql + Sync)).collect();
            client.query(statement, &params).await
        }));
    }

    /// Sends everything at once and waits for all of it.
    ///
    /// # Errors
    /// The first failure, in the order in which the statements were added: those after it only fail because of it.
    pub(super) async fn run(self) -> Result<Results, StoreError> {
        // The driver sends a statement when its future is first polled, and up to thirty futures are polled here in
        // their order before any of them is waited for. A batch has half of that, and rarely two thirds.
        Ok(Results(try_join_all(self.queued).await?))
    }

    fn control(&mut self, statement: &'static str) {
        let client = self.client;
        self.queued.push(Box::pin(async move { client.batch_execute(statement).await.map(|()| Vec::new()) }));
    }
}

impl Results {
    /// Takes a statement's rows out.
    pub(super) fn take(&mut self, slot: Slot) -> Vec<Row> {
        self.0.get_mut(slot.0).map(std::mem::take).unwrap_or_default()
    }
}

/// Makes the array of one column.
pub(super) fn column<'a, R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Box<dyn ToSql + Sync + Send + 'a>
where
    T: ToSql + Sync + Send + 'a,
{
    Box::new(rows.iter().map(value).collect::<Vec<T>>())
}
