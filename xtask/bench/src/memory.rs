//! `memory`: what the service keeps resident, under load and with very many workflow names.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contract::Contract;
use crate::load::{Load, millis};
use crate::progress;
use crate::rest::{Rest, USUAL_CLIENTS};
use crate::script::{Repeat, Script, find_id, with_body};
use crate::stand::{Stand, Store};
use crate::table::{Figure, Table, Target};
use xtask_machine::service::fetch;
use xtask_machine::{interrupt, process};

/// Scrapes that are timed.
const SCRAPES: u64 = 100;

/// Longest time for all names: a service that is slower has other worries.
const LONGEST: Duration = Duration::from_secs(1_800);

/// How long the database is away before anything is looked at: the pool has noticed by then.
const AWAY: Duration = Duration::from_secs(3);

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory<'a> {
    /// The load.
    pub(crate) rest: Rest<'a>,
    /// Distinct names sent.
    pub(crate) names: usize,
}

impl Memory<'_> {
    /// Measures on one store.
    ///
    /// # Errors
    /// When something does not start, or the run is interrupted.
    pub(crate) fn run(&self, store: Store, table: &mut Table) -> Result<()> {
        table.section(format!("memory, {}", store.name()));
        self.under_load(store, table)?;
        self.with_names(store, table)
    }

    fn under_load(&self, store: Store, table: &mut Table) -> Result<()> {
        progress(&format!("{}: memory under load", store.name()));
        let mut stand = Stand::serving(self.rest.place, store)?;
        let idle = process::memory(stand.service()?.id())?.now;
        let Rest { warm_up, length, .. } = self.rest;
        stand.drive(&Load { clients: USUAL_CLIENTS, warm_up, length }, Contract::new)?;
        let memory = process::memory(stand.service()?.id())?;
        table.add(Figure::new("resident at rest", idle, "MB"));
        table.add(
            Figure::new(format!("resident, {USUAL_CLIENTS} clients, peak"), memory.peak, "MB")
                .target(Target::AtMost(100.0)),
        );
        table.add(Figure::new("  afterwards", memory.now, "MB"));
        Ok(())
    }

    fn with_names(&self, store: Store, table: &mut Table) -> Result<()> {
        progress(&format!("{}: {} workflow names", store.name(), self.names));
        let mut stand = Stand::serving(self.rest.place, store)?;
        let load = Load { clients: USUAL_CLIENTS, warm_up: Duration::ZERO, length: LONGEST };
        let measured = stand.drive(&load, |client| Names::new(client, self.names))?;
        let memory = process::memory(stand.service()?.id())?;
        table.add(
            Figure::new(format!("resident, {} names, peak", self.names), memory.peak, "MB")
                .target(Target::AtMost(150.0)),
        );
        table.add(Figure::new("  afterwards", memory.now, "MB"));
        table.add(Figure::new("  requests", measured.per_second(), "/s"));
        let failed = measured.failed();
        table.add(Figure::new("  unexpected answers", failed as f64, "").target(Target::AtMost(0.0)));
        scrape(&mut stand, "/metrics", table)?;
        if store == Store::Postgres {
            progress(&format!("{}: the database is away", store.name()));
            stand.cluster()?.stop();
            let began = Instant::now();
            while began.elapsed() < AWAY {
                interrupt::check()?;
                std::thread::sleep(Duration::from_millis(50));
            }
            scrape(&mut stand, "/metrics, database away", table)?;
            let memory = process::memory(stand.service()?.id())?;
            table.add(
                Figure::new("  resident, database away, peak", memory.peak, "MB")
                    .target(Target::AtMost(150.0)),
            );
        }
        Ok(())
    }
}

/// Adds the size of `/metrics` and how long it takes.
fn scrape(stand: &mut Stand, name: &str, table: &mut Table) -> Result<()> {
    let address = stand.service()?.address();
    let (_, body) = fetch(address, "/metrics")?;
    let load = Load { clients: 1, warm_up: Duration::ZERO, length: Duration::from_secs(30) };
    let measured = stand.drive(&load, |_| Repeat::times("/metrics", SCRAPES))?;
    let size = body.len() as f64 / 1e6;
    table.add(Figure::new(name, size, "MB").target(Target::AtMost(2.0)));
    let slowest = millis(&measured.all, 1.0);
    table.add(Figure::new(format!("  slowest of {SCRAPES}"), slowest, "ms").target(Target::AtMost(50.0)));
    table.add(Figure::new("  p50", millis(&measured.all, 0.5), "ms"));
    let failed = measured.failed() + SCRAPES.saturating_sub(measured.answers);
    table.add(Figure::new("  unexpected answers", failed as f64, "").target(Target::AtMost(0.0)));
    Ok(())
}

/// Sends names that nobody sent before: a workflow, one step of it, its end.
#[derive(Debug)]
struct Names {
    name: usize,
    end: usize,
    next: u8,
    execution: Vec<u8>,
}

impl Names {
    /// Makes the client of this number, with its share of the names.
    const fn new(client: usize, names: usize) -> Self {
        let share = names.div_ceil(USUAL_CLIENTS);
        let end = (client + 1) * share;
        let end = if end < names { end } else { names };
        Self { name: client * share, end, next: 0, execution: Vec::new() }
    }
}

impl Script for Names {
    const OPERATIONS: &'static [&'static str] = &["POST workflow", "POST step", "PUT workflow"];

    fn write_next(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        match self.next {
            0 if self.name >= self.end => return None,
            0 => {
                let body = format!(r#"{{"workflow_name":"tenant-{:08}-workflow"}}"#, self.name);
                with_body(out, "POST", &[b"/workflows"], body.as_bytes());
            }
            1 => {
                let body = br#"{"step_name":"extract","duration_ms":100}"#;
                with_body(out, "POST", &[b"/workflows/", &self.execution, b"/steps"], body);
            }
            _ => with_body(out, "PUT", &[b"/workflows/", &self.execution], b"{}"),
        }
        Some(usize::from(self.next))
    }

    fn take(&mut self, status: u16, body: &[u8]) -> bool {
        let expected = match self.next {
            0 => status == 201 && find_id(body, br#""workflow_id":""#, &mut self.execution),
            1 => status == 201,
            _ => status == 200,
        };
        if !expected || self.next == 2 {
            self.lost();
        } else {
            self.next += 1;
        }
        expected
    }

    fn lost(&mut self) {
        self.next = 0;
        self.name += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_sent_once() {
        for names in [0, 1, 63, 64, 1_000] {
            let mut sent: Vec<usize> = (0..USUAL_CLIENTS)
                .flat_map(|client| {
                    let client = Names::new(client, names);
                    client.name..client.end
                })
                .collect();
            sent.sort_unstable();
            assert_eq!(sent, (0..names).collect::<Vec<_>>());
        }
    }
}
