//! Connections: how they are made, and the pool that reads share.
//!
//! Reads go through a pool of read-only sessions; batches through sessions of their own (`tx`), so that neither starves
//! the other. Both are made by the [`Connector`]. What is written besides batches, and seldom, borrows a session of the
//! pool for a transaction.
//!
//! Behind pgbouncer, session pooling works. Transaction pooling does not: the settings below, and the lock under which
//! migrations run, belong to a session.
//!
//! Invariant: a connection that a restart of the server has broken is never what a caller sees: it is thrown away, and
//! the read begins anew on another one.
//! Not here: what is read (`reads`, `listing`), and transactions (`tx`).

use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::future::{BoxFuture, join3};
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracer_core::repository::RepositoryError;

use super::error::StoreError;
use super::url::Target;
use crate::metrics::{self, TransactionOutcome};

/// The longest that a read may take; what takes longer is a mistake, here or of whoever asks.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of every session. A lock is waited for so long, and a transaction that nobody goes on with ends so soon.
const EVERY_SESSION: &str = "\
SET lock_timeout = '2s';
SET idle_in_transaction_session_timeout = '5s';
SET jit = off;";

/// Settings of a session that reads; `statement_timeout` is [`READ_TIMEOUT`].
const READING: &str = "\
SET statement_timeout = '10s';
SET default_transaction_read_only = on;";

/// Settings of a session that writes. Its statements look up keys and nothing else, and are planned once, perhaps while
/// the tables are empty and reading all of them looks cheap: the plan must be right for the day when they are full.
const WRITING: &str = "\
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;";

/// Settings around a query that is to walk an index in its order and stop at its limit. Without statistics, as on the
/// first day, reading all that matches and sorting it looks as cheap; and only a walk marks the dead entries that it
/// meets, so that the next one passes them over.
const IN_ORDER: &str = "SET enable_bitmapscan = off; SET enable_seqscan = off";
const IN_ANY_ORDER: &str = "RESET enable_bitmapscan; RESET enable_seqscan";

/// Begins a transaction that writes, in a session that otherwise reads. Its statements look up keys and walk indexes in
/// their order, as those of batches do, whatever the tables looked like when they were planned.
const BEGIN: &str = "\
BEGIN READ WRITE;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;";

/// How long a transaction that met another one waits before it begins anew.
const PAUSE: Duration = Duration::from_millis(20);

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reading, in the pool.
    Read,
    /// Writing batches.
    Write,
    /// Keeping the tables in order; planned as usual.
    Upkeep,
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    timeout: Duration,
}

/// The sessions that read.
#[derive(Clone, Debug)]
pub(super) struct ReadPool {
    pool: Pool,
    timeout: Duration,
}

