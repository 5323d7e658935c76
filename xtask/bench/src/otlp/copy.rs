//! What PostgreSQL can do at best with the very rows that the service has written: COPY into a table like theirs.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _};

use crate::limits::postgres::connect;
use xtask_machine::interrupt;

/// Rows that are copied.
const ROWS: usize = 200_000;
/// How often, of which the median counts.
const ROUNDS: usize = 3;

/// A place of its own, with the indexes and the constraints of the table itself.
const TABLE: &str = "\
CREATE SCHEMA IF NOT EXISTS limits;
DROP TABLE IF EXISTS limits.spans;
CREATE TABLE limits.spans (LIKE public.workflow_steps INCLUDING ALL)";

/// Returns the rows per second of one COPY after another, each committed.
///
/// # Errors
/// The database's.
pub(super) fn rows_per_second(url: &str) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = connect(url).await?;
        client.batch_execute(TABLE).await?;
        let out =
            format!("COPY (SELECT * FROM public.workflow_steps LIMIT {ROWS}) TO STDOUT (FORMAT binary)");
        let rows: Vec<Bytes> = client.copy_out(&*out).await?.try_collect().await?;
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            interrupt::check()?;
            client.batch_execute("TRUNCATE limits.spans; CHECKPOINT").await?;
            let began = Instant::now();
            let mut sink = Box::pin(client.copy_in("COPY limits.spans FROM STDIN (FORMAT binary)").await?);
            for portion in &rows {
                sink.send(portion.clone()).await?;
            }
            let copied = sink.as_mut().finish().await?;
            rates.push(copied as f64 / began.elapsed().max(Duration::from_millis(1)).as_secs_f64());
        }
        client.batch_execute("TRUNCATE limits.spans").await?;
        Ok(crate::load::median(rates))
    })
}
