//! The two-phase drain of what was not handed over.
//!
//! Phase 1 closes listeners and connections that this process still holds; since they were handed over, that closes this
//! process's descriptors only (H11). Phase 2 waits for work in flight, up to the drain's deadline, and ends the moment
//! nothing is left. It does not know what the work is.

use crate::control::Phase;
use crate::node::shared::Shared;
use crate::os::clock::Deadline;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the numbers in the control block are refreshed while a drain waits.
const REPORT: Duration = Duration::from_millis(50);

/// Counts work that a drain has to wait for. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct InFlight(Arc<(Mutex<u64>, Condvar)>);

/// A piece of work; it is over when this is dropped.
#[derive(Debug)]
pub struct Work(InFlight);

impl InFlight {
    /// Begins a piece of work.
    #[must_use]
    pub fn begin(&self) -> Work {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Work(self.clone())
    }

    /// How many pieces are not over.
    #[must_use]
    pub fn count(&self) -> u64 {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until none is left or the time is over; gives how many are left.
    fn wait(&self, longest: Duration) -> u64 {
        let (count, changed) = &*self.0;
        let guard = count.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _) = changed
            .wait_timeout_while(guard, longest, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let (count, changed) = &*self.0.0;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        changed.notify_all();
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections and listeners of this process that were closed in phase 1.
    pub closed: usize,
    /// Work in flight that was not over at the deadline.
    pub left: u64,
    /// How long both phases took.
    pub took: Duration,
}

pub(crate) fn drain(shared: &Shared, work: &InFlight) -> Drained {
    let begun = Instant::now();
    let deadline = Deadline::after(shared.config.deadlines.drain);
    let report = |connections: u64, left: u64| {
        // The numbers are for those who watch.
        let _ = shared.block.set_load(shared.me, connections, left);
        let _ = shared.block.set_drain_deadline(shared.me, deadline.nanos());
    };
    let closed = shared.registry.len() + shared.descriptors.close();
    shared.registry.clear();
    let mut left = work.count();
    report(0, left);
    while left > 0 && !deadline.passed() {
        left = work.wait(deadline.remaining().min(REPORT));
        report(0, left);
    }
    let _ = shared.block.free(shared.me);
    shared.block.advance_phase(Phase::Draining, Phase::None, 0);
    Drained {
        closed,
        left,
        took: begun.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_work_and_no_longer() {
        let work = InFlight::default();
        let one = work.begin();
        assert_eq!(work.wait(Duration::from_millis(1)), 1, "the deadline ends the wait");
        let other = work.clone();
        let thread = std::thread::spawn(move || other.wait(Duration::from_secs(60)));
        drop(one);
        assert_eq!(thread.join().expect("thread"), 0);
    }
}
