//! Slabs, queues and timers against what std has for the same, with seeded random operations.

mod model_queue;
mod model_slab;
mod model_timers;
mod refusals;
mod speed;

use shmstate::{Pass, Region, Result, Tx, verify};

/// Seeds of the random walks; each walk is a few thousand operations in transactions of random length, a part of which is
/// rolled back.
const SEEDS: std::ops::Range<u64> = 1..9;

fn region() -> Region {
    Region::in_memory(32 << 20).expect("region")
}

/// Runs `change` in a transaction; `keep` says whether it is committed.
fn transaction<R>(
    region: &mut Region,
    pass: &Pass<'_>,
    keep: bool,
    change: impl FnOnce(&mut Tx<'_>) -> Result<R>,
) -> R {
    let mut tx = region.begin(pass).expect("begin");
    let result = change(&mut tx).expect("change");
    if keep {
        tx.commit().expect("commit");
    } else {
        drop(tx);
    }
    result
}

fn sound(region: &Region, pass: &Pass<'_>) {
    let found = verify(&region.read(pass).expect("reader")).expect("sound metadata");
    assert!(found.is_sound(), "{found:?}");
}

/// A value that tells its number and has some length.
fn text(i: u64) -> String {
    format!("{i} {}", "y".repeat((i * 7 % 61) as usize))
}