/// A statement with its parameters.
#[derive(Clone, Copy)]
enum Query<'a> {
    /// Prepared once per session: a fixed text.
    Prepared(&'static str, &'a [&'a (dyn ToSql + Sync)]),
    /// The same, planned to walk an index in its order.
    InOrder(&'static str, &'a [&'a (dyn ToSql + Sync)]),
    /// Planned for its parameters each time: a text of many forms, which would fill the cache.
    Once(&'a str, &'a [(&'a (dyn ToSql + Sync), Type)]),
}

impl Connector {
    /// Makes a connector; whoever waits for a connection waits at most `timeout`.
    pub(super) fn new(target: Target, tls: MakeRustlsConnect, timeout: Duration) -> Self {
        let mut config = target.config;
        if config.get_application_name().is_none() {
            config.application_name("tracer");
        }
        config.connect_timeout(timeout);
        // A server that vanished without a word is noticed as soon as what was sent to it goes unanswered, and on an
        // idle connection within half a minute.
        config.tcp_user_timeout(timeout.max(Duration::from_secs(1)));
        config.keepalives(true);
        config.keepalives_idle(Duration::from_secs(15));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        Self { config, tls, timeout }
    }

    /// Connects and sets the session up.
    ///
    /// # Errors
    /// [`StoreError::Away`] whatever the reason: without a connection there is no database.
    pub(super) async fn connect(&self, role: Role) -> Result<Client, StoreError> {
        let connecting = tokio::time::timeout(self.timeout, self.open(role));
        match connecting.await {
            Ok(Ok((client, _))) => Ok(client),
            Ok(Err(error)) => Err(StoreError::connecting(error)),
            Err(elapsed) => Err(StoreError::Away(Box::new(elapsed))),
        }
    }

    /// Connects a session for notifications, and calls `heard` with what each of them says.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub(super) async fn connect_listening(
        &self,
        heard: impl Fn(&str) + Send + 'static,
    ) -> Result<Client, StoreError> {
        let connecting = async {
            let (client, mut connection) = self.config.connect(self.tls.clone()).await?;
            tokio::spawn(async move {
                while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                    if let AsyncMessage::Notification(notification) = message {
                        heard(notification.payload());
                    }
                }
            });
            client.batch_execute(&format!("{EVERY_SESSION}\n{IN_ORDER};")).await?;
            Ok(client)
        };
        match tokio::time::timeout(self.timeout, connecting).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(StoreError::connecting(error)),
            Err(elapsed) => Err(StoreError::Away(Box::new(elapsed))),
        }
    }

    async fn open(&self, role: Role) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        let driving = tokio::spawn(async move {
            // Whoever uses the connection is told of its end; this is for the log only.
            if let Err(error) = connection.await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a connection to PostgreSQL was lost"
                );
            }
        });
        let settings = match role {
            Role::Read => format!("{EVERY_SESSION}\n{READING}"),
            Role::Write => format!("{EVERY_SESSION}\n{WRITING}"),
            Role::Upkeep => EVERY_SESSION.to_owned(),
        };
        client.batch_execute(&settings).await?;
        Ok((client, driving))
    }
}

impl Connect for Connector {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        Box::pin(self.open(Role::Read))
    }
}

