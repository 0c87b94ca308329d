//! Plays cases beside each other, for they mostly wait; all of them, also when some fail (M6).

use crate::ask;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases at once.
const AT_ONCE: usize = 6;

/// Plays each case.
///
/// # Panics
/// Some failed: their names are in the message, why stands above.
pub(crate) fn play<C: Sync>(cases: &[C], name: impl Fn(&C) -> String + Sync, one: impl Fn(&C) + Sync) {
    let seed = ask::seed();
    let mut order: Vec<&C> = cases.iter().filter(|case| ask::is_wanted(&name(case))).collect();
    eprintln!("seed {seed}: {} cases", order.len());
    fastrand::Rng::with_seed(seed).shuffle(&mut order);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..AT_ONCE.min(order.len()) {
            s.spawn(|| {
                while let Some(case) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if catch_unwind(AssertUnwindSafe(|| one(case))).is_err() {
                        eprintln!("^ {}", name(case));
                        failed.lock().expect("lock").push(name(case));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("lock");
    let (n, all) = (failed.len(), cases.len());
    assert!(failed.is_empty(), "seed {seed}: {n} of {all} failed: {failed:#?}");
}
