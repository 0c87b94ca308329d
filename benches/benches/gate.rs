//! What a pass costs: enter and drop, by one thread, and by several at once on one gate.
//!
//! The first row is the same work on one shared counter, which is how a gate is usually made: two locked instructions. It
//! says how fast the machine is at this moment. Times are of batches, so a preemption is in the maximum and nowhere else.
//! The pass is used as a step uses it, and stays in registers; one that is forced into memory costs a copy more (10 ns).

use shmstate::Gate;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Passes of a batch.
const BATCH: u32 = 10_000;
/// Batches of a thread.
const BATCHES: usize = 200;

fn main() {
    // Asked for by `cargo test --benches` and the like: nothing to measure, the code runs once.
    let batches = if std::env::args().any(|arg| arg == "--bench") {
        BATCHES
    } else {
        1
    };
    println!("{:<44}{:>8}{:>8}{:>8}", "ns for enter and drop", "min", "median", "max");
    for threads in [1, 2, 8] {
        let counter = AtomicU64::new(0);
        row("shared counter", threads, batches, || {
            counter.fetch_add(1, Ordering::Acquire);
            black_box(&counter);
            counter.fetch_sub(1, Ordering::AcqRel);
        });
    }
    let gate = Gate::alone();
    for threads in [1, 2, 8] {
        row("gate", threads, batches, || {
            black_box(gate.enter().expect("an open gate").generation());
        });
    }
    let holder = gate.holder("bench");
    row("gate, by a named holder", 1, batches, || {
        black_box(holder.enter().expect("an open gate").generation());
    });
}

/// Measures `step` in `threads` threads at once.
fn row(what: &str, threads: usize, batches: usize, step: impl Fn() + Sync) {
    let batch = |_| {
        let begun = Instant::now();
        for _ in 0..BATCH {
            step();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(BATCH)
    };
    let mut times: Vec<f64> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| (0..batches).map(batch).collect::<Vec<_>>()))
            .collect();
        let done = running
            .into_iter()
            .map(|thread| thread.join().expect("a thread that measures"));
        done.flatten().collect()
    });
    times.sort_by(f64::total_cmp);
    let (min, median, max) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    let name = format!("{what}, {threads} thread{}", if threads == 1 { "" } else { "s" });
    println!("{name:<44}{min:>8.1}{median:>8.1}{max:>8.1}");
}
