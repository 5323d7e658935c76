//! What judging and learning cost per step, in memory: the arithmetic under every batch.
//!
//! Not here: loading and saving rows, which `cargo xtask bench` measures with everything around it.
#![expect(clippy::unwrap_used, reason = "a benchmark whose fixture is wrong must stop")]

mod baseline;
mod history;
mod verdict;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    baseline::measure(&mut criterion);
    verdict::measure(&mut criterion);
    criterion.final_summary();
}
