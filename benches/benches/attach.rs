//! `cargo bench -p handover-benches --bench attach`: opening a filled region, by size, with and without its page tables.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use shmstate::{Map, Region};
use std::time::Duration;

/// Bytes of one record in the filled regions.
const RECORD: u64 = 4000;

fn attach(c: &mut Criterion) {
    let mut group = c.benchmark_group("attach");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for mib in [1u64, 16, 256] {
        let name = format!("shmstate-bench-attach-{}-{mib}", std::process::id());
        let mut region = Region::options()
            .capacity((mib << 21) + (8 << 20))
            .create(&name)
            .expect("a region");
        let gate = region.gate().clone();
        let pass = gate.enter().expect("a pass");
        let map: Map<u64, Vec<u8>> = region.write(&pass, |tx| Map::create(tx, "blobs")).expect("a table");
        for id in 0..(mib << 20) / RECORD {
            region
                .write(&pass, |tx| map.insert(tx, &id, &vec![id as u8; RECORD as usize]))
                .expect("a record");
        }
        drop(pass);
        let descriptor = region
            .descriptor()
            .and_then(|fd| fd.try_clone_to_owned().ok())
            .expect("a descriptor");
        for (what, prefault) in [("header only", false), ("with page tables", true)] {
            group.bench_function(BenchmarkId::new(what, format!("{mib} MiB")), |b| {
                b.iter(|| {
                    let fd = descriptor.try_clone().expect("a descriptor");
                    Region::options().prefault(prefault).attach(&name, fd).expect("attach")
                });
            });
        }
        drop(region);
        Region::remove(&name).expect("remove");
    }
    group.finish();
}

criterion_group!(benches, attach);
criterion_main!(benches);
