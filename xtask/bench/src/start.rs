//! `start`: from the start of the process until it is ready, over a database that exists.

use std::time::Duration;

use anyhow::Result;

use crate::contract::Contract;
use crate::load::Load;
use crate::progress;
use crate::stand::{Place, Stand, Store};
use crate::table::{Figure, Table, Target};

/// How often it is started.
const STARTS: usize = 10;

/// How long a database is filled before.
const FILLING: Duration = Duration::from_secs(2);

/// Measures on one store.
///
/// # Errors
/// When the service does not come up, or the run is interrupted.
pub(crate) fn run(place: &Place, store: Store, table: &mut Table) -> Result<()> {
    progress(&format!("{}: {STARTS} starts", store.name()));
    let mut stand = Stand::serving(place, store)?;
    stand.drive(&Load { clients: 16, warm_up: Duration::ZERO, length: FILLING }, Contract::new)?;
    let mut took = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        took.push(stand.start_timed()?.as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |place: usize| took.get(place).copied().unwrap_or_default();
    let target = (store == Store::Embedded).then_some(Target::AtMost(100.0));
    table.section(format!("start, {}", store.name()));
    table.add(Figure::new(format!("to ready, median of {STARTS}"), at(STARTS / 2), "ms").target(target));
    table.add(Figure::new("to ready, slowest", at(STARTS - 1), "ms"));
    Ok(())
}
