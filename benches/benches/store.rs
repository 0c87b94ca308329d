//! `cargo bench -p handover-benches --bench store`: single operations of the store against a fast-hash `HashMap`, at 10⁵ players.
//!
//! For work on one operation. What is published comes from `report -- store`, which interleaves all engines.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness::engine::{Kind, Opened, Room};
use harness::keys::{Distribution, Draw, shuffled};
use harness::players::templates;
use std::hint::black_box;
use std::time::Duration;

const PLAYERS: u64 = 100_000;
const OPERATIONS: usize = 50_000;

fn engine(c: &mut Criterion, kind: Kind) {
    let Opened::Engine(mut engine) = kind.open(PLAYERS, Room::Reserved).expect("an engine") else {
        return;
    };
    engine.fill(&shuffled(PLAYERS, 1)).expect("players");
    let keys = Draw::of(PLAYERS, 2).keys(Distribution::Uniform, OPERATIONS, 7);
    let templates = templates();
    let mut group = c.benchmark_group(format!("{PLAYERS} players"));
    group
        .throughput(Throughput::Elements(OPERATIONS as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    group.bench_function(BenchmarkId::new("get", kind.name()), |b| {
        b.iter(|| black_box(engine.get(black_box(&keys)).expect("a sum")));
    });
    group.bench_function(BenchmarkId::new("update", kind.name()), |b| {
        b.iter(|| black_box(engine.update(black_box(&keys)).expect("a sum")));
    });
    let mut round = 0;
    group.bench_function(BenchmarkId::new("replace", kind.name()), |b| {
        b.iter(|| {
            round += 1;
            black_box(engine.replace(black_box(&keys), &templates, round).expect("a sum"))
        });
    });
    group.finish();
}

fn store(c: &mut Criterion) {
    for kind in [Kind::Hashmap, Kind::Shmstate] {
        engine(c, kind);
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
