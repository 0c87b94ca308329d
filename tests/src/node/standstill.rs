//! Times in which this process did not run: it was stopped, or the machine had other work. What takes long only because of them is nobody's fault,
//! for the servers of a test are stopped or starved with it.
//!
//! A thread looks at the clock again and again; what lies between two looks and is longer than it should be was a standstill. So times are found that
//! hit the whole process; who is stopped alone is not excused.

use crate::node::witness::now;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(4);
/// What may lie between them, and be no standstill.
const USUAL: Duration = Duration::from_millis(12);

/// What was seen so far, ns of `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
struct Seen {
    last: u64,
    /// Begin and end.
    stood: Vec<(u64, u64)>,
}

fn seen() -> &'static Mutex<Seen> {
    static SEEN: OnceLock<Mutex<Seen>> = OnceLock::new();
    SEEN.get_or_init(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(LOOK);
                look();
            }
        });
        let last = now();
        Mutex::new(Seen {
            last,
            stood: Vec::new(),
        })
    })
}

fn look() {
    let mut seen = seen().lock().unwrap_or_else(PoisonError::into_inner);
    let (begin, end) = (seen.last, now());
    seen.last = end;
    if end - begin > USUAL.as_nanos() as u64 {
        seen.stood.push((begin, end));
    }
}

/// Looks from now on.
pub fn watch() {
    drop(seen().lock());
}

/// For how long of this time, ns of `CLOCK_MONOTONIC`, this process stood still.
#[must_use]
pub fn between(begin: u64, end: u64) -> Duration {
    look();
    let seen = seen().lock().unwrap_or_else(PoisonError::into_inner);
    let within = seen
        .stood
        .iter()
        .map(|(from, to)| (*to).min(end).saturating_sub((*from).max(begin)));
    Duration::from_nanos(within.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_standstill_is_found_and_nothing_else() {
        watch();
        let second = 1_000_000_000;
        let before = now() - 60 * second;
        // As if the thread had not run, once for a second and once for two.
        let stood = [(before, before + second), (before + 3 * second, before + 5 * second)];
        seen().lock().expect("lock").stood.extend(stood);
        let between = |from: u64, to: u64| between(before + from * second, before + to * second);
        assert_eq!(between(0, 10), Duration::from_secs(3));
        assert_eq!(between(1, 3), Duration::ZERO);
        assert_eq!(between(4, 10), Duration::from_secs(1));
        assert_eq!(between(0, 4), Duration::from_secs(2));
    }
}
