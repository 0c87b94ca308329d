//! `cargo bench -p handover-benches --bench attach`: opening a filled region, by size, with and without its page tables.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use harness::engine::Blobs;
use shmstate::lease::LocalLease;
use shmstate::{Gate, Region};
use std::sync::Arc;
use std::time::Duration;

fn attach(c: &mut Criterion) {
    // That of a successor, which does not own the node yet.
    let gate = Gate::closed(Arc::new(LocalLease::default()));
    let mut group = c.benchmark_group("attach");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for mib in [1u64, 16, 256] {
        let blobs = Blobs::filled(mib << 20).expect("a region");
        let descriptor = blobs.descriptor().expect("a descriptor");
        for (what, prefault) in [("header only", false), ("with page tables", true)] {
            group.bench_function(BenchmarkId::new(what, format!("{mib} MiB")), |b| {
                b.iter_batched(
                    || descriptor.try_clone().expect("a descriptor"),
                    |fd| {
                        Region::options()
                            .gate(&gate)
                            .prefault(prefault)
                            .attach(blobs.name(), fd)
                            .expect("attach")
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, attach);
criterion_main!(benches);
