//! `rest`: the original contract, by one client and by many.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::contract::{COMPLETE, Contract, ROWS_PER_REQUEST};
use crate::limits::http::Constant;
use crate::limits::postgres::Postgres;
use crate::limits::sqlite::Sqlite;
use crate::load::{Load, Measured, median, millis};
use crate::progress;
use crate::stand::{Cpu, Place, Stand, Store};
use crate::table::{Figure, Table, Target};
use xtask_machine::process;

/// How long limits are measured that need a while.
const LIMIT_LENGTH: Duration = Duration::from_secs(3);

/// Rounds in which one client alone and its limits take turns.
const ROUNDS: u32 = 5;

/// Clients of the load that memory and rate are judged under.
pub(crate) const USUAL_CLIENTS: usize = 64;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest<'a> {
    /// The service's binary, and where data lives.
    pub(crate) place: &'a Place,
    /// How many clients, one run each.
    pub(crate) clients: &'a [usize],
    /// How many workflows they run.
    pub(crate) workflows: usize,
    /// What counts.
    pub(crate) length: Duration,
    /// What does not.
    pub(crate) warm_up: Duration,
}

/// The limits of a store.
#[derive(Debug)]
enum Limits {
    Embedded(Box<Sqlite>),
    Postgres(Box<Postgres>),
}

