//! `cargo bench -p handover-benches --bench store`: map operations against a fast-hash `HashMap`, at 10⁵ and 10⁶ players.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness::{Engine, FastHashMap, Shm, keys};
use std::hint::black_box;
use std::time::Duration;

const OPERATIONS: usize = 500_000;

fn engine<E: Engine>(c: &mut Criterion, players: u64) {
    let mut engine = E::filled(players);
    let keys = keys(players, OPERATIONS, 7);
    let mut group = c.benchmark_group(format!("{players} players"));
    group
        .throughput(Throughput::Elements(OPERATIONS as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    group.bench_function(BenchmarkId::new("get", E::NAME), |b| {
        b.iter(|| black_box(engine.get_all(black_box(&keys))));
    });
    group.bench_function(BenchmarkId::new("update", E::NAME), |b| {
        b.iter(|| engine.update_all(black_box(&keys)));
    });
    let mut round = 0;
    group.bench_function(BenchmarkId::new("replace", E::NAME), |b| {
        b.iter(|| {
            round += 1;
            engine.replace_all(black_box(&keys), round);
        });
    });
    group.finish();
}

fn store(c: &mut Criterion) {
    for players in [100_000, 1_000_000] {
        engine::<FastHashMap>(c, players);
        engine::<Shm>(c, players);
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