impl ReadPool {
    /// Makes a pool of at most `size` connections, none of which is made yet.
    pub(super) fn new(connector: &Connector, size: usize) -> Self {
        let timeout = connector.timeout;
        // Asking an idle connection whether it is alive would cost every read a round trip; one that is not is
        // noticed by the read itself, which then begins anew.
        let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(connector.config.clone(), connector.clone(), manager_config);
        let timeouts = Timeouts { wait: Some(timeout), create: Some(timeout), recycle: Some(timeout) };
        let builder =
            Pool::builder(manager).max_size(size.max(1)).timeouts(timeouts).runtime(Runtime::Tokio1);
        #[expect(
            clippy::expect_used,
            reason = "building fails only for timeouts without a runtime, and there is one"
        )]
        let pool = builder.build().expect("a pool with a runtime");
        Self { pool, timeout }
    }

    /// Runs a query of a fixed text.
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`] without a connection, or when it takes too long.
    pub(super) async fn query(
        &self,
        name: &'static str,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, RepositoryError> {
        self.run(name, Query::Prepared(sql, params)).await
    }

    /// Runs a query of a fixed text that is to walk an index in its order, and to stop at its limit.
    ///
    /// # Errors
    /// As [`ReadPool::query`].
    pub(super) async fn query_in_order(
        &self,
        name: &'static str,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, RepositoryError> {
        self.run(name, Query::InOrder(sql, params)).await
    }

    /// Runs a query whose text was put together for this one time.
    ///
    /// # Errors
    /// As [`ReadPool::query`].
    pub(super) async fn query_once(
        &self,
        name: &'static str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, RepositoryError> {
        self.run(name, Query::Once(sql, params)).await
    }

    /// Runs work in a short transaction that writes. It may run twice: what it does to rows must be such that a
    /// repetition finds it done.
    ///
    /// # Errors
    /// As [`ReadPool::query`].
    pub(super) async fn transact<A: Sync, T>(
        &self,
        name: &'static str,
        with: &A,
        work: Work<A, T>,
    ) -> Result<T, RepositoryError> {
        let started = Instant::now();
        loop {
            let error = match self.attempt_transaction(with, work).await {
                Ok(done) => {
                    metrics::transaction(name, TransactionOutcome::Ok, started.elapsed());
                    return Ok(done);
                }
                Err(error) => error,
            };
            if !error.is_retryable() || started.elapsed() > self.timeout {
                metrics::transaction(name, TransactionOutcome::Failed, started.elapsed());
                return Err(error.into_repository(name));
            }
            metrics::transaction(name, TransactionOutcome::Retried, started.elapsed());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt_transaction<A: Sync, T>(&self, with: &A, work: Work<A, T>) -> Result<T, StoreError> {
        let open = Open(Some(self.pool.get().await.map_err(no_connection)?));
        self.report();
        let Some(connection) = &open.0 else { return Err(StoreError::Vanished) };
        let working = async {
            connection.batch_execute(BEGIN).await?;
            let done = work(connection, with).await?;
            connection.batch_execute("COMMIT").await?;
            Ok(done)
        };
        let done = tokio::time::timeout(READ_TIMEOUT, working).await.unwrap_or(Err(StoreError::TooLong))?;
        open.give_back();
        Ok(done)
    }

    /// Asks for a sign of life, and waits no longer than a request waits for a connection.
    ///
    /// # Errors
    /// [`RepositoryError::Unavailable`] without one.
    pub(super) async fn ping(&self) -> Result<(), RepositoryError> {
        let asked = tokio::time::timeout(self.timeout, self.query("ping", "-- ping\nSELECT 1", &[]));
        asked.await.unwrap_or_else(|_| Err(StoreError::TooLong.into_repository("ping"))).map(drop)
    }

    /// Shows the pool's connections in the metrics.
    pub(super) fn report(&self) {
        let status = self.pool.status();
        metrics::connections(status.available, status.size.saturating_sub(status.available));
    }

    async fn run(&self, name: &'static str, query: Query<'_>) -> Result<Vec<Row>, RepositoryError> {
        let started = Instant::now();
        loop {
            let error = match self.attempt(query).await {
                Ok(rows) => {
                    metrics::transaction(name, TransactionOutcome::Ok, started.elapsed());
                    return Ok(rows);
                }
                Err(error) => error,
            };
            // Reading again changes nothing, so that a lost connection is no business of whoever asked.
            if !error.is_retryable() || started.elapsed() > self.timeout {
                metrics::transaction(name, TransactionOutcome::Failed, started.elapsed());
                return Err(error.into_repository(name));
            }
            metrics::transaction(name, TransactionOutcome::Retried, started.elapsed());
        }
    }

    async fn attempt(&self, query: Query<'_>) -> Result<Vec<Row>, StoreError> {
        let connection = self.pool.get().await.map_err(no_connection)?;
        self.report();
        run_on(connection, query).await
    }
}

/// What is done in a transaction with its connection, and with what was handed in.
pub(super) type Work<A, T> = for<'a> fn(&'a Object, &'a A) -> BoxFuture<'a, Result<T, StoreError>>;

/// A connection whose transaction has not ended: it is not used again, unless it is given back.
struct Open(Option<Object>);

impl Open {
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(Object::take(connection));
        }
    }
}

/// Runs a query; a connection on which it failed is not used again.
async fn run_on(connection: Object, query: Query<'_>) -> Result<Vec<Row>, StoreError> {
    let running = async {
        match query {
            Query::Prepared(sql, params) => {
                let statement = connection.prepare_cached(sql).await?;
                connection.query(&statement, params).await
            }
            Query::InOrder(sql, params) => {
                let statement = connection.prepare_cached(sql).await?;
                // Sent together: a statement is planned when it runs. If one fails the connection is closed.
                let (before, rows, after) = join3(
                    connection.batch_execute(IN_ORDER),
                    connection.query(&statement, params),
                    connection.batch_execute(IN_ANY_ORDER),
                )
                .await;
                before.and(after).and(rows)
            }
            Query::Once(sql, params) => connection.query_typed(sql, params).await,
        }
    };
    // The server ends a statement by itself; this is for a server that does not even do that.
    let ran = match tokio::time::timeout(READ_TIMEOUT + Duration::from_secs(1), running).await {
        Ok(ran) => ran.map_err(StoreError::from),
        Err(_) => Err(StoreError::TooLong),
    };
    if ran.is_err() {
        drop(Object::take(connection));
    }
    ran
}

fn no_connection(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => StoreError::connecting(error),
        other @ (PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_)) => StoreError::Away(Box::new(other)),
    }
}