impl Rest<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        let mut stand = Stand::serving(self.place, store)?;
        let constant = Constant::start()?;
        let mut limits = match stand.url() {
            Some(url) => Limits::Postgres(Box::new(Postgres::new(&url)?)),
            None => Limits::Embedded(Box::new(Sqlite::new(stand.folder())?)),
        };
        table.section(format!("rest, {}", store.name()));
        self.alone(&mut stand, &constant, &limits, table)?;
        for clients in self.clients {
            self.many(*clients, &mut stand, &constant, &mut limits, table)?;
        }
        Ok(())
    }

    /// One client alone: what completing a step costs beyond what it has to. All are measured in
    /// turns, and the median counts: alone, they take as long as the processor's sleep lets them.
    fn alone(
        &self,
        stand: &mut Stand,
        constant: &Constant,
        limits: &Limits,
        table: &mut Table,
    ) -> Result<()> {
        progress(&format!("{}: one client alone", stand.store().name()));
        let mut rounds: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            let (commits, trips) = match limits {
                Limits::Embedded(sqlite) => (sqlite.lone_commits()?, None),
                Limits::Postgres(postgres) => (postgres.lone_commits()?, Some(postgres.round_trips()?)),
            };
            let answers = constant.measure(1, self.length / ROUNDS)?.all;
            let load = Load { clients: 1, warm_up: self.warm_up / ROUNDS, length: self.length / ROUNDS };
            let completed = stand.drive(&load, Contract::new)?;
            let p50 = |histogram: Option<&Histogram<u64>>| histogram.map_or(0.0, |found| millis(found, 0.5));
            let round =
                [p50(completed.of(COMPLETE)), p50(Some(&commits)), p50(trips.as_ref()), p50(Some(&answers))];
            for (column, value) in rounds.iter_mut().zip(round) {
                column.push(value);
            }
        }
        let [complete, commit, trip, answer] = rounds.map(median);
        let floor = commit + 2.0 * trip + answer;
        let parts = match limits {
            Limits::Embedded(_) => "COMMIT + constant answer",
            Limits::Postgres(_) => "COMMIT + 2 × SELECT 1 + constant answer",
        };
        table.add(
            Figure::new("one client, complete a step, p50", complete, "ms")
                .limit(parts, floor)
                .limit("a COMMIT of one row", commit)
                .target(Target::AtMost(1.2 * floor)),
        );
        if trip > 0.0 {
            table.add(Figure::new("  SELECT 1, p50", trip, "ms"));
        }
        table.add(Figure::new("  a constant answer, p50", answer, "ms"));
        Ok(())
    }

    fn many(
        &self,
        clients: usize,
        stand: &mut Stand,
        constant: &Constant,
        limits: &mut Limits,
        table: &mut Table,
    ) -> Result<()> {
        progress(&format!("{}: {clients} clients", stand.store().name()));
        let answers = constant.measure(clients, LIMIT_LENGTH)?.per_second();
        let before = stand.cpu_seconds();
        let measured = self.load(stand, clients)?;
        let after = stand.cpu_seconds();
        let rate = measured.per_second();
        let mut requests = Figure::new(format!("{clients} clients, requests"), rate, "/s")
            .limit("constant answers /s", answers)
            .target(rate_target(stand.store(), clients));
        let mut rows = Figure::new("  new rows", rate * ROWS_PER_REQUEST, "/s");
        match limits {
            Limits::Embedded(sqlite) => rows = rows.limit("prepared inserts /s", sqlite.inserted_rows()?),
            Limits::Postgres(postgres) => {
                let commits = postgres.group_commits(clients, LIMIT_LENGTH)?;
                requests = requests.limit("one-row commits /s, as many connections", commits);
                rows = rows.limit("rows /s by COPY", postgres.copied_rows()?);
            }
        }
        table.add(requests);
        table.add(rows);
        self.latencies(stand.store(), clients, &measured, table);
        costs(&measured, before, after, table);
        if clients == USUAL_CLIENTS {
            let memory = process::memory(stand.service()?.id())?;
            table
                .add(Figure::new("  resident memory, peak", memory.peak, "MB").target(Target::AtMost(100.0)));
        }
        Ok(())
    }

    fn load(&self, stand: &mut Stand, clients: usize) -> Result<Measured> {
        stand.drive(&Load { clients, warm_up: self.warm_up, length: self.length }, |number| {
            Contract::among(number, clients, self.workflows)
        })
    }

    fn latencies(&self, store: Store, clients: usize, measured: &Measured, table: &mut Table) {
        let all = &measured.all;
        let target = (store == Store::Postgres && clients == USUAL_CLIENTS).then_some(Target::AtMost(25.0));
        table.add(Figure::new("  p50", millis(all, 0.5), "ms"));
        table.add(Figure::new("  p95", millis(all, 0.95), "ms"));
        table.add(Figure::new("  p99", millis(all, 0.99), "ms").target(target));
        table.add(Figure::new("  slowest", millis(all, 1.0), "ms"));
        for (name, histogram) in &measured.operations {
            for (label, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                table.add(Figure::new(format!("    {name}, {label}"), millis(histogram, quantile), "ms"));
            }
        }
        // A figure that was reached by refusing others would mean nothing.
        let failed = measured.failed();
        table.add(Figure::new("  unexpected answers", failed as f64, "").target(Target::AtMost(0.0)));
        for (how, times) in &measured.failures {
            table.add(Figure::new(format!("    {how}"), *times as f64, ""));
        }
    }
}

/// Adds what a request costs each process, warm-up included.
fn costs(measured: &Measured, before: Cpu, after: Cpu, table: &mut Table) {
    let requests = measured.answers as f64;
    let mut add = |name: &str, before: f64, after: f64| {
        table.add(Figure::new(
            format!("  processor, {name}"),
            (after - before) * 1e6 / requests,
            "µs/request",
        ));
    };
    add("service", before.service, after.service);
    if after.database > 0.0 {
        add("PostgreSQL", before.database, after.database);
    }
    add("client", before.client, after.client);
}

const fn rate_target(store: Store, clients: usize) -> Option<Target> {
    match (store, clients) {
        (Store::Postgres, 16) => Some(Target::AtLeast(4_000.0)),
        (Store::Postgres, 64) => Some(Target::AtLeast(10_000.0)),
        (Store::Embedded, 64) => Some(Target::AtLeast(20_000.0)),
        (_, _) => None,
    }
}
