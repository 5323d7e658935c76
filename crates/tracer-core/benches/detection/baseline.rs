//! One sample more: recording it, and the bytes that a store keeps.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use tracer_core::baseline::{Baseline, Segment};
use tracer_core::time::{Day, Micros, Timestamp};

use crate::history::{History, TODAY, now};

const NORMAL: Micros = Micros::from_millis(250);

pub(crate) fn measure(criterion: &mut Criterion) {
    let full = History::of_a_full_window();
    recording(criterion, &full);
    encoding(criterion, &full.baseline);
}

fn recording(criterion: &mut Criterion, full: &History) {
    let empty = Baseline::empty();
    let mut group = criterion.benchmark_group("baseline, record one sample");
    let cases = [
        ("into an empty baseline", &empty, &[][..], now()),
        ("into a full window", &full.baseline, &[], now()),
        // Closes yesterday and sums the window up again: once per key and day.
        ("on a new day", &full.baseline, &full.segments, Day(TODAY.0 + 1).start()),
        ("that comes a day late", &full.baseline, &full.segments, Day(TODAY.0 - 1).start()),
    ];
    for (name, baseline, segments, at) in cases {
        let fresh = || (baseline.clone(), segments.to_vec());
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                fresh,
                |(baseline, segments)| record(baseline, segments, at),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn record(baseline: &mut Baseline, segments: &mut Vec<Segment>, at: Timestamp) -> Option<Segment> {
    baseline.record(black_box(at), black_box(NORMAL), None, segments)
}

fn encoding(criterion: &mut Criterion, full: &Baseline) {
    let bytes = full.encode();
    let mut group = criterion.benchmark_group("baseline, bytes of a full window");
    group.bench_function("encode", |bencher| bencher.iter(|| black_box(full).encode()));
    group.bench_function("decode", |bencher| bencher.iter(|| Baseline::decode(black_box(&bytes)).unwrap()));
    group.bench_function("decode, record one sample, encode: as a batch does", |bencher| {
        bencher.iter(|| {
            let mut baseline = Baseline::decode(black_box(&bytes)).unwrap();
            drop(record(&mut baseline, &mut Vec::new(), now()));
            baseline.encode()
        });
    });
    group.finish();
}
