//! `cargo bench -p handover-benches --bench store`: single operations of the store against a fast-hash `HashMap`, and of tables with checksums against such
//! without, at 10⁵ players.
//!
//! For work on one operation. What is published comes from `report -- store`, which interleaves all engines.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness::engine::{Kind, Opened, Room};
use harness::keys::{Distribution, Draw, shuffled};
use harness::players::{Player, template, templates};
use shmstate::{Map, Region, TableOptions};
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

/// What checksums cost: a change of one field, and a whole record, in a table with them and in one without.
fn checksums(c: &mut Criterion) {
    let keys = Draw::of(PLAYERS, 2).keys(Distribution::Uniform, OPERATIONS, 7);
    let templates = templates();
    let mut group = c.benchmark_group(format!("{PLAYERS} players, checksums"));
    group
        .throughput(Throughput::Elements(OPERATIONS as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    for (name, with) in [("without", false), ("with", true)] {
        let mut region = Region::in_memory(256 << 20).expect("region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("pass");
        let options = TableOptions::default().checksums(with);
        let map: Map<u64, Player> = region
            .write(&pass, |tx| Map::create_with(tx, "players", options))
            .expect("table");
        for key in shuffled(PLAYERS, 1) {
            let player = template(&templates, key, 0);
            region
                .write(&pass, |tx| map.insert(tx, &key, player))
                .expect("inserted");
        }
        group.bench_function(BenchmarkId::new("update", name), |b| {
            b.iter(|| {
                for key in &keys {
                    let mut tx = region.begin(&pass).expect("begin");
                    if let Some(mut player) = map.get_mut(&mut tx, key).expect("get") {
                        let score = player.score.to_native().wrapping_add(1);
                        player.set(|p| &p.score, score.into()).expect("set");
                    }
                    tx.commit().expect("commit");
                }
            });
        });
        let mut round = 0;
        group.bench_function(BenchmarkId::new("replace", name), |b| {
            b.iter(|| {
                round += 1;
                for key in &keys {
                    let player = template(&templates, *key, round);
                    region.write(&pass, |tx| map.insert(tx, key, player)).expect("replaced");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, store, checksums);
criterion_main!(benches);
